// The page: what people do, and what follows from it.

import * as camera from './camera.js';
import {$, drawn, percent} from './dom.js';
import {dress} from './dress.js';
import {onFiles} from './drop.js';
import * as gallery from './gallery.js';
import * as heat from './heat.js';
import * as models from './model.js';
import {ImageError} from './pixels.js';
import {PHOTO, problem, texts} from './prompts.js';
import * as rows from './rows.js';
import {GpuError} from './runtime.js';
import {complain, guard, progress} from './say.js';
import {dot, linked, mean} from './scores.js';
import * as link from './state.js';
import * as table from './table.js';

const PAUSE = 150;  // Milliseconds without a key, after which texts are read.

let all = [], model = null, pictures = [], chosen = null, prompts = [];
let view = 'one', by = 'texts', edited = false, turn = 0, timer = 0, note = '';

// From what there is to answers.

/** Answers anew, after what has changed; later calls overtake earlier ones. */
async function update() {
  const mine = ++turn, late = () => mine !== turn;
  clearTimeout(timer);
  $('main').setAttribute('aria-busy', 'true');
  remember();
  try {
    await answer(late);
  } catch (error) {  // Of one that is overtaken nobody needs to know.
    if (!late()) (error instanceof GpuError ? goOn : complain)(error);
  } finally {
    if (!late()) $('main').setAttribute('aria-busy', 'false');
  }
}

async function answer(late) {
  const wanted = view === 'one' ? [chosen].filter(x => x) : pictures;
  const vectors = model.hasTexts ? await read(late) : null;
  const took = await look(wanted, late);
  if (late()) return;
  const scores = wanted.map(picture => logits(picture, vectors));
  if (view === 'one') await drawOne(scores[0]);
  else drawAll(wanted, scores);
  $('status').textContent = [said(scores[0]), took, note].filter(x => x).join(' ');
  note = '';
}

/** On the processor, and says so. */
function goOn(error) {
  const why = `${error.message} It runs on the processor instead.`;
  if ($('device').value) {
    complain(new Error(why));
    $('device').value = 'cpu';
  } else {  // Nobody asked for it.
    note = why;
  }
  return reweigh(model.precision.name, 'cpu');
}

/** The vectors of the prompts, null of those that are empty. */
async function read(late) {
  const lists = prompts.map(({text}) => templates() === null ?
    [text].filter(x => x.trim()) : texts(text, templates()));
  const missing = new Set(lists.flat().filter(text => !model.texts.has(text)));
  let done = 0;
  for (const text of missing) {
    if (late()) return null;
    if (missing.size > 20 && done % 10 === 0) {
      progress(`Reading texts: ${done} of ${missing.size}`, done / missing.size);
      await drawn();
    }
    await model.embed(text);
    done++;
  }
  progress(null);
  const found = [];
  for (const list of lists) {
    found.push(list.length ? mean(await Promise.all(
        list.map(text => model.embed(text)))) : null);
  }
  return found;
}

/** Looks at pictures that were not looked at; says how long it took. */
async function look(wanted, late) {
  let took = '';
  const missing = wanted.filter(one => !one.values && !one.error);
  for (const [i, picture] of missing.entries()) {
    if (late()) return '';
    if (missing.length > 1) {
      progress(`Looking: ${i + 1} of ${missing.length} pictures`, i / missing.length);
    }
    await drawn();
    const seen = await seeing(picture);
    if (seen) took = `Looked in ${seen.ms.toFixed(0)} ms (${seen.where}).`;
  }
  progress(null);
  if (missing.length) redraw();
  return took;
}

async function seeing(picture) {
  const {precision} = model;
  try {
    const seen = await model.look(picture.blob);
    if (precision === model.precision) Object.assign(picture, seen);
    return seen;
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    picture.error = error.message;
    complain(new Error(`${picture.text}: ${error.message}`));
    return null;
  }
}

/** A picture's logits, one for each row; undefined for what has none. */
function logits(picture, vectors) {
  if (!picture?.values) return [];
  if (!vectors) return picture.values;
  const {temperature, bias} = model.info;
  return vectors.map(v => v ? temperature * dot(picture.values, v) + bias : undefined);
}

/** Probabilities of those that are there. */
function probable(row) {
  const there = [...row].filter(x => x !== undefined);
  const p = linked(there, model.info.link).values();
  return Array.from(row, x => x === undefined ? undefined : p.next().value);
}

function said(row) {
  if (view !== 'one' || !row) return '';
  const p = probable(row), top = Math.max(...p.filter(x => x !== undefined));
  if (!(top >= 0)) return '';
  const name = model.hasTexts ? prompts.find(one => one.p === top)?.text :
    model.info.classes[p.indexOf(top)];
  return `Most likely: ${name}, ${percent(top)}.`;
}

async function drawOne(row) {
  const p = row && probable(row);
  if (!model.hasTexts) {
    rows.drawClasses(p?.length ? model.info.classes : [], p ?? []);
    await overlay();
    return;
  }
  prompts.forEach((one, i) => { one.p = p?.[i]; });
  rows.score(prompts);
  rows.sort(prompts, editing);
  remember();
}

function drawAll(wanted, scores) {
  let names = model.hasTexts ? prompts.map(one => one.text) : model.info.classes;
  const images = by === 'images' && model.hasTexts;
  let p = scores.map(row => Array.from(names, (_, i) => row[i]));
  if (images) {
    const each = names.map((_, i) => probable(p.map(row => row[i])));
    p = p.map((_, j) => each.map(row => row[j]));
  } else {
    p = p.map(probable);
  }
  let kept = model.hasTexts ? names.map((_, i) => i).filter(i => names[i].trim()) :
    table.worth(names, p);
  names = kept.map(i => names[i]);
  table.draw(names, wanted, p.map(row => kept.map(i => row[i])), images);
}

async function overlay() {
  const seen = $('overlay').checked && chosen?.rollout;
  await $('picture').decode().catch(() => {});
  heat.draw(seen, model.grid ?? [1, 1], heat.region(model.info.preprocessing),
      $('strength').value / 100);
}

// What people do.

const choosing = {
  choose: guard(picture => choose(picture)),
  remove: guard(picture => {
    pictures = pictures.filter(one => one !== picture);
    URL.revokeObjectURL(picture.url);
    return choose(picture === chosen ? pictures[0] : chosen);
  }),
};

function redraw() {
  gallery.draw(pictures, chosen, choosing);
  const upright = model.info.preprocessing.some(step => step.upright);
  return gallery.show(chosen, upright);
}

async function choose(picture) {
  chosen = picture ?? null;
  await redraw();
  if (!model.hasTexts) await overlay();
  await update();
}

async function take(files) {
  files = [...files];
  if (!files.length) return;
  $('alert').hidden = true;
  if (!model.takesImages) throw new Error($('presets-only').textContent);
  const added = files.map(file => gallery.own(file, file.name || 'Pasted picture'));
  pictures.push(...added);
  if (added.length > 1) show('all');
  await choose(added[0]);
  $('gallery').scrollTo({left: $('gallery').scrollWidth, behavior: 'smooth'});
}

const editing = {
  edit: () => { edited = true; later(); },
  add: one => add(prompts.indexOf(one) + 1),
  duplicate: one => add(prompts.indexOf(one) + 1, one.text),
  remove: one => {
    const at = prompts.indexOf(one);
    prompts.splice(at, 1);
    edited = true;
    rows.drawPrompts(prompts, editing);
    focus(Math.min(at, prompts.length - 1));
    update();
  },
};

function add(at, text = '') {
  edited = true;
  prompts.splice(at, 0, rows.prompt(text));
  rows.drawPrompts(prompts, editing);
  focus(at);
  update();
}

function focus(at) {
  const input = $('rows').children[at]?.querySelector('input');
  (input ?? $('add')).focus();
}

function later() {
  clearTimeout(timer);
  $('main').setAttribute('aria-busy', 'true');
  timer = setTimeout(update, PAUSE);
}

/** The chosen templates; null where prompts count as they are typed. */
function templates() {
  const name = $('templates').value;
  if (name === 'custom') return customs().filter(line => !problem(line));
  return name ? name === 'photo' ? PHOTO : model.info.templates[name] : null;
}

const customs = () => $('own').value.split('\n').filter(line => line.trim());

function retemplate() {
  $('own-field').hidden = $('templates').value !== 'custom';
  const wrong = $('own-field').hidden ? '' :
    customs().map(problem).find(x => x) ?? (customs().length ? '' : problem(''));
  $('own').setAttribute('aria-invalid', Boolean(wrong));
  if (wrong) complain(new Error(wrong));
  else $('alert').hidden = true;
  later();
}

function press(buttons, pressed) {
  for (const button of buttons) {
    button.setAttribute('aria-pressed', button === pressed);
  }
}

function show(name) {
  view = name;
  press([$('view-one'), $('view-all')], $(`view-${name}`));
  $('one').hidden = view !== 'one';
  $('all').hidden = view !== 'all';
}

function compare(name) {
  by = name;
  press([$('by-texts'), $('by-images')], $(`by-${name}`));
}

function remember() {
  if (!model) return;
  link.write({
    model: all.length > 1 ? model.entry.name : '',
    weights: model.precision === model.usual ? '' : model.precision.name,
    device: $('device').value, image: chosen?.preset ? chosen.id : '',
    view: view === 'one' ? '' : view, by: by === 'texts' ? '' : by,
    templates: $('templates').value,
    own: $('templates').value === 'custom' ? customs() : [],
    texts: model.hasTexts ? prompts.map(one => one.text) : ['']});
}

const share = guard(async () => {
  remember();
  try {
    await navigator.clipboard.writeText(location.href);
    $('status').textContent = chosen?.preset ? 'Link copied.' : 'Link copied. ' +
      'Pictures of your own stay here and are not part of it.';
  } catch {
    $('status').textContent = 'The link is in the address bar: copy it there.';
  }
});

// Beginning.

async function open(name, wanted) {
  const entry = all.find(one => one.name === name) ?? all[0];
  if (name && entry.name !== name) {
    complain(new Error(`There is no model ${name} here; this is ${entry.name}.`));
  }
  const opened = await models.Model.open(entry, progress);
  model?.delete();
  model = Object.assign(opened, {entry});
  model.choose(wanted.weights ?? '', $('device').value);
  pictures = [...model.presets, ...forgotten()];
  if (model.hasTexts && (!edited || wanted.texts)) {
    prompts = (wanted.texts ?? model.info.texts).map(rows.prompt);
  }
  drawControls();
  if (wanted.templates) $('templates').value = wanted.templates;
  if (wanted.own) $('own').value = wanted.own.join('\n');
  $('own-field').hidden = $('templates').value !== 'custom';
  await choose(pictures.find(one => one.id === wanted.image) ??
    pictures.find(one => one === chosen) ?? pictures[0]);
}

function drawControls() {
  dress(model, all);
  $('rows').replaceChildren();
  $('heat').hidden = true;
  if (model.hasTexts) rows.drawPrompts(prompts, editing);
}

/** The pictures of one's own, which are to be looked at anew. */
function forgotten() {
  const owns = pictures.filter(one => !one.preset);
  for (const one of owns) Object.assign(one, {values: null, rollout: null});
  return owns;
}

const reweigh = guard(async (precision, device) => {
  model.choose(precision, device);
  forgotten();
  drawControls();
  await update();
});

function listen() {
  $('alert').querySelector('button').onclick = () => { $('alert').hidden = true; };
  $('model').onchange = guard(() => open($('model').value, {}));
  $('precision').onchange = $('device').onchange = () => reweigh(
      $('precision').value, $('device').value);
  $('share').onclick = share;
  $('choose').onclick = () => $('file').click();
  $('file').onchange = guard(async () => {
    await take($('file').files);
    $('file').value = '';
  });
  $('camera').onclick = guard(async () => {
    const blob = await camera.shoot();
    if (blob) await take([new File([blob], 'Camera', {type: blob.type})]);
  });
  $('add').onclick = () => add(prompts.length);
  $('templates').onchange = $('own').oninput = retemplate;
  $('view-one').onclick = () => { show('one'); update(); };
  $('view-all').onclick = () => { show('all'); update(); };
  $('by-texts').onclick = () => { compare('texts'); update(); };
  $('by-images').onclick = () => { compare('images'); update(); };
  $('overlay').onchange = $('strength').oninput = guard(overlay);
  $('rows').addEventListener('focusout', () => setTimeout(
      () => view === 'one' && model?.hasTexts && rows.sort(prompts, editing)));
  addEventListener('resize', guard(async () => model?.grid && overlay()));
  addEventListener('hashchange', () => location.reload());
  addEventListener('unhandledrejection', event => complain(event.reason));
  onFiles(guard(take));
}

guard(async () => {
  listen();
  const wanted = link.read();
  all = await models.list();
  $('device').value = wanted.device ?? '';
  if (wanted.view === 'all') show('all');
  if (wanted.by === 'images') compare('images');
  edited = Boolean(wanted.texts);
  await open(wanted.model, wanted);
})().finally(() => $('main').setAttribute('aria-busy', 'false'));
