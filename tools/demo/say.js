// What people are told.

import {$} from './dom.js';

/** Says what went wrong. */
export function complain(error) {
  if (!(error instanceof Error)) error = new Error(String(error));
  console.error(error);
  $('alert').hidden = false;
  $('alert').querySelector('p').textContent = error.message;
  $('status').textContent = '';
}

/** Says what is being waited for, and its share if that is known; or no more. */
export function progress(what, share = null) {
  $('loading').hidden = what === null;
  if (what === null) return;
  const bar = $('loading').querySelector('progress');
  $('loading').querySelector('span').textContent = what;
  if (share === null) bar.removeAttribute('value');
  else bar.value = share;
}

/** A handler whose errors are said. */
export const guard = f => async (...args) => {
  try {
    return await f(...args);
  } catch (error) {
    return complain(error);
  }
};
