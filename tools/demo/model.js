// A model of the folder: what demo.json says, its files, and its answers.

import {megabytes} from './dom.js';
import {pixels} from './pixels.js';
import {compile, hasGpu, start} from './runtime.js';
import {sentencepiece} from './sentencepiece.js';
import {wordpiece} from './wordpiece.js';

const TOKENIZERS = {wordpiece, sentencepiece};
// A smaller model is run before it has reached the graphics card.
const WORTH_GPU = 10e6;

async function get(url, what) {
  let response;
  try {
    response = await fetch(url);
  } catch {
    throw new Error(`${what} could not be loaded: the server does not answer.`);
  }
  if (!response.ok) {
    throw new Error(`${what} is not there (${url}: ${response.status}). Was the ` +
        'folder copied whole?');
  }
  return response;
}

/** [{name, folder}] of all models. */
export async function list() {
  const found = (await (await get('models.json', 'The list of models')).json()).models;
  if (!found.length) throw new Error('There is no model in this folder yet.');
  return found;
}

/** Bytes of a file of `size`, telling how far it is. */
async function download(url, what, size, progress) {
  const response = await get(url, what), data = new Uint8Array(size);
  let at = 0;
  for await (const part of parts(response.body.getReader())) {
    if (at + part.length > size) throw new Error(`${what} is another file.`);
    data.set(part, at);
    at += part.length;
    progress(`${what}: ${megabytes(at)} of ${megabytes(size)}`, at / size);
  }
  if (at < size) throw new Error(`${what} is cut short: ${at} of ${size} bytes.`);
  return data;
}

async function* parts(reader) {
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    yield value;
  }
}

export class Model {
  /** Reads what there is of a model, without its weights. */
  static async open({name, folder}, progress) {
    const model = new Model();
    const url = file => `${folder}/${encodeURIComponent(file)}`;
    model.info = await (await get(url('demo.json'), `The model ${name}`)).json();
    Object.assign(model, {url, progress, networks: {}, texts: new Map()});
    const {presets, tokenizer} = model.info;
    const values = await model.floats(presets.values);
    const rollouts = presets.rollouts && await model.floats(presets.rollouts);
    const width = values.length / presets.images.length;
    model.presets = presets.images.map(({file, text}, i) => ({
      id: String(i + 1), url: url(file), text, preset: true,
      values: values.subarray(i * width, (i + 1) * width),
      rollout: rollouts && rollouts.subarray(
          i * model.cells, (i + 1) * model.cells),
    }));
    if (tokenizer) {
      const data = await (await get(url(tokenizer.file), 'The vocabulary'))
          .arrayBuffer();
      model.tokenize = TOKENIZERS[tokenizer.kind](
          {data, maxLen: tokenizer.max_len});
    }
    model.choose(model.info.precisions[0].name);
    return model;
  }

  async floats(file) {
    return new Float32Array(
        await (await get(this.url(file), 'The presets')).arrayBuffer());
  }

  get hasTexts() { return this.info.kind === 'texts'; }
  get grid() { return this.info.presets.grid; }
  get cells() { return this.grid ? this.grid[0] * this.grid[1] : 0; }
  get takesImages() { return Boolean(this.precision.image); }

  /** Goes on with the weights of this precision, on "cpu", "gpu" or either. */
  choose(name, device = '') {
    this.delete();
    this.precision = this.info.precisions.find(one => one.name === name) ??
        this.info.precisions[0];
    this.device = device;
    this.texts.clear();
  }

  delete() {
    for (const network of Object.values(this.networks)) {
      network.then(one => one.delete(), () => {});
    }
    this.networks = {};
  }

  /** The network of "image" or "text", downloaded once. */
  network(part) {
    return this.networks[part] ??= this.load(part).catch(error => {
      delete this.networks[part];
      throw error;
    }).finally(() => this.progress(null));
  }

  async load(part) {
    const {file, bytes} = this.precision[part];
    const what = {image: 'Weights for pictures', text: 'Weights for texts'}[part];
    this.progress('The runtime, 3 MB', null);
    await start();
    const data = await download(this.url(file), what, bytes, this.progress);
    this.progress('Making it ready', null);
    const gpu = this.device === 'gpu' || (this.device === '' &&
        part === 'image' && bytes > WORTH_GPU && await hasGpu());
    return compile(data, {gpu});
  }

  /** A text's embedding, length 1. */
  async embed(text) {
    if (!this.texts.has(text)) {
      const network = await this.network('text'), {max_len: n} = this.info.tokenizer;
      const found = await network.run(Int32Array.from(this.tokenize(text)), [1, n]);
      this.texts.set(text, found[Object.keys(found)[0]]);
    }
    return this.texts.get(text);
  }

  /** {values: the embedding or logits, rollout, where} of a picture's blob. */
  async look(blob) {
    const {image_shape: shape, preprocessing, max_pixels: most} = this.info;
    const input = await pixels(blob, preprocessing, most);
    const network = await this.network('image');
    const begin = performance.now();
    const outputs = Object.values(await network.run(input, [1, ...shape]));
    // By size, for names are the converter's own.
    const {presets} = this;
    const values = outputs.find(one => one.length === presets[0].values.length);
    return {values, rollout: this.grid && outputs.find(one => one !== values),
      where: network.where, ms: performance.now() - begin};
  }
}
