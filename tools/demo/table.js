// Pictures by names: how likely they go together.

import {$, make, percent} from './dom.js';

const MOST = 15;  // Rows of a model of classes.

/**
 * Draws it.
 * @param names of the rows.
 * @param pictures of the columns.
 * @param p probabilities [picture][name]; undefined where there are none.
 * @param across whether the best of a row counts, else that of a column.
 */
export function draw(names, pictures, p, across) {
  const best = (i, j) => p[j][i] !== undefined && (across ?
    pictures.every((_, k) => !(p[k][i] > p[j][i])) :
    names.every((_, k) => !(p[j][k] > p[j][i])));
  const head = make('thead', {}, make('tr', {}, make('td', {}, ''),
      ...pictures.map(picture => {
        const name = picture.text || `Picture ${picture.id}`;
        const image = make('img', {src: picture.url, alt: name, title: name});
        image.onload = () => image.classList.toggle('tiny', image.naturalWidth < 100);
        return make('th', {scope: 'col'}, image);
      })));
  const body = make('tbody', {}, ...names.map((name, i) => make('tr', {},
      make('th', {scope: 'row'}, name), ...pictures.map((_, j) => {
        const value = p[j][i], cell = make('td', {}, make('data', {
          value: value ?? ''}, value === undefined ? '–' : percent(value, 0)));
        cell.style.setProperty('--p', value ?? 0);
        if (best(i, j)) {
          cell.className = 'best';
          cell.append(make('span', {className: 'hidden'}, ', the best'));
        }
        return cell;
      }))));
  $('table').replaceChildren(
      make('caption', {className: 'hidden'}, 'How likely each goes with each ' +
        'picture'), head, body);
}

/** The classes worth a row: the likeliest of all pictures. */
export function worth(names, p) {
  const most = names.map((_, i) => Math.max(...p.map(one => one[i] ?? 0)));
  return names.map((_, i) => i).sort((a, b) => most[b] - most[a]).slice(0, MOST);
}
