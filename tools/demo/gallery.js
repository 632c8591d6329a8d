// The pictures: presets, and one's own.

import {$, iconButton, make} from './dom.js';

let count = 0;

/** A picture of one's own, of a file or another blob. */
export function own(blob, text) {
  return {id: `own${++count}`, blob, url: URL.createObjectURL(blob), text,
    preset: false, values: null, rollout: null, error: ''};
}

/** Draws the thumbnails; `on.choose` and `on.remove` get a picture. */
export function draw(pictures, chosen, on) {
  const list = $('gallery');
  const old = new Map([...list.children].map(item => [item.dataset.id, item]));
  list.replaceChildren(...pictures.map(picture => {
    const item = old.get(picture.id) ?? thumbnail(picture, on);
    const button = item.querySelector('button');
    button.setAttribute('aria-pressed', picture === chosen);
    item.classList.toggle('broken', Boolean(picture.error));
    return item;
  }));
}

function thumbnail(picture, on) {
  const name = picture.text || `Picture ${picture.id}`;
  const image = make('img', {src: picture.url, alt: name, loading: 'lazy'});
  image.onload = () => image.classList.toggle('tiny', image.naturalWidth < 100);
  const item = make('li', {}, make('button', {
    type: 'button', className: 'thumb', title: name,
    onclick: () => on.choose(picture)}, image));
  item.dataset.id = picture.id;
  if (!picture.preset) {
    item.append(iconButton('remove', {className: 'remove',
      'aria-label': `Remove ${name}`, onclick: () => on.remove(picture)}));
  }
  return item;
}

/** Shows a picture large, or none. */
export async function show(picture, upright) {
  const image = $('picture');
  $('caption').textContent = picture ? picture.error || picture.text : '';
  $('caption').classList.toggle('bad', Boolean(picture?.error));
  image.hidden = !picture || Boolean(picture.error);
  if (!picture || picture.error) return;
  if (image.dataset.id !== picture.id) {
    image.dataset.id = picture.id;
    image.src = picture.url;
  }
  image.alt = picture.text || 'The chosen picture';
  // As the model sees it.
  image.classList.toggle('lying', !upright);
  await image.decode().catch(() => {});
  image.classList.toggle('tiny', image.naturalWidth < 100);
}
