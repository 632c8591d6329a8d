// From embeddings to probabilities.

export function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** The mean of vectors, of length 1: a prompt's several texts as one. */
export function mean(vectors) {
  if (vectors.length === 1) return vectors[0];
  const sum = new Float64Array(vectors[0].length);
  for (const v of vectors) for (let i = 0; i < sum.length; i++) sum[i] += v[i];
  const all = sum.map(x => x / vectors.length);
  const norm = Math.sqrt(dot(all, all)) + 1e-8;
  return all.map(x => x / norm);
}

/** Probabilities of logits; `link` is "softmax" or "sigmoid". */
export function linked(logits, link) {
  if (link === 'sigmoid') return Array.from(logits, x => 1 / (1 + Math.exp(-x)));
  let top = -Infinity, total = 0;
  for (const x of logits) top = Math.max(top, x);
  const all = Array.from(logits, x => Math.exp(x - top));
  for (const x of all) total += x;
  return all.map(x => x / total);
}
