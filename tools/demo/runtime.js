// Runs .tflite files: LiteRT, on the processor (WebAssembly, with threads where
// the server's headers allow them) or on the graphics card (WebGPU).

// A function with an instruction of SIMD, without which LiteRT has no kernels.
const SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8,
  0, 65, 0, 253, 15, 253, 98, 11]);
const MOST_THREADS = 8;

let core = null, loading = null, loaded = null, threads = 1;
let last = Promise.resolve();

/** Loads LiteRT, once for each of what it is to run on. */
export function start(gpu) {
  if (loading && loaded !== gpu) {
    const before = loading;
    loading = before.catch(() => {}).then(() => core?.unloadLiteRt()).then(
        () => begin(gpu));
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
  core ??= await import('@litertjs/core');
  const wasm = new URL('wasm/', import.meta.resolve('@litertjs/core')).href;
  const has = feature => core.supportsFeature(feature).catch(() => false);
  const relaxed = await has('relaxedSimd');
  // One or the other: the build with threads cannot wait for the card.
  const jspi = gpu && relaxed && await has('jspi');
  const many = !jspi && globalThis.crossOriginIsolated && relaxed &&
      await has('threads');
  threads = many ? Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS) : 1;
  try {
    await core.loadLiteRt(wasm, {threads: many, jspi});
  } catch (error) {
    throw new Error(`The runtime could not be loaded (${error?.message ?? error}).`);
  }
}

/** Whether there is a graphics card to run on; `any`: or a processor as one. */
export async function hasGpu(any = false) {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter && (any || !(adapter.info ?? adapter).isFallbackAdapter));
}

/** A network of a file's bytes; on the processor where `gpu` cannot. */
export async function compile(bytes, {gpu}) {
  if (gpu) {
    try {
      return await compiled(bytes, {
        accelerator: 'webgpu', gpuOptions: {precision: 'fp32'}}, 'WebGPU');
    } catch (error) {
      console.warn('WebGPU cannot run this model.', error);
    }
  }
  return compiled(bytes, {accelerator: 'wasm', cpuOptions: {numThreads: threads}},
      `WebAssembly, ${threads} thread${threads > 1 ? 's' : ''}`);
}

async function compiled(bytes, options, where) {
  const model = await core.loadAndCompile(bytes, options);
  const on = options.accelerator === 'webgpu' && !model.isFullyAccelerated ?
      'WebGPU, some of it WebAssembly' : where;
  return {
    where: on,
    /** Typed array, shape => {name: Float32Array}, one after the other. */
    run: (data, shape) => last = last.catch(() => {}).then(
        () => run(model, data, shape)),
    delete: () => { if (!model.deleted) model.delete(); },
  };
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
