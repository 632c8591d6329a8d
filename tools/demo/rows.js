// The list of answers: prompts that can be edited, or classes.

import {$, glide, iconButton, make, percent} from './dom.js';

const TOP = 10;  // Classes that are shown.

let next = 0;

export function prompt(text = '') {
  return {id: String(++next), text, p: undefined};
}

function bar() {
  return make('div', {className: 'fill', 'aria-hidden': 'true'});
}

function row(one, on) {
  const input = make('input', {type: 'text', value: one.text, spellcheck: true,
    autocomplete: 'off', placeholder: 'What might it be?'});
  input.oninput = () => { one.text = input.value; on.edit(one); };
  input.onkeydown = event => {
    if (event.key === 'Enter' && !event.isComposing) on.add(one);
  };
  const item = make('li', {className: 'row'}, bar(), input,
      make('data', {value: ''}),
      iconButton('copy', {title: 'Duplicate', onclick: () => on.duplicate(one)}),
      iconButton('remove', {title: 'Remove', onclick: () => on.remove(one)}));
  item.dataset.id = one.id;
  return item;
}

/** Draws the prompts, in their order; edits go to `on`. */
export function drawPrompts(prompts, on) {
  const list = $('rows');
  const old = new Map([...list.children].map(item => [item.dataset.id, item]));
  list.className = 'prompts';
  list.replaceChildren(...prompts.map(one => old.get(one.id) ?? row(one, on)));
  name(list);
  $('empty').hidden = prompts.length > 0;
  score(prompts);
}

/** Labels of the rows, by where they are. */
function name(list) {
  [...list.children].forEach((item, i) => {
    item.querySelector('input').setAttribute('aria-label', `Prompt ${i + 1}`);
    const [copy, remove] = item.querySelectorAll('button');
    copy.setAttribute('aria-label', `Duplicate prompt ${i + 1}`);
    remove.setAttribute('aria-label', `Remove prompt ${i + 1}`);
  });
}

/** Shows the probabilities, p of each prompt. */
export function score(prompts) {
  const best = Math.max(...prompts.map(one => one.p ?? -1));
  for (const one of prompts) {
    const item = $('rows').querySelector(`[data-id="${one.id}"]`);
    if (item) fill(item, one.p, one.p === best);
  }
}

function fill(item, p, best) {
  const data = item.querySelector('data');
  data.value = p ?? '';
  data.textContent = p === undefined ? '' : percent(p);
  item.querySelector('.fill').style.setProperty('--p', p ?? 0);
  item.classList.toggle('best', best && p !== undefined);
}

/** Sorts the prompts by probability, unless one of them is being typed. */
export function sort(prompts, on) {
  if ($('rows').contains(document.activeElement) &&
      document.activeElement.tagName === 'INPUT') return;
  const sorted = [...prompts].sort((a, b) => (b.p ?? -1) - (a.p ?? -1));
  if (sorted.every((one, i) => one === prompts[i])) return;
  prompts.splice(0, prompts.length, ...sorted);
  const focus = document.activeElement;
  glide($('rows').children, () => drawPrompts(prompts, on));
  if ($('rows').contains(focus)) focus.focus();
}

/** Draws the likeliest classes. */
export function drawClasses(names, probabilities) {
  const list = $('rows');
  list.className = 'classes';
  $('empty').hidden = true;
  const order = names.map((_, i) => i).sort(
      (a, b) => probabilities[b] - probabilities[a]).slice(0, TOP);
  const old = new Map([...list.children].map(item => [item.dataset.id, item]));
  glide(list.children, () => list.replaceChildren(...order.map(i => {
    const item = old.get(String(i)) ?? make('li', {className: 'row'}, bar(),
        make('span', {}, names[i]), make('data', {value: ''}));
    item.dataset.id = i;
    fill(item, probabilities[i], i === order[0]);
    return item;
  })));
}
