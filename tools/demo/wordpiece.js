// BERT's tokenizer, as tfvit.data.tokenizers.wordpiece has it from TF Text.

const SPLIT = new RegExp([
  '[\\t\\n\\f\\r ]+',  // RE2's \s, which is ASCII alone.
  '([!-/:-@\\[-`{-~\\p{P}]',
  '[\\u4E00-\\u9FFF\\u3400-\\u4DBF\\uF900-\\uFAFF]',
  '[\\u{20000}-\\u{2A6DF}\\u{2A700}-\\u{2CEAF}\\u{2F800}-\\u{2FA1F}])',
].join('|'), 'u');
const LONGEST = 100;  // Bytes of a word; longer ones are unknown.
const bytes = new TextEncoder();

/** Unicode's NFKC_Casefold of a character, as ICU has it. */
function fold(c) {
  if (/\p{Default_Ignorable_Code_Point}/u.test(c)) return '';
  if (c === '\u0131') return c;
  if (/\p{Script=Cherokee}/u.test(c)) return c.toUpperCase();
  return c.normalize('NFKC').toLowerCase().toUpperCase().toLowerCase()
      .normalize('NFKC');
}

/** text => Array of maxLen token ids, from the bytes of vocab.txt. */
export function wordpiece({data, maxLen}) {
  const lines = new TextDecoder('utf-8', {ignoreBOM: true}).decode(data);
  const words = lines.replace(/\n+$/, '').split('\n');
  const ids = new Map(words.map((word, i) => [word, i]));
  const unknown = ids.get('[UNK]');

  function pieces(word) {
    if (bytes.encode(word).length > LONGEST) return [unknown];
    const letters = [...word], found = [];
    for (let start = 0, end; start < letters.length; start = end) {
      for (end = letters.length; end > start; end--) {
        const piece = (start ? '##' : '') + letters.slice(start, end).join('');
        if (ids.has(piece)) { found.push(ids.get(piece)); break; }
      }
      if (end === start) return [unknown];
    }
    return found;
  }

  return text => {
    const clean = [...text.toWellFormed?.() ?? text].map(fold).join('')
        .normalize('NFD').replace(/\p{Mn}/gu, '')
        .replace(/[\p{Cc}\p{Cf}]/gu, ' ');
    const found = clean.split(SPLIT).filter(x => x).flatMap(pieces);
    const out = [ids.get('[CLS]'), ...found].slice(0, maxLen);
    return [...out, ...Array(maxLen - out.length).fill(0)];
  };
}
