"""What every source of examples is, by two ways of reading.

A source knows `num_examples`, `class_names` and `shard_size(...)`, and
`examples(...)` reads one epoch of one shard. Elements are dicts:
    image  string [], the bytes of an image file, or uint8 [H, W, C]
    label  int64 [], an index into class_names; or float32 [C], for each class a
           probability or, with several labels, 0 or 1; or, where there are
           no class names, string [K], any number of captions
    name   string [], where the example lies, for error messages
The order depends on the seed alone: not on the clock, on threads, or on the
program's global seed.
"""
from collections.abc import Callable, Sequence

import tensorflow as tf

# So many places of the order are computed by one call: an operation costs as
# much for one.
_BLOCK = 64
_ROUNDS = 4


class Epochs:
    """What has `examples`, read epoch after epoch."""

    def endless(self, seeds, *, shard_index: int, num_shards: int,
                skip: int) -> tf.data.Dataset:
        """Reads a shard again and again, each epoch in an order of its own.

        Args:
          seeds: int64 [2].
          shard_index, num_shards: see Indexed.examples.
          skip: examples to leave out at the start, of all epochs.
        """
        first, used = divmod(skip, self.shard_size(shard_index, num_shards))

        @tf.autograph.experimental.do_not_convert  # It warns about TFDS.
        def read(epoch):
            return self.examples(
                seed=tf.random.experimental.stateless_fold_in(seeds, epoch),
                shard_index=shard_index, num_shards=num_shards,
                skip=used * tf.cast(epoch == first, tf.int64))

        return tf.data.Dataset.range(first, tf.int64.max).flat_map(read)


class Indexed(Epochs):
    """Examples that can be fetched by number, such as files or arrays.

    A shuffled epoch is one permutation of all numbers, of which any place can be
    computed alone: no list of them is kept, a shard is a slice, and a skipped
    example is not read.
    """

    def __init__(self, *, num_examples: int, class_names: Sequence[str],
                 fetch: Callable, notes: Sequence[str] = (),
                 labels: Sequence[int] | None = None):
        """`fetch` turns an index (int64 []) into an example.

        `notes` are sentences on what was left out, or is doubtful, for
        tools.check_data; `labels` are those of all examples, where they are
        known without reading any.
        """
        self.num_examples = num_examples
        self.class_names = tuple(class_names)
        self.notes = tuple(notes)
        self.labels = labels
        self._fetch = fetch

    def order(self, places, seeds) -> tf.Tensor:
        """Which examples come at some places of epochs.

        Args:
          places: int64 [K], from 0 to num_examples - 1.
          seeds: int64 [K, 2], of the epoch of each; None for storage order.

        Returns:
          int64 [K], numbers that `fetched` takes.
        """
        if seeds is None:
            return places
        return permuted(places, seeds, self.num_examples)

    def shard_size(self, shard_index: int, num_shards: int) -> int:
        return len(range(shard_index, self.num_examples, num_shards))

    def part(self, shard_index: int, num_shards: int) -> "Indexed | None":
        """A source of one shard's examples alone, shard_size of them.

        None, unless it costs much to read examples that lie apart: then the
        examples of a shard are those that lie together, and each shard is
        shuffled for itself.
        """
        del shard_index, num_shards

    def examples(self,
                 *,
                 seed=None,
                 shard_index: int = 0,
                 num_shards: int = 1,
                 skip=0) -> tf.data.Dataset:
        """Reads one epoch of one shard, without its first `skip` examples.

        Args:
          seed: None for storage order, else an int64 scalar or pair.
          shard_index: which of the shards to read.
          num_shards: how many shards divide the examples.
          skip: examples to leave out at the start, after shuffling.
        """
        if own := num_shards > 1 and self.part(shard_index, num_shards):
            return own.examples(seed=seed, skip=skip)
        begin = shard_index + tf.cast(skip, tf.int64) * num_shards
        places = tf.data.Dataset.range(begin, self.num_examples, num_shards)

        def numbers(places):
            return self.order(places, None if seed is None else tf.tile(
                pair(seed)[tf.newaxis], [tf.size(places), 1]))

        return self.fetched(places.batch(_BLOCK).map(numbers).unbatch())

    def fetched(self, indices, key=None) -> tf.data.Dataset:
        """Reads the examples of these numbers, or of each what `key` names.

        Of a name alone no file is read.
        """
        fetch = self._fetch if key is None else lambda i: self._fetch(i)[key]
        return indices.map(fetch,
                           num_parallel_calls=tf.data.AUTOTUNE,
                           deterministic=True)


def has_order(source) -> bool:
    """Whether a source knows who comes at any place of an epoch.

    One whose class has an `examples` of its own has an order of its own.
    """
    return (isinstance(source, Indexed) and
            type(source).examples is Indexed.examples)


class Streamed(Epochs):
    """Examples that can only be read one after the other.

    Shuffling holds `shuffle_buffer` encoded examples in host memory: 50,000
    ImageNet images are about 5.5 GB. A skipped example is read but not decoded.
    """

    def __init__(self, *, class_names: Sequence[str], read: Callable,
                 shard_size: Callable, shuffle_buffer: int,
                 splits: Sequence[str] = ()):
        """`read` and `shard_size` take (shard_index, num_shards).

        `splits` are the names of all that the dataset has.
        """
        self.num_examples = shard_size(0, 1)
        self.class_names = tuple(class_names)
        self.shard_size = shard_size
        self.splits = tuple(splits)
        self._read = read
        self._shuffle_buffer = shuffle_buffer

    def examples(self,
                 *,
                 seed=None,
                 shard_index: int = 0,
                 num_shards: int = 1,
                 skip=0) -> tf.data.Dataset:
        """Reads one epoch of one shard; see Indexed.examples."""
        if not self.shard_size(shard_index, num_shards):
            return self._read(0, 1).take(0)
        dataset = self._read(shard_index, num_shards)
        if seed is not None:
            dataset = _shuffle(dataset, self._shuffle_buffer, pair(seed))
        return dataset.skip(skip)


def names(source) -> list[bytes]:
    """The names of all examples, in the order of their numbers.

    What is no Indexed source is read for it, though not decoded.
    """
    if isinstance(source, Indexed):
        found = source.fetched(_stored(source, range(source.num_examples)),
                               "name")
    else:
        found = source.examples().map(lambda example: example["name"])
    return list(found.as_numpy_iterator())


def pick(source, numbers) -> tf.data.Dataset:
    """Reads the examples of some numbers, which are in ascending order."""
    if isinstance(source, Indexed):
        return source.fetched(_stored(source, numbers))
    numbers = tf.constant(numbers, tf.int64)
    chosen = source.examples().enumerate().filter(
        lambda number, _: tf.reduce_any(number == numbers))
    return chosen.map(lambda _, example: example).take(len(numbers))


def _stored(source, places):
    """What an Indexed source calls the examples at these places in storage."""
    return tf.data.Dataset.from_tensor_slices(
        source.order(tf.constant(places, tf.int64), None))


def check_classes(model, source, name):
    """Raises ValueError unless the model has one logit for each class."""
    ours, theirs = model.output_shape[-1], len(source.class_names)
    if ours != theirs:
        raise ValueError(
            f"The model has {ours} classes, the {name} data has {theirs} "
            f"({_few(source.class_names)}). If one of these is no class, such "
            "as a stray folder, move it away; if all are, set NUM_CLASSES = "
            f"{theirs}.")


def _few(names, most=20):
    """So many names, those at the end, too: that is where __strays__ sort."""
    if len(names) > most:
        names = [*names[:most // 2], "...", *names[-most // 2:]]
    return ", ".join(map(repr, names))


@tf.autograph.experimental.do_not_convert
def permuted(places, seeds, size) -> tf.Tensor:
    """Where one permutation of 0 ... size - 1 per seed takes some places.

    A Feistel network over a x b, the smallest such rectangle that holds `size`:
    a bijection that needs no memory, whatever the size. Who lands outside walks
    on. (TensorFlow's index_shuffle is none for 2**16 + 1 and the like, and takes
    0.1 ms for each of ten.)

    Args:
      places: int64 [K], from 0 to size - 1.
      seeds: int64 [K, 2].
      size: int64 [] or [K].
    """
    size = tf.cast(size, tf.int64) + tf.zeros_like(places)
    a = tf.cast(tf.math.ceil(tf.sqrt(tf.cast(size, tf.float64))), tf.int64)
    b = -(-size // a)
    keys = _mixed(_mixed(seeds[:, 0]) ^ tf.cast(seeds[:, 1], tf.uint64))

    def moved(places):
        left, right = places // b, places % b
        for number in range(_ROUNDS):
            key = keys + tf.constant(number, tf.uint64)
            left = (left + _drawn(right, key)) % a
            right = (right + _drawn(left, ~key)) % b
        return left * b + right

    return tf.while_loop(
        lambda found: tf.reduce_any(found >= size),
        lambda found: [tf.where(found >= size, moved(found), found)],
        [moved(places)])[0]


def _drawn(numbers, keys):
    """A random int64, at least 0, of each number and its key."""
    mixed = _mixed(_mixed(tf.cast(numbers, tf.uint64)) ^ keys)
    return tf.cast(tf.bitwise.right_shift(mixed, tf.constant(1, tf.uint64)),
                   tf.int64)


def _mixed(values):
    """The finalizer of SplitMix64 (Steele et al., OOPSLA 2014)."""
    shift = tf.bitwise.right_shift
    values = tf.cast(values, tf.uint64) + tf.constant(0x9e3779b97f4a7c15,
                                                      tf.uint64)
    for bits, factor in (30, 0xbf58476d1ce4e5b9), (27, 0x94d049bb133111eb):
        values ^= shift(values, tf.constant(bits, tf.uint64))
        values *= tf.constant(factor, tf.uint64)
    return values ^ shift(values, tf.constant(31, tf.uint64))


def pair(seed) -> tf.Tensor:
    """Makes an int64 [2] seed of a scalar or a pair."""
    seed = tf.cast(seed, tf.int64)
    return seed if seed.shape.rank else tf.stack([seed, 0])


def _shuffle(dataset, buffer_size, seed):
    # Dataset.shuffle mixes tf.random.set_seed into the order, and fails where
    # that is 0 and its own seed is a tensor; the op underneath does neither.
    # It takes the pair (0, 0) for "any order", so the second is made odd.
    spec = dataset.element_spec
    variant = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(dataset),
        buffer_size=tf.constant(buffer_size, tf.int64),
        seed=seed[0],
        seed2=tf.bitwise.bitwise_or(seed[1], 1),
        output_types=[part.dtype for part in tf.nest.flatten(spec)],
        output_shapes=[part.shape for part in tf.nest.flatten(spec)],
        reshuffle_each_iteration=False)
    return tf.data.experimental.from_variant(variant, spec)
