// From prompts to the texts that are embedded: tfvit.data.prompts.

export const PHOTO = ['a photo of a {}'];
const PUNCTUATION = /[!-/:-@[-`{-~]/g;
// What str.split() of Python splits at.
const SPACES = /[\t-\r\x1c- \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;

/** Lower case, without punctuation but `keep`, single-spaced. */
export function canonical(text, keep = '') {
  const whole = text.replaceAll('_', ' ');
  const parts = (keep ? whole.split(keep) : [whole])
      .map(part => part.replace(PUNCTUATION, ''));
  return parts.join(keep).toLowerCase().split(SPACES).filter(x => x).join(' ');
}

/** What is wrong with a template; '' if nothing is. */
export function problem(template) {
  return template.split('{}').length === 2 ? '' :
      'A template needs one {}, where the prompt goes.';
}

/** A prompt's texts, in the order of the templates; [] of an empty one. */
export function texts(prompt, templates) {
  let name = canonical(prompt.replace(/^n\d{8} /, ''), ',');
  name = name.split(',')[0].trim();
  return name ? templates.map(
      template => canonical(template, '{}').replace('{}', () => name)) : [];
}
