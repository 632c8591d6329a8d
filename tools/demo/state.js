// What a link says: the address after "#".

/** {model, weights, device, image, view, by, templates, own, texts} or less. */
export function read(hash = location.hash) {
  const found = new URLSearchParams(hash.replace(/^#/, '')), state = {};
  for (const name of ['model', 'weights', 'device', 'image', 'view', 'by', 'templates']) {
    if (found.has(name)) state[name] = found.get(name);
  }
  if (found.has('template')) state.own = found.getAll('template');
  if (found.has('text') || found.has('texts')) state.texts = found.getAll('text');
  return state;
}

/** The address that `read` makes the same of. */
export function write(state) {
  const said = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (name === 'texts') {
      for (const text of value) said.append('text', text);
      if (!value.length) said.append('texts', '');
    } else if (name === 'own') {
      for (const template of value) said.append('template', template);
    } else if (value) {
      said.set(name, value);
    }
  }
  history.replaceState(null, '', `#${said}`);
}
