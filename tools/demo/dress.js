// The controls: those that a model has, and no others.

import {$, make, megabytes} from './dom.js';
import {PHOTO} from './prompts.js';

const LISTS = {own: "This model's", clip_best: "CLIP's best", clip_paper: "CLIP's"};

const option = (value, textContent) => make('option', {value, textContent});

/** Shows what `model`, one of `all`, has. */
export function dress(model, all) {
  const {info, hasTexts} = model;
  $('model').replaceChildren(...all.map(({name}) => option(name, name)));
  $('model').value = model.entry.name;
  $('model-field').hidden = all.length < 2;
  $('precision').replaceChildren(...info.precisions.map(one => option(
      one.name, `${one.name} · ${megabytes(
          (one.image?.bytes ?? 0) + (one.text?.bytes ?? 0))}`)));
  $('precision').value = model.precision.name;
  $('precision-field').hidden = info.precisions.length < 2;
  $('device-field').hidden = !navigator.gpu;
  templates(info.templates ?? {});
  for (const id of ['templates-field', 'add', 'by-field']) $(id).hidden = !hasTexts;
  $('look').hidden = !model.grid;
  $('actions').hidden = !model.takesImages;
  $('presets-only').hidden = model.takesImages;
  const others = info.precisions.filter(one => one.image).map(one => one.name);
  $('presets-only').textContent = `The weights of ${info.name} for pictures are ` +
    `larger than ${info.max_image_mb} MB${others.length ?
      ` in ${model.precision.name}: choose ${others.join(' or ')} for pictures of ` +
      'your own.' : ', too much for a page: it shows these pictures, which were ' +
      'looked at ahead, and none of your own.'}`;
  $('about').textContent = hasTexts ?
    'Type what it might be, and see how well each text goes with it.' :
    'What the model sees, and where it looks.';
  document.title = `What is in the picture? – ${info.name}`;
}

function templates(lists) {
  const before = $('templates').value;
  $('templates').replaceChildren(option('', 'As typed'), option('photo', PHOTO[0]),
      ...Object.entries(lists).map(([name, list]) => option(
          name, `${LISTS[name]} ${list.length}`)), option('custom', 'My own …'));
  $('templates').value = before;
  if ($('templates').selectedIndex < 0) $('templates').value = '';
}
