// JPEG, to the last bit as TensorFlow decodes it: with the fast, less exact
// cosine transform of libjpeg (jidctfst.c), where browsers have the slow one.
// On a photo the two differ by up to 4 of 255, which a model may notice.

export class NotHere extends Error {}  // For the browser's own decoder.

const ZIGZAG = [
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40,
  48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29,
  22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
  47, 55, 62, 63];
// What the transform leaves out: cos(k pi / 16) sqrt(2), 1 for k = 0.
const SCALES = Array.from(
    {length: 8}, (_, k) => k ? Math.cos(k * Math.PI / 16) * Math.SQRT2 : 1);
const CUT = 'This JPEG file is cut short or broken.';

/** {data: uint8 RGB, width, height, channels: 3} of a file's bytes. */
export function decodeJpeg(bytes, maxPixels) {
  const image = parse(bytes, maxPixels);
  for (const one of image.components) one.plane = plane(one);
  return coloured(image);
}

function huffman(counts, values) {
  const fast = new Int16Array(512).fill(-1), first = [], offset = [], most = [];
  let code = 0, at = 0;
  for (let length = 1; length <= 16; length++) {
    first[length] = code; offset[length] = at;
    for (let i = 0; i < counts[length - 1]; i++, code++, at++) {
      if (length > 9) continue;
      const begin = code << (9 - length);
      fast.fill(length << 8 | values[at], begin, begin + (1 << (9 - length)));
    }
    most[length] = code;
    code <<= 1;
  }
  return {fast, first, offset, most, values};
}

/** The bits between two markers. */
class Bits {
  constructor(data, at) { this.data = data; this.at = at; this.reset(); }
  reset() { this.bits = 0; this.count = 0; }

  fill() {
    while (this.count <= 16) {
      let byte = this.data[this.at];
      if (byte === undefined) throw new Error(CUT);
      if (byte === 0xff && this.data[this.at + 1] !== 0) {  // A marker.
        byte = 0;  // As libjpeg goes on.
      } else {
        this.at += byte === 0xff ? 2 : 1;
      }
      this.bits = (this.bits << 8 | byte) & 0xffffff;
      this.count += 8;
    }
  }

  take(n) {
    if (!n) return 0;
    if (this.count < n) this.fill();
    this.count -= n;
    return this.bits >> this.count & ((1 << n) - 1);
  }

  signed(n) {
    const x = this.take(n);
    return n && x < 1 << (n - 1) ? x - (1 << n) + 1 : x;
  }

  symbol({fast, first, offset, most, values}) {
    if (this.count < 16) this.fill();
    const hit = fast[this.bits >> (this.count - 9) & 511];
    if (hit >= 0) { this.count -= hit >> 8; return hit & 255; }
    for (let n = 10; n <= 16; n++) {
      const code = this.bits >> (this.count - n) & ((1 << n) - 1);
      if (code < most[n]) {
        this.count -= n;
        return values[offset[n] + code - first[n]];
      }
    }
    throw new Error(CUT);
  }
}

function parse(data, maxPixels) {
  const quantizers = [], dcs = [], acs = [], image = {};
  let at = 2, interval = 0, scanned = false;
  const word = i => data[i] << 8 | data[i + 1];
  for (;;) {
    while (at < data.length && data[at] !== 0xff) at++;
    while (data[at] === 0xff) at++;
    const marker = data[at++];
    if (marker === undefined) throw new Error(CUT);
    if (marker === 0xd9) break;
    if (marker === 0 || marker === 1 || (marker >= 0xd0 && marker <= 0xd8)) continue;
    const end = at + word(at);
    let i = at + 2;
    if (end > data.length) throw new Error(CUT);
    if (marker === 0xdb) {
      while (i < end) {
        const wide = data[i] >> 4, table = new Int32Array(64);
        const which = data[i++] & 15;
        for (const k of ZIGZAG) {
          table[k] = wide ? word(i) : data[i];
          i += wide ? 2 : 1;
        }
        quantizers[which] = table;
      }
    } else if (marker === 0xc4) {
      while (i < end) {
        const which = data[i++], counts = data.subarray(i, i + 16);
        const total = counts.reduce((a, b) => a + b);
        (which >> 4 ? acs : dcs)[which & 15] = huffman(
            counts, data.subarray(i + 16, i + 16 + total));
        i += 16 + total;
      }
    } else if (marker === 0xdd) {
      interval = word(i);
    } else if (marker === 0xe0 && data[i] === 0x4a) {
      image.jfif = true;
    } else if (marker === 0xee && data[i] === 0x41 && data[i + 1] === 0x64) {
      image.adobe = data[i + 11];
    } else if (marker >= 0xc0 && marker <= 0xcf && marker !== 0xc8) {
      if (marker > 0xc2 || data[i] !== 8) throw new NotHere();
      frame(image, data, i, marker === 0xc2, maxPixels);
    } else if (marker === 0xda) {
      if (!image.components) throw new Error(CUT);
      at = scan(image, data, i, end, {dcs, acs, quantizers, interval});
      scanned = true;
      continue;
    }
    at = end;
  }
  if (!scanned) throw new Error(CUT);
  return image;
}

function frame(image, data, i, progressive, maxPixels) {
  const height = data[i + 1] << 8 | data[i + 2];
  const width = data[i + 3] << 8 | data[i + 4], count = data[i + 5];
  if (!height || (count !== 1 && count !== 3) || width * height > maxPixels) {
    throw new NotHere();
  }
  Object.assign(image, {width, height, progressive, components: []});
  for (let c = 0; c < count; c++) {
    const k = i + 6 + 3 * c;
    image.components.push({id: data[k], h: data[k + 1] >> 4,
      v: data[k + 1] & 15, table: data[k + 2], before: 0});
  }
  // One component alone is not sampled less often than any other.
  if (count === 1) image.components[0].h = image.components[0].v = 1;
  const h = Math.max(...image.components.map(one => one.h));
  const v = Math.max(...image.components.map(one => one.v));
  image.across = Math.ceil(width / 8 / h);
  image.down = Math.ceil(height / 8 / v);
  for (const one of image.components) {
    if (h % one.h || v % one.v) throw new NotHere();
    Object.assign(one, {right: h / one.h, below: v / one.v,
      width: Math.ceil(width * one.h / h), height: Math.ceil(height * one.v / v),
      across: image.across * one.h, down: image.down * one.v});
    one.values = new Int16Array(one.across * one.down * 64);
  }
}

function scan(image, data, i, end, {dcs, acs, quantizers, interval}) {
  const chosen = [];
  for (let c = data[i++]; c > 0; c--, i += 2) {
    const one = image.components.find(other => other.id === data[i]);
    if (!one) throw new Error(CUT);
    Object.assign(one, {dc: dcs[data[i + 1] >> 4], ac: acs[data[i + 1] & 15]});
    // The table as it is now: a later one of this number is another scan's.
    one.quantizer ??= quantizers[one.table];
    if (!one.quantizer) throw new Error(CUT);
    chosen.push(one);
  }
  const from = data[i], to = data[i + 1], high = data[i + 2] >> 4;
  const low = data[i + 2] & 15, bits = new Bits(data, end), run = {left: 0};
  const read = !image.progressive ? baseline : from === 0 ?
      (high ? dcAgain : dcFirst) : high ? acAgain : acFirst;
  const block = (one, row, column) => read(
      bits, one, 64 * (row * one.across + column), {from, to, low, run});
  const single = chosen.length === 1 && chosen[0];
  const across = single ? Math.ceil(single.width / 8) : image.across;
  const down = single ? Math.ceil(single.height / 8) : image.down;
  for (const one of chosen) one.before = 0;
  for (let unit = 0; unit < across * down; unit++) {
    if (interval && unit && unit % interval === 0) {
      restart(bits);
      run.left = 0;
      for (const one of chosen) one.before = 0;
    }
    const row = Math.floor(unit / across), column = unit % across;
    if (single) { block(single, row, column); continue; }
    for (const one of chosen) {
      for (let y = 0; y < one.v; y++) {
        for (let x = 0; x < one.h; x++) block(one, row * one.v + y, column * one.h + x);
      }
    }
  }
  // What was read ahead are whole bytes, or a marker's zeros.
  return bits.at;
}

function restart(bits) {
  const {data} = bits;
  while (bits.at < data.length && !(data[bits.at] === 0xff &&
      data[bits.at + 1] >= 0xd0 && data[bits.at + 1] <= 0xd7)) {
    if (data[bits.at] === 0xff && data[bits.at + 1] > 0 &&
        data[bits.at + 1] < 0xff) throw new Error(CUT);
    bits.at++;
  }
  bits.at += 2;
  bits.reset();
}

function baseline(bits, one, at) {
  const {values} = one;
  values[at] = one.before += bits.signed(bits.symbol(one.dc));
  for (let k = 1; k < 64; k++) {
    const symbol = bits.symbol(one.ac), size = symbol & 15, zeros = symbol >> 4;
    if (!size && zeros < 15) return;
    k += zeros;
    if (size) values[at + ZIGZAG[k & 63]] = bits.signed(size);
  }
}

function dcFirst(bits, one, at, {low}) {
  one.before += bits.signed(bits.symbol(one.dc));
  one.values[at] = one.before << low;
}

function dcAgain(bits, one, at, {low}) {
  if (bits.take(1)) one.values[at] |= 1 << low;
}

function acFirst(bits, one, at, {from, to, low, run}) {
  if (run.left) { run.left--; return; }
  for (let k = from; k <= to; k++) {
    const symbol = bits.symbol(one.ac), size = symbol & 15, zeros = symbol >> 4;
    if (!size && zeros < 15) {
      run.left = (1 << zeros) + bits.take(zeros) - 1;
      return;
    }
    k += zeros;
    if (size) one.values[at + ZIGZAG[k & 63]] = bits.signed(size) * (1 << low);
  }
}

function acAgain(bits, one, at, {from, to, low, run}) {
  const {values} = one, step = 1 << low;
  const refine = place => {
    if (bits.take(1) && !(Math.abs(values[place]) & step)) {
      values[place] += values[place] < 0 ? -step : step;
    }
  };
  let k = from;
  if (!run.left) {
    for (; k <= to; k++) {
      const symbol = bits.symbol(one.ac);
      let zeros = symbol >> 4, value = 0;
      if (symbol & 15) {
        value = bits.take(1) ? step : -step;
      } else if (zeros < 15) {
        run.left = (1 << zeros) + bits.take(zeros);
        break;
      }
      for (; k <= to; k++) {
        const place = at + ZIGZAG[k];
        if (values[place]) refine(place);
        else if (zeros-- === 0) break;
      }
      if (value && k <= to) values[at + ZIGZAG[k]] = value;
    }
  }
  if (run.left) {
    for (; k <= to; k++) {
      const place = at + ZIGZAG[k];
      if (values[place]) refine(place);
    }
    run.left--;
  }
}

/** A component's samples, uint8 [8 * down, 8 * across]. */
function plane({values, quantizer, across, down}) {
  const scaled = Int32Array.from(quantizer, (q, k) => {
    const scale = Math.round(SCALES[k >> 3] * SCALES[k & 7] * (1 << 14));
    return (q * scale + (1 << 11)) >> 12;
  });
  const width = 8 * across, out = new Uint8ClampedArray(width * 8 * down);
  const work = new Int32Array(64);
  for (let block = 0; block < across * down; block++) {
    for (let k = 0; k < 64; k++) work[k] = values[64 * block + k] * scaled[k];
    for (let x = 0; x < 8; x++) transform(work, x, 8);
    for (let y = 0; y < 64; y += 8) transform(work, y, 1);
    let to = Math.floor(block / across) * 8 * width + block % across * 8;
    for (let k = 0; k < 64; k += 8, to += width) {
      for (let x = 0; x < 8; x++) out[to + x] = (work[k + x] << 16 >> 21) + 128;
    }
  }
  return {data: out, width};
}

/** x * by / 256 in the 16 bits of processors' vectors, where large x wrap. */
const times = (x, by) => (x << 18 >> 16) * by >> 10;

/** Eight values, `step` apart: Arai, Agui and Nakajima's, with 8 bits. */
function transform(a, i, step) {
  const i1 = i + step, i2 = i1 + step, i3 = i2 + step, i4 = i3 + step;
  const i5 = i4 + step, i6 = i5 + step, i7 = i6 + step;
  const sum = a[i] + a[i4], difference = a[i] - a[i4], mid = a[i2] + a[i6];
  const rest = times(a[i2] - a[i6], 362) - mid;
  const e0 = sum + mid, e3 = sum - mid, e1 = difference + rest;
  const e2 = difference - rest;
  const z13 = a[i5] + a[i3], z10 = a[i5] - a[i3];
  const z11 = a[i1] + a[i7], z12 = a[i1] - a[i7];
  const z5 = times(z10 + z12, 473), o7 = z11 + z13;
  const o6 = times(z10, -413) - z10 + z5 - o7;
  const o5 = times(z11 - z13, 362) - o6;
  const o4 = times(z12, 277) - z5 + o5;
  a[i] = e0 + o7; a[i7] = e0 - o7; a[i1] = e1 + o6; a[i6] = e1 - o6;
  a[i2] = e2 + o5; a[i5] = e2 - o5; a[i4] = e3 + o4; a[i3] = e3 - o4;
}

/** The row y of a component at the image's size, written to `out`. */
function spread(one, y, out) {
  const {data, width: stride} = one.plane, n = one.width;
  const {right, below} = one, row = Math.floor(y / below);
  const here = row * stride;
  if (right === 1 && below === 1) {
    out.set(data.subarray(here, here + n));
    return;
  }
  // Smooth, as libjpeg has it for twice as many pixels, if there are some.
  const above = below === 2 ? Math.min(Math.max(
      row + (y % 2 ? 1 : -1), 0), one.height - 1) * stride : here;
  if (right === 1 && below === 2) {
    const bias = y % 2 ? 2 : 1;
    for (let x = 0; x < n; x++) {
      out[x] = 3 * data[here + x] + data[above + x] + bias >> 2;
    }
  } else if (right === 2 && below <= 2 && n > 2) {
    const weigh = below === 2 ? x => 3 * data[here + x] + data[above + x] :
        x => data[here + x];
    const [shift, left, after] = below === 2 ? [4, 8, 7] : [2, 1, 2];
    let last = weigh(0), now = last, next;
    for (let x = 0; x < n; x++, last = now, now = next) {
      next = x + 1 < n ? weigh(x + 1) : now;
      out[2 * x] = 3 * now + last + left >> shift;
      out[2 * x + 1] = 3 * now + next + after >> shift;
    }
  } else {
    for (let x = 0; x < out.length; x++) {
      out[x] = data[here + Math.min(Math.floor(x / right), n - 1)];
    }
  }
}

function coloured({width, height, components, jfif, adobe}) {
  const out = new Uint8ClampedArray(width * height * 3);
  const wide = Math.ceil(width / 2) * 2 + 8;
  const rows = components.map(() => new Uint8Array(
      Math.max(wide, ...components.map(one => one.width * one.right))));
  const ids = String.fromCharCode(...components.map(one => one.id));
  const plain = components.length === 3 && !jfif &&
      (adobe === undefined ? ids === 'RGB' : adobe === 0);
  for (let y = 0, k = 0; y < height; y++) {
    components.forEach((one, c) => spread(one, y, rows[c]));
    const [a, b = a, c = a] = rows;
    for (let x = 0; x < width; x++) {
      if (plain || components.length === 1) {
        out[k++] = a[x]; out[k++] = b[x]; out[k++] = c[x];
        continue;
      }
      const blue = b[x] - 128, red = c[x] - 128;
      out[k++] = a[x] + (91881 * red + 32768 >> 16);
      out[k++] = a[x] + (-22554 * blue - 46802 * red + 32768 >> 16);
      out[k++] = a[x] + (116130 * blue + 32768 >> 16);
    }
  }
  return {data: out, width, height, channels: 3};
}
