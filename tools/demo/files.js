// What a file says at its beginning: its size, and what it is.

const is = (bytes, at, text) => [...text].every(
    (c, i) => bytes[at + i] === c.charCodeAt(0));

/** Pixels of an image before it is decoded; 0 where that is not known. */
export function pixelsOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  try {
    if (is(bytes, 1, 'PNG')) return view.getUint32(16) * view.getUint32(20);
    if (is(bytes, 0, 'GIF8')) return view.getUint16(6, true) * view.getUint16(8, true);
    if (is(bytes, 0, 'BM')) {  // Negative where it begins at the top.
      return view.getUint32(18, true) * Math.abs(view.getInt32(22, true));
    }
    if (is(bytes, 8, 'WEBPVP8X')) {
      const side = at => 1 + (view.getUint32(at, true) & 0xffffff);
      return side(24) * side(27);
    }
    return is(bytes, 0, '\xff\xd8\xff') ? jpeg(view) : 0;
  } catch (error) {
    if (error instanceof RangeError) return 0;  // It ends too early.
    throw error;
  }
}

/** Of the frame, past the segments before it. */
function jpeg(view) {
  for (let at = 2; view.getUint8(at) === 0xff; at += 2 + view.getUint16(at + 2)) {
    const marker = view.getUint8(at + 1);
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      return view.getUint16(at + 5) * view.getUint16(at + 7);
    }
  }
  return 0;
}

/** What to do with a file that the browser cannot read. */
export function advice(bytes) {
  const text = new TextDecoder().decode(bytes.subarray(0, 1000));
  if (is(bytes, 4, 'ftyp') && /^(hei|hev|mif|msf)/.test(text.slice(8))) {
    return ' It is HEIC, which few browsers read: save it as JPEG.';
  }
  if (is(bytes, 0, 'II*\0') || is(bytes, 0, 'MM\0*')) {
    return ' It is TIFF: save it as PNG or JPEG.';
  }
  return /<svg[\s>]/.test(text) ? ' It is a drawing, SVG: save it as PNG.' : '';
}
