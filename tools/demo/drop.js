// Files that are dropped or pasted anywhere.

import {$} from './dom.js';

/** Gives them to `take`. */
export function onFiles(take) {
  document.addEventListener('paste', event => {
    if (!event.clipboardData?.files.length) return;
    event.preventDefault();
    take(event.clipboardData.files);
  });
  const files = event => event.dataTransfer?.types.includes('Files');
  let depth = 0;  // Elements that are entered, and not left.
  const over = change => {
    depth = change ? Math.max(0, depth + change) : 0;
    $('dropping').hidden = !depth;
  };
  addEventListener('dragenter', event => files(event) && over(1));
  addEventListener('dragleave', event => files(event) && over(-1));
  addEventListener('dragover', event => files(event) && event.preventDefault());
  addEventListener('drop', event => {
    over(0);
    if (!files(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files);
  });
}
