// Where the model looks, laid over the picture.

import {$} from './dom.js';

/** Draws values [rows, columns] over the picture; hides them where null. */
export function draw(values, [rows, columns], region, strength) {
  const canvas = $('heat'), picture = $('picture');
  canvas.hidden = !values || picture.hidden;
  if (canvas.hidden) return;
  canvas.width = columns;
  canvas.height = rows;
  const most = Math.max(...values), least = Math.min(...values);
  const pixels = new ImageData(columns, rows);
  for (let i = 0; i < values.length; i++) {
    const x = (values[i] - least) / (most - least || 1);
    // Dark where it does not look, warm where it does.
    pixels.data.set([255 * Math.min(1, 1.6 * x), 210 * x * x, 40 * (1 - x),
      255 * (0.85 * Math.abs(x - 0.35) + 0.1)], 4 * i);
  }
  canvas.getContext('2d').putImageData(pixels, 0, 0);
  const [left, top, width, height] = shown(picture, region);
  Object.assign(canvas.style, {left: `${left}px`, top: `${top}px`,
    width: `${width}px`, height: `${height}px`, opacity: strength});
}

/** Where of the element the part of the picture is that the model gets. */
function shown(picture, region) {
  const {clientWidth: w, clientHeight: h} = picture;
  const {naturalWidth: nw, naturalHeight: nh} = picture;
  const scale = Math.min(w / nw, h / nh);
  const [x, y, width, height] = region(nw, nh);
  return [picture.offsetLeft + (w - nw * scale) / 2 + x * scale,
    picture.offsetTop + (h - nh * scale) / 2 + y * scale,
    width * scale, height * scale];
}

/** (width, height) => [x, y, width, height]: what `steps` leave of a picture. */
export function region(steps) {
  const small = steps.find(step => step.op === 'resize_small');
  const crop = steps.find(step => step.op === 'central_crop');
  return (width, height) => {
    if (!crop) return [0, 0, width, height];
    const scale = small ? Math.min(width, height) / small.smaller_size : 1;
    const [h, w] = [].concat(crop.size, crop.size).map(side => side * scale);
    return [(width - w) / 2, (height - h) / 2, w, h];
  };
}
