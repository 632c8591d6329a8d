// Runs .tflite files: LiteRT, on the processor (WebAssembly, with threads where
// the server's headers allow them) or on the graphics card (WebGPU).

// A function with an instruction of SIMD, without which LiteRT has no kernels.
const SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8,
  0, 65, 0, 253, 15, 253, 98, 11]);
const MOST_THREADS = 8;

let core = null, starting = null, threads = 1, last = Promise.resolve();

/** Loads LiteRT, once. */
export function start() {
  return starting ??= begin().catch(error => { starting = null; throw error; });
}

async function begin() {
  if (!globalThis.WebAssembly?.validate(SIMD)) {
    throw new Error('This browser cannot run the model: it has no WebAssembly ' +
        'SIMD. Current versions of Chrome, Edge, Firefox and Safari do.');
  }
  core = await import('@litertjs/core');
  const wasm = new URL('wasm/', import.meta.resolve('@litertjs/core')).href;
  const can = globalThis.crossOriginIsolated &&
      await core.supportsFeature('relaxedSimd') &&
      await core.supportsFeature('threads');
  if (can) threads = Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS);
  try {
    await core.loadLiteRt(wasm, {threads: can});
  } catch (error) {
    throw new Error(`The runtime could not be loaded (${error?.message ?? error}).`);
  }
}

/** Whether there is a graphics card to run on, and not a processor as one. */
export async function hasGpu() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter && !(adapter.info ?? adapter).isFallbackAdapter);
}

/** A network of a file's bytes; on the processor where `gpu` cannot. */
export async function compile(bytes, {gpu}) {
  await start();
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
      'WebAssembly' : where;
  return {
    where: on,
    /** Typed array, shape => {name: Float32Array}, one after the other. */
    run: (data, shape) => last = last.catch(() => {}).then(
        () => run(model, data, shape)),
    delete: () => model.delete(),
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
