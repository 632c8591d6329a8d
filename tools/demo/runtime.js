// Runs .tflite files: LiteRT, on the processor (WebAssembly, with threads where
// the server's headers allow them) or on the graphics card (WebGPU).

// A function with an instruction of SIMD, without which LiteRT has no kernels.
const SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8,
  0, 65, 0, 253, 15, 253, 98, 11]);
const MOST_THREADS = 8;

/** The graphics card cannot do it: the processor can. */
export class GpuError extends Error {}

let core = null, loading = null, loaded = null, threads = 1;
let last = Promise.resolve();  // What the runtime does, one after the other.

/** Loads LiteRT, once for each of what it is to run on. */
export function start(gpu) {
  if (loading && loaded !== gpu) {
    const before = loading;
    loading = before.catch(() => {}).then(() => next(() => core?.unloadLiteRt()))
        .then(() => begin(gpu));
  }
  loaded = gpu;
  loading ??= begin(gpu);
  const mine = loading;
  return mine.catch(error => {
    if (loading === mine) loading = null;
    throw error;
  });
}

async function begin(gpu) {
  if (!globalThis.WebAssembly?.validate(SIMD)) {
    throw new Error('This browser cannot run the model: it has no WebAssembly ' +
        'SIMD. Current versions of Chrome, Edge, Firefox and Safari do.');
  }
  try {
    core ??= await import('@litertjs/core');
    const has = feature => core.supportsFeature(feature).catch(() => false);
    const relaxed = await has('relaxedSimd');
    // One or the other: the build with threads cannot wait for the card.
    const jspi = gpu && relaxed && await has('jspi');
    const many = !jspi && globalThis.crossOriginIsolated && relaxed &&
        await has('threads');
    await load(many ? Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS) : 1,
        jspi);
  } catch (error) {
    throw new Error(`The runtime could not be loaded (${error?.message ?? error}). ` +
        'Load the page again.');
  }
}

async function load(wanted, jspi) {
  const wasm = new URL('wasm/', import.meta.resolve('@litertjs/core')).href;
  threads = wanted;
  try {
    await core.loadLiteRt(wasm, {threads: threads > 1, jspi});
  } catch (error) {
    if (threads === 1) throw error;
    console.warn('There are no threads.', error);  // Their memory is another.
    core.unloadLiteRt();
    await load(1, jspi);
  }
}

/** Whether there is a graphics card to run on; `any`: or a processor as one. */
export async function hasGpu(any = false) {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter && (any || !(adapter.info ?? adapter).isFallbackAdapter));
}

/** A network of a file's bytes; GpuError where the graphics card cannot. */
export async function compile(bytes, {gpu}) {
  if (!gpu) {
    return network(await core.loadAndCompile(bytes, {
      accelerator: 'wasm', cpuOptions: {numThreads: threads}}), {
      where: `WebAssembly, ${threads} thread${threads > 1 ? 's' : ''}`, kind: Error});
  }
  try {
    const model = await core.loadAndCompile(bytes, {
      accelerator: 'webgpu', gpuOptions: {precision: 'fp32'}});
    if (model.options.accelerator === 'webgpu') {
      return network(model, {kind: GpuError, where: model.isFullyAccelerated ?
        'WebGPU' : 'WebGPU, some of it WebAssembly'});
    }
    model.delete();  // It is LiteRT that went on elsewhere, with one thread.
  } catch (error) {
    console.warn(error);
  }
  throw new GpuError('WebGPU cannot run this model.');
}

function network(model, {where, kind}) {
  return {
    where,
    /** Typed array, shape => {name: Float32Array}. */
    run: (data, shape) => next(() => run(model, data, shape)).catch(error => {
      throw new kind(`The model stopped (${error?.message ?? error}).`);
    }),
    delete: () => next(() => { if (!model.deleted) model.delete(); }),
  };
}

function next(task) {
  return last = last.catch(() => {}).then(task);
}

async function run(model, data, shape) {
  const input = new core.Tensor(data, shape);
  const outputs = await model.run([input]);
  input.delete();
  const names = model.getOutputDetails().map(detail => detail.name), found = {};
  for (const [i, output] of outputs.entries()) {
    found[names[i]] = Float32Array.from(await output.data());
    output.delete();
  }
  return found;
}
