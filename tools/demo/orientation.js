// How a photo is to be turned: the EXIF orientation of JPEG, PNG and WebP, as
// tfvit.data.images.headers reads it. (Browsers differ in which they heed.)

const ORIENTATION = 0x0112;
const SIZES = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8];  // Bytes of TIFF's types.

/** 1 to 8; 1 where there is none. */
export function orientation(bytes) {
  try {
    let exif = found(bytes)?.exif;
    for (let twice = 0; exif && twice < 2; twice++) {
      if (is(exif, 0, 'Exif\0\0')) exif = exif.subarray(6);
    }
    return exif ? tiff(exif) : 1;
  } catch (error) {
    if (error instanceof RangeError) return 1;  // It ends too early.
    throw error;
  }
}

/** A PNG or WebP file as a Blob that browsers do not turn. */
export function lying(bytes, type) {
  const where = found(bytes);
  if (!where) return new Blob([bytes], {type});
  if (is(bytes, 0, '\x89PNG')) {  // Without the chunk, of which there is a sum.
    return new Blob([bytes.subarray(0, where.begin),
      bytes.subarray(where.end)], {type});
  }
  const copy = bytes.slice();
  return new Blob([copy.fill(0, where.begin + 8, where.end)], {type});
}

/** {exif, begin, end: of its chunk}, or null. */
function found(bytes) {
  try {
    return find(bytes, new DataView(bytes.buffer, bytes.byteOffset, bytes.length));
  } catch (error) {
    if (error instanceof RangeError) return null;  // It ends too early.
    throw error;
  }
}

function is(bytes, at, text) {
  return [...text].every((c, i) => bytes[at + i] === c.charCodeAt(0));
}

function find(bytes, view) {
  if (is(bytes, 0, '\xff\xd8\xff')) {
    for (let at = 2; bytes[at] === 0xff;) {
      const marker = bytes[at + 1];
      if (marker === 0xda || marker === 0xd9) return null;
      if (marker === 0xff) { at++; continue; }
      if (marker === 1 || (marker >= 0xd0 && marker <= 0xd7)) { at += 2; continue; }
      const size = view.getUint16(at + 2);
      if (marker === 0xe1 && is(bytes, at + 4, 'Exif\0\0')) {
        return {exif: bytes.subarray(at + 4, at + 2 + size)};
      }
      at += 2 + size;
    }
  } else if (is(bytes, 0, '\x89PNG')) {
    for (let at = 8; at < bytes.length && !is(bytes, at + 4, 'IEND');) {
      const size = view.getUint32(at);
      if (is(bytes, at + 4, 'eXIf')) {
        return {exif: bytes.subarray(at + 8, at + 8 + size), begin: at,
          end: at + 12 + size};
      }
      at += size + 12;
    }
  } else if (is(bytes, 8, 'WEBPVP8X') && bytes[20] & 8) {
    for (let at = 12; at < bytes.length;) {
      const size = view.getUint32(at + 4, true);
      if (is(bytes, at, 'EXIF')) {
        return {exif: bytes.subarray(at + 8, at + 8 + size), begin: at,
          end: at + 8 + size};
      }
      at += 8 + size + size % 2;
    }
  }
  return null;
}

function tiff(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const low = is(bytes, 0, 'II*\0');
  if (!low && !is(bytes, 0, 'MM\0*')) return 1;
  const begin = view.getUint32(4, low), count = view.getUint16(begin, low);
  for (let i = 0; i < count; i++) {
    const at = begin + 2 + 12 * i, kind = view.getUint16(at + 2, low);
    const number = view.getUint32(at + 4, low);
    const size = number * (SIZES[kind] ?? 0);
    if (size > 4 && view.getUint32(at + 8, low) + size > bytes.length) return 1;
    if (view.getUint16(at, low) !== ORIENTATION || !size || size > 4) continue;
    if (kind !== 3 && kind !== 8 && kind !== 4 && kind !== 9) continue;
    const value = kind === 3 || kind === 8 ? view.getUint16(at + 8, low) :
        view.getUint32(at + 8, low);
    return value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
}

/** An image {data, width, height, channels} as it is to be seen. */
export function turned(image, way) {
  if (way === 1) return image;
  const {data, width, height, channels} = image, lying = way >= 5;
  const [wide, high] = lying ? [height, width] : [width, height];
  const down = [3, 4, 7, 8].includes(way), left = [2, 3, 6, 7].includes(way);
  const out = new Uint8Array(data.length);
  for (let y = 0, k = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) {
      const row = down ? high - 1 - y : y, column = left ? wide - 1 - x : x;
      const from = (lying ? column * width + row : row * width + column) * channels;
      for (let i = 0; i < channels; i++) out[k++] = data[from + i];
    }
  }
  return {...image, data: out, width: wide, height: high};
}
