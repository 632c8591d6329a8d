// Small help with the page's elements.

export const $ = id => document.getElementById(id);

/** An element with properties (data-* and aria-* as attributes) and children. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes('-')) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

const ICONS = {
  copy: 'M9 9h10v10H9zM5 15V5h10',
  remove: 'M7 7l10 10M17 7L7 17',
};

/** A button that is a drawing, with a name for those who do not see it. */
export function iconButton(icon, properties) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(svg.namespaceURI, 'path');
  path.setAttribute('d', ICONS[icon]);
  svg.append(path);
  const button = make('button', {type: 'button', ...properties}, svg);
  button.classList.add('icon');
  return button;
}

/** 0.98765 as "98.8 %". */
export function percent(p, digits = 1) {
  return `${(100 * p).toFixed(digits)} %`;
}

/** Bytes as "12.3 MB". */
export function megabytes(bytes) {
  const mb = bytes / 1e6;
  return `${mb < 10 ? mb.toFixed(1) : mb.toFixed(0)} MB`;
}

/** Lets elements glide from where they were to where `change` puts them. */
export function glide(elements, change) {
  const before = new Map([...elements].map(e => [e, e.getBoundingClientRect().top]));
  change();
  if (matchMedia('(prefers-reduced-motion: reduce)').matches) return;
  for (const [element, top] of before) {
    const moved = top - element.getBoundingClientRect().top;
    if (moved) {
      element.animate([{transform: `translateY(${moved}px)`}, {transform: 'none'}],
          {duration: 260, easing: 'cubic-bezier(.2, .8, .2, 1)'});
    }
  }
}

/** Lets the browser draw before what takes long. */
export function drawn() {
  return new Promise(done => {
    if (document.hidden) return setTimeout(done);
    requestAnimationFrame(() => setTimeout(done));
  });
}
