"""Byte-pair encoding of words (arXiv 1508.07909), in TensorFlow's operations.

As CLIP has it (arXiv 2103.00020): a word is its UTF-8 bytes, the last of which
is marked as the end of a word; again and again the two neighbours that come
first in the list of merges become one token, the first two of several.
"""

import tensorflow as tf

END = "</w>"
_NONE = 2**62  # Rank of a pair that is no merge.


def letters():
    """What stands for each of the 256 bytes in the files, as GPT-2 has it."""
    own = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD),
           *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in own else next(others)) for byte in range(256)]


class BytePairs(tf.Module):
    """From words to the numbers of their tokens."""

    def __init__(self, vocab, merges):
        """Builds the tables.

        Args:
          vocab: {token: number}.
          merges: [(token, token)], the first of which are merged first.

        Raises:
          ValueError: a byte, or what is merged, is not in the vocabulary.
        """
        super().__init__()
        needed = [*letters(), *(letter + END for letter in letters()),
                  *(token for a, b in merges for token in (a, b, a + b))]
        lost = next((token for token in needed if token not in vocab), None)
        if lost is not None:
            raise ValueError(f"the vocabulary lacks the token {lost!r}")
        self._size = max(vocab.values()) + 1
        self._inner, self._last = (
            tf.constant([vocab[letter + end] for letter in letters()], tf.int32)
            for end in ("", END))
        ranks = {vocab[a] * self._size + vocab[b]: rank
                 for rank, (a, b) in reversed(list(enumerate(merges)))}
        self._ranks = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant([*ranks], tf.int64),
                tf.constant([*ranks.values()], tf.int64)), _NONE)
        self._merged = tf.constant([*(vocab[a + b] for a, b in merges), 0],
                                   tf.int32)

    def __call__(self, words):
        """Words, string [W], none of them empty -> int32 [W, (n)], ragged."""
        bytes_ = tf.strings.bytes_split(words)
        values = tf.cast(tf.io.decode_raw(bytes_.flat_values, tf.uint8)[:, 0],
                         tf.int32)
        lasts = tf.scatter_nd(bytes_.row_splits[1:, tf.newaxis] - 1,
                              tf.ones_like(words, tf.bool),
                              tf.shape(values, tf.int64))
        ids = tf.where(lasts, tf.gather(self._last, values),
                       tf.gather(self._inner, values))
        rows = tf.RaggedTensor.from_row_splits(ids, bytes_.row_splits)
        # A column more: there is always a next one, and a longest word.
        table = tf.pad(rows.to_tensor(-1), [[0, 0], [0, 1]],
                       constant_values=-1)
        done, _ = tf.while_loop(
            lambda _, more: more, self._merge, (table, tf.size(words) > 0),
            shape_invariants=(tf.TensorShape([None, None]),
                              tf.TensorShape([])))
        return tf.RaggedTensor.from_tensor(done, padding=-1)

    def _merge(self, table, _):
        """Merges a pair of each word; whether there was any."""
        left, right = (tf.cast(part, tf.int64) for part in (
            table[:, :-1], table[:, 1:]))
        pairs = tf.where(right < 0, tf.constant(-1, tf.int64),
                         left * self._size + right)
        ranks = self._ranks.lookup(pairs)  # [W, L]
        place = tf.argmin(ranks, axis=1, output_type=tf.int32)
        best = tf.reduce_min(ranks, axis=1)
        found = best < _NONE
        length = tf.shape(table)[1]
        place = tf.where(found, place, length)[:, tf.newaxis]
        merged = tf.gather(self._merged, tf.where(
            found, best, tf.shape(self._merged, tf.int64)[0] - 1))
        next_ones = tf.pad(table[:, 1:], [[0, 0], [0, 1]], constant_values=-1)
        column = tf.range(length)[tf.newaxis]
        table = tf.where(column < place, table,
                         tf.where(column == place, merged[:, tf.newaxis],
                                  next_ones))
        return table, tf.reduce_any(found)
