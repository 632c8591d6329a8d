// SentencePiece, unigram and BPE, from its model file, with </s> at the end as
// tfvit.data.tokenizers.sentencepiece has it.

const NORMAL = 1, UNKNOWN = 2, USER = 4, UNUSED = 5, BYTE = 6;  // Of pieces.
const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', {ignoreBOM: true});
const f = Math.fround;

/** Protocol buffers: [field number, value] pairs; bytes stay bytes. */
function* fields(b) {
  let i = 0;
  const varint = () => {
    let x = 0, scale = 1, c;
    do { c = b[i++]; x += (c & 127) * scale; scale *= 128; } while (c & 128);
    return x;
  };
  while (i < b.length) {
    const key = varint(), kind = key & 7;
    let value;
    if (kind === 0) {
      value = varint();
    } else if (kind === 2) {
      const n = varint();
      value = b.subarray(i, i + n);
      i += n;
    } else {
      const n = kind === 5 ? 4 : 8, view = new DataView(b.buffer, b.byteOffset + i, n);
      value = n === 4 ? view.getFloat32(0, true) : view.getFloat64(0, true);
      i += n;
    }
    yield [key >>> 3, value];
  }
}

function parse(data) {
  const pieces = [], trainer = {}, norm = {};
  for (const [field, value] of fields(data)) {
    if (field === 1) {
      const p = {score: 0, type: NORMAL};
      for (const [k, v] of fields(value)) {
        if (k === 1) p.piece = decoder.decode(v);
        if (k === 2) p.score = v;
        if (k === 3) p.type = v;
      }
      pieces.push(p);
    }
    if (field === 2) for (const [k, v] of fields(value)) trainer[k] = v;
    if (field === 3) for (const [k, v] of fields(value)) norm[k] = v;
  }
  return {pieces, kind: trainer[3] ?? 1, byteFallback: Boolean(trainer[35]),
    suffix: Boolean(trainer[24]), charsmap: norm[2] ?? new Uint8Array(),
    dummyPrefix: norm[3] ?? 1, squeeze: norm[4] ?? 1, escape: norm[5] ?? 1};
}

/** (bytes, i) => [text, bytes read]: what the model's map makes of a prefix. */
function prefixer(charsmap, users) {
  let units = new Uint32Array(), strings = new Uint8Array();
  if (charsmap.length) {
    const copy = charsmap.slice();
    const size = new DataView(copy.buffer).getUint32(0, true);
    units = new Uint32Array(copy.buffer.slice(4, 4 + size));
    strings = copy.subarray(4 + size);
  }
  const offset = u => (u >>> 10) << ((u & 512) >>> 6);
  const lookup = (b, i) => {  // In a trie of double arrays (Darts).
    let found = null;
    if (!units.length) return found;
    let node = offset(units[0]);
    for (let j = i; j < b.length; j++) {
      const c = b[j];
      if (!c) break;
      node ^= c;
      const unit = units[node];
      if ((unit & 0x800000ff) >>> 0 !== c) break;
      node ^= offset(unit);
      if ((unit >>> 8) & 1) found = [units[node] & 0x7fffffff, j + 1 - i];
    }
    return found;
  };
  return (b, i) => {
    for (const u of users) {
      if (u.every((c, k) => b[i + k] === c)) return [decoder.decode(u), u.length];
    }
    const hit = lookup(b, i);
    if (hit) {
      let end = hit[0];
      while (strings[end]) end++;
      return [decoder.decode(strings.subarray(hit[0], end)), hit[1]];
    }
    const n = b[i] < 0x80 ? 1 : b[i] < 0xe0 ? 2 : b[i] < 0xf0 ? 3 : 4;
    return [decoder.decode(b.subarray(i, i + n)), n];
  };
}

function normalizer(m) {
  const users = m.pieces.filter(p => p.type === USER)
      .map(p => encoder.encode(p.piece)).sort((a, b) => b.length - a.length);
  const next = prefixer(m.charsmap, users);
  const space = m.escape ? '\u2581' : ' ';
  return text => {
    const b = encoder.encode(text);
    let i = 0, out = '';
    while (m.squeeze && i < b.length) {
      const [s, n] = next(b, i);
      if (s !== ' ') break;
      i += n;
    }
    if (i >= b.length) return '';
    if (m.dummyPrefix && !m.suffix) out = space;
    let before = Boolean(m.squeeze);
    while (i < b.length) {
      let [s, n] = next(b, i);
      i += n;
      while (before && s.startsWith(' ')) s = s.slice(1);
      if (s) { out += s.replaceAll(' ', space); before = s.endsWith(' '); }
      if (!m.squeeze) before = false;
    }
    while (m.squeeze && out.endsWith(space)) out = out.slice(0, -space.length);
    if (m.dummyPrefix && m.suffix) out += space;
    return out;
  };
}

/** letters => [[piece, id]]: the likeliest pieces. */
function unigram(m, ids, unk) {
  const normals = m.pieces.filter(p => p.type === NORMAL).map(p => p.score);
  const min = Math.min(...normals), max = Math.max(...normals);
  const longest = Math.max(...[...ids.keys()].map(p => [...p].length));
  return letters => {
    const best = Array(letters.length + 1).fill(null);
    best[0] = {score: 0};
    for (let i = 0; i < letters.length; i++) {
      let single = false, piece = '';
      // A sum of doubles is held against what was kept of another in a float,
      // as in EncodeOptimized: which of equal ones wins follows from that.
      const offer = (end, score, id) => {
        const total = score + best[i].score;
        if (!best[end] || total > best[end].score) {
          best[end] = {score: f(total), id, from: i};
        }
      };
      for (let j = i; j < Math.min(letters.length, i + longest); j++) {
        piece += letters[j];
        const id = ids.get(piece);
        if (id === undefined || m.pieces[id].type === UNUSED) continue;
        offer(j + 1, m.pieces[id].type === USER ?
            f(encoder.encode(piece).length * max) - 0.1 : m.pieces[id].score, id);
        single ||= j === i;
      }
      if (!single) offer(i + 1, f(min - 10), unk);
    }
    const out = [];
    for (let end = letters.length; end > 0; end = best[end].from) {
      out.push([letters.slice(best[end].from, end).join(''), best[end].id]);
    }
    return out.reverse();
  };
}

/** letters => [[piece, id]]: the best pair is joined until there is none. */
function bpe(m, ids, unk) {
  return letters => {
    const parts = [...letters];
    for (;;) {  // Prompts are short: no queue.
      let at = -1, score = -Infinity;
      for (let i = 0; i + 1 < parts.length; i++) {
        const id = ids.get(parts[i] + parts[i + 1]);
        if (id !== undefined && m.pieces[id].score > score) {
          score = m.pieces[id].score;
          at = i;
        }
      }
      if (at < 0) break;
      parts.splice(at, 2, parts[at] + parts[at + 1]);
    }
    return parts.map(p => [p, ids.get(p) ?? unk]);
  };
}

/** text => Array of maxLen token ids, from the bytes of a model file. */
export function sentencepiece({data, maxLen}) {
  const m = parse(new Uint8Array(data)), ids = new Map(), bytes = new Map();
  m.pieces.forEach((p, i) => {
    if ([NORMAL, USER, UNUSED].includes(p.type)) ids.set(p.piece, i);
    if (p.type === BYTE) bytes.set(p.piece, i);
  });
  const make = {1: unigram, 2: bpe}[m.kind];
  if (!make) throw new Error('A SentencePiece model of words or characters.');
  const unk = m.pieces.findIndex(p => p.type === UNKNOWN);
  const eos = m.pieces.findIndex(p => p.piece === '</s>');
  const normalize = normalizer(m), split = make(m, ids, unk);
  return text => {
    let out = [];
    for (const [piece, id] of split([...normalize(text)])) {
      if (id !== unk) {
        out.push(id);
      } else if (m.byteFallback) {
        for (const c of encoder.encode(piece)) {
          const hex = c.toString(16).toUpperCase().padStart(2, '0');
          out.push(bytes.get(`<0x${hex}>`));
        }
      } else if (out.at(-1) !== unk) {
        out.push(unk);
      }
    }
    out = out.slice(0, maxLen - 1);
    return [...out, ...Array(maxLen - out.length).fill(eos)];
  };
}
