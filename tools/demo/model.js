// A model of the folder: what demo.json says, its files, and its answers.

import {megabytes} from './dom.js';
import {pixels} from './pixels.js';
import {GpuError, compile, hasGpu, start} from './runtime.js';
import {dot} from './scores.js';
import {sentencepiece} from './sentencepiece.js';
import {wordpiece} from './wordpiece.js';

const TOKENIZERS = {wordpiece, sentencepiece};
// A smaller one has answered before it has reached the graphics card.
const WORTH_GPU = 10e6;
// Cosine of what the graphics card and the original make of a preset; files of
// less than 0.95 are not exported.
const LEAST_COSINE = 0.94;

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

/** What a file has; `kind` is json, blob or arrayBuffer. */
async function whole(url, what, kind) {
  const response = await get(url, what);
  try {
    return await response[kind]();
  } catch (error) {
    throw error instanceof SyntaxError ?
      new Error(`${what} is another file (${url}). Was the folder copied whole?`) :
      lost(what);
  }
}

function lost(what) {
  return new Error(`${what} could not be loaded: the connection broke off. ` +
      'Load the page again.');
}

/** [{name, folder}] of all models. */
export async function list() {
  const found = (await whole('models.json', 'The list of models', 'json')).models;
  if (!found.length) throw new Error('There is no model in this folder yet.');
  return found;
}

/** Bytes of a file of `size`, telling how far it is. */
async function download(url, what, size, progress) {
  const response = await get(url, what), data = new Uint8Array(size);
  let at = 0;
  for await (const part of parts(response.body.getReader(), what)) {
    if (at + part.length > size) throw new Error(`${what} is another file.`);
    data.set(part, at);
    at += part.length;
    progress(`${what}: ${megabytes(at)} of ${megabytes(size)}`, at / size);
  }
  if (at < size) throw new Error(`${what} is cut short: ${at} of ${size} bytes.`);
  return data;
}

async function* parts(reader, what) {
  for (;;) {
    const {done, value} = await reader.read().catch(() => { throw lost(what); });
    if (done) return;
    yield value;
  }
}

export class Model {
  /** Reads what there is of a model, without its weights. */
  static async open({name, folder}, progress) {
    const model = new Model();
    const url = file => `${folder}/${encodeURIComponent(file)}`;
    model.info = await whole(url('demo.json'), `The model ${name}`, 'json');
    Object.assign(model, {url, progress, networks: {}});
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
      const data = await whole(url(tokenizer.file), 'The vocabulary', 'arrayBuffer');
      model.tokenize = TOKENIZERS[tokenizer.kind](
          {data, maxLen: tokenizer.max_len});
    }
    model.choose();
    return model;
  }

  async floats(file) {
    return new Float32Array(await whole(this.url(file), 'The presets', 'arrayBuffer'));
  }

  get hasTexts() { return this.info.kind === 'texts'; }
  get grid() { return this.info.presets.grid; }
  get shape() { return [1, ...this.info.image_shape]; }
  get cells() { return this.grid ? this.grid[0] * this.grid[1] : 0; }
  get takesImages() { return Boolean(this.precision.image); }

  /** Its weights unless people choose others: the first that take pictures. */
  get usual() {
    const {precisions} = this.info;
    return precisions.find(one => one.image) ?? precisions[0];
  }

  /** Goes on with the weights of this precision, on "cpu", "gpu" or either. */
  choose(name = '', device = '') {
    this.delete();
    this.precision = this.info.precisions.find(one => one.name === name) ?? this.usual;
    this.device = device;
    this.texts = new Map();
  }

  delete() {
    for (const network of Object.values(this.networks)) {
      network.then(one => one.delete()).catch(() => {});
    }
    this.networks = {};
  }

  /** The network of "image" or "text", downloaded once. */
  network(part) {
    const {networks} = this;  // Of these weights; others may be chosen meanwhile.
    return networks[part] ??= this.load(part).catch(error => {
      delete networks[part];
      throw error;
    }).finally(() => this.progress(null));
  }

  async load(part) {
    const {file, bytes} = this.precision[part];
    const what = {image: 'Weights for pictures', text: 'Weights for texts'}[part];
    this.progress('The runtime, 3 MB', null);
    const gpu = await this.onGpu();
    await start(gpu);
    const data = await download(this.url(file), what, bytes, this.progress);
    this.progress('Making it ready', null);
    const onGpu = gpu && part === 'image';
    const network = await compile(data, {gpu: onGpu});
    if (onGpu) await this.check(network);
    return network;
  }

  /** GpuError where the graphics card sees a preset otherwise than the original. */
  async check(network) {
    const {url, values} = this.presets[0];
    const {embeddings, logits} = await network.run(
        await this.pixels(await whole(url, 'A picture', 'blob')), this.shape);
    const found = embeddings ?? logits;
    if (!(dot(found, values) >= LEAST_COSINE * Math.sqrt(
        dot(found, found) * dot(values, values)))) {
      await network.delete();
      throw new GpuError('The graphics card is wrong about this model.');
    }
  }

  /** Whether pictures are looked at on the graphics card. */
  async onGpu() {
    if (this.device === 'gpu') {
      if (await hasGpu(true)) return true;
      throw new GpuError('The browser finds no graphics card.');
    }
    return this.device === '' && this.precision.image?.bytes > WORTH_GPU &&
        hasGpu();
  }

  /** A text's embedding, length 1. */
  async embed(text) {
    const {texts} = this, {max_len: n} = this.info.tokenizer;
    if (!texts.has(text)) {
      const network = await this.network('text');
      const found = await network.run(Int32Array.from(this.tokenize(text)), [1, n]);
      texts.set(text, found.embeddings);
    }
    return texts.get(text);
  }

  /** {values: the embedding or logits, rollout, where} of a picture's blob. */
  async look(blob) {
    const input = await this.pixels(blob);
    const network = await this.network('image');
    const begin = performance.now();
    const found = await network.run(input, this.shape);
    return {values: found.embeddings ?? found.logits, rollout: found.rollout,
      where: network.where, ms: performance.now() - begin};
  }

  pixels(blob) {
    return pixels(blob, this.info.preprocessing, this.info.max_pixels);
  }
}
