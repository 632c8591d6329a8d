// From an image file to a model's pixels, as tfvit.data.images.ops has them:
// the same numbers in float32, so that an answer here is an answer there.

import {advice, pixelsOf} from './files.js';
import {NotHere, decodeJpeg} from './jpeg.js';
import {lying, orientation, turned} from './orientation.js';

const f = Math.fround;

export class ImageError extends Error {}

/** A file's pixels: {data, width, height, channels}, data uint8. */
export async function decode(blob, {upright, maxPixels}) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  checkSize(pixelsOf(bytes), maxPixels);  // Decoding it might take all memory.
  const image = jpeg(bytes, maxPixels) ?? await anyOther(
      lying(bytes, blob.type), maxPixels, bytes);
  return upright ? turned(image, orientation(bytes)) : image;
}

function checkSize(count, most) {
  if (count <= most) return;
  throw new ImageError(`This image has ${count.toLocaleString('en')} pixels, more ` +
      `than the ${most.toLocaleString('en')} that the model takes.`);
}

function jpeg(bytes, maxPixels) {
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return null;
  try {
    return decodeJpeg(bytes, maxPixels);
  } catch (error) {
    if (error instanceof NotHere) return null;
    throw new ImageError('This JPEG file is cut short or broken.');
  }
}

async function anyOther(blob, maxPixels, bytes) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, {imageOrientation: 'none',
      premultiplyAlpha: 'none', colorSpaceConversion: 'none'});
  } catch {
    throw new ImageError('This file is not an image that the browser can read.' +
        advice(bytes));
  }
  const {width, height} = bitmap;
  try {
    checkSize(width * height, maxPixels);
    let data = drawn(bitmap);
    // A canvas multiplies colours by their alpha, which the model does not.
    if (hasAlpha(data)) data = uploaded(bitmap) ?? data;
    return {data, width, height, channels: 4};
  } finally {
    bitmap.close();
  }
}

function drawn(bitmap) {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext('2d', {willReadFrequently: true});
  if (!context) throw new ImageError('This image is too large for the browser.');
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height).data;
}

function hasAlpha(data) {
  for (let i = 3; i < data.length; i += 4) if (data[i] < 255) return true;
  return false;
}

/** Pixels by way of a texture, which keeps them as they are; or null. */
function uploaded(bitmap) {
  const {width, height} = bitmap;
  const gl = new OffscreenCanvas(1, 1).getContext('webgl2');
  if (!gl || Math.max(width, height) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) {
    return null;
  }
  gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D,
      gl.getParameter(gl.TEXTURE_BINDING_2D), 0);
  const data = new Uint8Array(width * height * 4);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, data);
  gl.getExtension('WEBGL_lose_context')?.loseContext();
  return data;
}

/** Where each output pixel of a side takes its two inputs, and how much. */
function taps(from, to) {
  const scale = f(from / to);
  return Array.from({length: to}, (_, i) => {
    const at = f(f(f(i + 0.5) * scale) - 0.5), low = Math.floor(at);
    return [Math.max(low, 0), Math.min(Math.ceil(at), from - 1), f(at - low)];
  });
}

/** Bilinear with half-pixel centres, no antialiasing: tf.image.resize's own. */
function bilinear({data, width, height, channels}, toHeight, toWidth) {
  const rows = taps(height, toHeight), columns = taps(width, toWidth);
  const out = new Float32Array(toHeight * toWidth * 3);
  let k = 0;
  for (const [y0, y1, dy] of rows) {
    for (const [x0, x1, dx] of columns) {
      const a = (y0 * width + x0) * channels, b = (y0 * width + x1) * channels;
      const c = (y1 * width + x0) * channels, d = (y1 * width + x1) * channels;
      for (let i = 0; i < 3; i++) {
        const top = f(data[a + i] + f(f(data[b + i] - data[a + i]) * dx));
        const low = f(data[c + i] + f(f(data[d + i] - data[c + i]) * dx));
        out[k++] = f(top + f(f(low - top) * dy));
      }
    }
  }
  return {data: out, width: toWidth, height: toHeight, channels: 3};
}

/** How much of each input pixel each output pixel of a side covers. */
function covers(from, to) {
  const scale = f(from / to);
  return Array.from({length: to}, (_, i) => {
    const begin = f(i * scale), end = f((i + 1) * scale), found = [];
    for (let at = Math.floor(begin); at < end; at++) {
      const share = at < begin ? (at + 1 > end ? scale : f(at + 1 - begin)) :
          (at + 1 > end ? f(end - at) : 1);
      found.push([Math.min(Math.max(at, 0), from - 1), share]);
    }
    return found;
  });
}

/** The mean over the area of each pixel: tf.image.resize's "area". */
function area({data, width, height, channels}, toHeight, toWidth) {
  const rows = covers(height, toHeight), columns = covers(width, toWidth);
  const scale = f(1 / f(f(height / toHeight) * f(width / toWidth)));
  const out = new Float32Array(toHeight * toWidth * 3);
  let k = 0;
  for (const row of rows) {
    for (const column of columns) {
      for (let i = 0; i < 3; i++) {
        let sum = 0;
        for (const [y, down] of row) {
          let line = 0;
          for (const [x, right] of column) {
            line = f(line + f(data[(y * width + x) * channels + i] * right));
          }
          sum = f(sum + f(line * down));
        }
        out[k++] = f(sum * scale);
      }
    }
  }
  return {data: out, width: toWidth, height: toHeight, channels: 3};
}

function crop({data, width, channels}, top, left, height, wide) {
  const out = new data.constructor(height * wide * channels);
  for (let y = 0; y < height; y++) {
    const begin = ((top + y) * width + left) * channels;
    out.set(data.subarray(begin, begin + wide * channels), y * wide * channels);
  }
  return {data: out, width: wide, height, channels};
}

function pair(size) {
  return Array.isArray(size) ? size : [size, size];
}

/** To the nearest whole number, from the middle between two to the even one. */
function round(x) {
  const low = Math.floor(x), rest = x - low;
  return rest > 0.5 || (rest === 0.5 && low % 2) ? low + 1 : low;
}

/** The middle of an image of more than this aspect ratio. */
function middle(image, most) {
  const sides = [image.height, image.width];
  const limit = Math.trunc(f(Math.min(...sides) * f(most)));
  const over = sides.map(side => Math.max(side - limit, 0));
  if (!over[0] && !over[1]) return image;
  const begin = over.map(x => Math.floor((x + 1) / 2));
  const end = sides.map((side, i) => side - begin[i]);
  return crop(image, ...begin, end[0] - begin[0], end[1] - begin[1]);
}

function mapped(image, change) {
  const {data, channels} = image, pixels = image.width * image.height;
  const out = new Float32Array(pixels * 3);
  for (let p = 0, k = 0; p < pixels; p++) {
    for (let i = 0; i < 3; i++) out[k++] = change(data[p * channels + i]);
  }
  return {...image, data: out, channels: 3};
}

const methods = {bilinear, area};

// Each as the function of its name in ops.
const ops = {
  resize: (image, {size, method}) => methods[method](image, ...pair(size)),
  resize_small(image, {smaller_size: smaller, method, max_aspect: most}) {
    image = middle(image, most);
    const factor = f(smaller / Math.min(image.height, image.width));
    return methods[method](image, round(f(image.height * factor)),
        round(f(image.width * factor)));
  },
  central_crop(image, {size}) {
    const [height, width] = pair(size);
    return crop(image, Math.floor((image.height - height) / 2),
        Math.floor((image.width - width) / 2), height, width);
  },
  to_uint8: (image, {nearest = false}) => mapped(image, x => {
    const bound = Math.min(Math.max(x, 0), 255);
    return nearest ? round(bound) : Math.trunc(bound);
  }),
  value_range: (image, {low, high}) => mapped(image, x => f(
      f(f(f(x - 127.5) / 127.5) * f((high - low) / 2)) + f((high + low) / 2))),
};

/** The model's input, float32 [height, width, 3]: `steps` of demo.json. */
export async function pixels(blob, steps, maxPixels) {
  let image;
  for (const {op, ...settings} of steps) {
    image = op === 'decode' ? await decode(blob, {...settings, maxPixels}) :
        ops[op](image, settings);
  }
  return image.data instanceof Float32Array && image.channels === 3 ?
      image.data : mapped(image, x => x).data;
}
