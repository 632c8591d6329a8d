import functools
import re

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import op_def_registry
import tensorflow_datasets

from tests.data.datasets import fake_tfds
from tfvit.data import pipeline
from tfvit.data.datasets import combine
from tfvit.data.datasets import source as source_lib
from tfvit.data.datasets import sources
from tfvit.data.images import ops


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory):
    """A folder with CIFAR-10 in three files, and what is in it."""
    path = tmp_path_factory.mktemp("tfds")
    return path, fake_tfds.write_cifar10(path, 43, 13, num_files=3)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Two TFRecord files of 7 + 4 examples with labels 1, 2, 3, 1, ..."""
    path = tmp_path_factory.mktemp("records")
    count = 0
    for name, size in (("a", 7), ("b", 4)):
        with tf.io.TFRecordWriter(str(path / name)) as writer:
            for _ in range(size):
                feature = {
                    "image/encoded":
                        tf.train.Feature(bytes_list=tf.train.BytesList(
                            value=[b"image %d" % count])),
                    "image/class/label":
                        tf.train.Feature(int64_list=tf.train.Int64List(
                            value=[count % 3 + 1]))
                }
                example = tf.train.Example(features=tf.train.Features(
                    feature=feature))
                writer.write(example.SerializeToString())
                count += 1
    return str(path)


def numbers(count):
    """A source of `count` arrays."""
    images = np.arange(count).reshape(-1, 1, 1, 1) * np.ones((2, 2, 1))
    return sources.arrays(images=images.astype(np.uint8),
                          labels=np.arange(count) % 3,
                          class_names=["a", "b", "c"])


def make(kind, cifar10, records):
    """Sources of both kinds, one of each constructor."""
    if kind == "tfds":
        return sources.tfds(name="cifar10",
                            split="train",
                            data_dir=str(cifar10[0]),
                            shuffle_buffer=20)
    if kind == "tfrecords":
        return sources.tfrecords(pattern=records + "/*",
                                 label_offset=-1,
                                 class_names=["x", "y", "z"],
                                 shuffle_buffer=4)
    return numbers(11)


def images(dataset):
    """The bytes of each image, which tell it from the others."""
    return [bytes(memoryview(example["image"].numpy())) for example in dataset]


def read(source, **kwargs):
    return images(source.examples(**kwargs))


KINDS = pytest.mark.parametrize("kind", ["tfds", "tfrecords", "arrays"])


@KINDS
@pytest.mark.parametrize("seed", [None, 3])
def test_shards_are_disjoint_and_complete_and_as_long_as_they_say(
        kind, seed, cifar10, records):
    source = make(kind, cifar10, records)
    everything = read(source)
    assert len(set(everything)) == source.num_examples == len(everything)
    for num_shards in (1, 3):
        shards = [
            read(source, seed=seed, shard_index=i, num_shards=num_shards)
            for i in range(num_shards)
        ]
        assert sorted(sum(shards, [])) == sorted(everything)
        sizes = [source.shard_size(i, num_shards) for i in range(num_shards)]
        assert sizes == [len(shard) for shard in shards]
        assert max(sizes) - min(sizes) <= 1
    last = dict(shard_index=source.num_examples,
                num_shards=source.num_examples + 1)
    assert source.shard_size(*last.values()) == 0 and not read(source, **last)


@KINDS
def test_order_depends_on_the_seed_alone(kind, cifar10, records):
    source = make(kind, cifar10, records)
    first = read(source, seed=1)
    tf.random.set_seed(0)  # Dataset.shuffle would fail, and then differ.
    assert read(source, seed=tf.constant(1, tf.int64)) == first
    tf.random.set_seed(5)
    assert read(make(kind, cifar10, records), seed=1) == first
    assert read(source, seed=2) != first
    assert read(source, seed=tf.constant([1, 7], tf.int64)) != first
    assert read(source) == read(source) != first


@KINDS
def test_skipping_leaves_out_the_start_of_the_shuffled_shard(
        kind, cifar10, records):
    source = make(kind, cifar10, records)
    shard = dict(seed=4, shard_index=1, num_shards=2)
    assert read(source, skip=3, **shard) == read(source, **shard)[3:]


@KINDS
def test_examples_can_be_read_inside_of_flat_map(kind, cifar10, records):
    source = make(kind, cifar10, records)
    epochs = tf.data.Dataset.range(2).flat_map(
        tf.autograph.experimental.do_not_convert(
            lambda epoch: source.examples(seed=epoch)))
    assert images(epochs) == read(source, seed=0) + read(source, seed=1)


@KINDS
@pytest.mark.parametrize("skip_corrupt", [False, True])
def test_op_determinism_lets_the_pipeline_use_all_cores(kind, skip_corrupt,
                                                        cifar10, records):
    dataset = pipeline.train(
        source=make(kind, cifar10, records),
        ops=[
            functools.partial(ops.decode_and_inception_crop, size=4),
            functools.partial(ops.random_shift, pixels=1), ops.flip_lr
        ],
        batch_size=2,
        seed=0,
        skip_corrupt=skip_corrupt)
    graph = tf.compat.v1.GraphDef.FromString(
        tf.raw_ops.DatasetToGraphV2(
            input_dataset=tf.data.experimental.to_variant(dataset)).numpy())
    inside = {
        node.op
        for function in graph.library.function
        for node in function.node_def
    }
    # A single other op with state, such as PyFunc or TensorDataset, and
    # TensorFlow makes every parallel map before it sequential. Before
    # TFRecordDatasetV2 there is none: files are opened one after the other.
    harmless = {"Assert", "PrintV2", "RangeDataset", "TFRecordDataset",
                "TFRecordDatasetV2", "TensorSliceDataset"}  # yapf: disable
    stateful = {
        name for name in inside if (op := op_def_registry.get(name)) and
        op.is_stateful and not name.startswith("_")
    }
    assert stateful - {"If", "StatefulPartitionedCall"} <= harmless


def test_tfds_gives_encoded_images_with_labels_names_and_slices(cifar10):
    path, written = cifar10
    source = sources.tfds(name="cifar10",
                          split="train[:50%]",
                          data_dir=str(path))
    assert source.num_examples == 22
    assert source.class_names == fake_tfds.CIFAR10_CLASSES
    pixels, labels = written["train"]
    # Examples of several files take turns.
    unseen = {image.tobytes(): label for image, label in zip(pixels, labels)}
    for example in source.examples():
        assert example["image"].dtype == tf.string
        name = example["name"].numpy().decode()
        assert re.search(r"/cifar10-train.tfrecord-\d+[^/]*:\d+$", name)
        image = tf.io.decode_png(example["image"]).numpy()
        assert unseen.pop(image.tobytes()) == example["label"].numpy()


def test_tfds_array_records_are_read_in_any_order(tmp_path):
    written = fake_tfds.write_cifar10(tmp_path, 43, 13, 3, "array_record")
    data_dir = str(tmp_path)
    read = sources.tfds(name="cifar10", split="train[20%:]", data_dir=data_dir)
    theirs = tensorflow_datasets.data_source("cifar10", split="train[20%:]",
                                             data_dir=data_dir)
    assert source_lib.has_order(read) and read.num_examples == len(theirs) == 34
    assert read.splits == ("train", "test")
    ours = list(read.examples().as_numpy_iterator())
    for i in (0, 7, 33):
        np.testing.assert_array_equal(tf.io.decode_png(ours[i]["image"]),
                                      theirs[i]["image"])
        assert ours[i]["label"] == theirs[i]["label"]
    every = sources.tfds(name="cifar10", split="train", data_dir=data_dir)
    found = {tf.io.decode_png(e["image"]).numpy().tobytes()
             for e in every.examples(seed=1).as_numpy_iterator()}
    assert found == {image.tobytes() for image in written["train"][0]}


@pytest.mark.parametrize("wrong,message", [
    (dict(name="cifr10"), "Closest names: .*cifar10"),
    (dict(name="cifar10:9.9.9"), "cannot be loaded at version 9.9.9"),
    (dict(split="dev"), "'dev'.* has 'train' .43., 'test' .13."),
    (dict(split="train[:1o%]"), "slices such as"),
    (dict(split="train[:0%]"), "has no examples"),
    (dict(image_key="picture"), "image_key = 'picture'.*'label'"),
    (dict(label_key="id"), "not a ClassLabel"),
])
def test_tfds_says_what_is_wrong_with_a_setting(wrong, message, cifar10):
    right = dict(name="cifar10", split="train", data_dir=str(cifar10[0]))
    with pytest.raises(ValueError, match=message):
        sources.tfds(**{**right, **wrong})


def test_tfds_says_how_to_get_a_dataset_that_is_missing(tmp_path):
    with pytest.raises(ValueError, match="tfds build cifar10.*DATA_DIR"):
        sources.tfds(name="cifar10",
                     split="train",
                     data_dir=str(tmp_path),
                     download=False)


def test_tfds_says_which_files_must_be_downloaded_by_hand(tmp_path):
    with pytest.raises(ValueError, match="ILSVRC2012_img_val.tar.*MANUAL_DIR"):
        sources.tfds(name="imagenet2012", split="train", data_dir=str(tmp_path))


def test_tfrecords_shift_labels_and_name_their_place(records):
    source = make("tfrecords", None, records)
    found = {
        example["name"].numpy().decode().rsplit("/")[-1]:
            (example["image"].numpy(), int(example["label"]))
        for example in source.examples()
    }
    assert source.num_examples == len(found) == 11
    assert found["a:0"] == (b"image 0", 0)
    assert found["b:1"] == (b"image 8", 2)


def test_tfrecords_name_the_file_of_a_label_out_of_range(records):
    with pytest.raises(ValueError, match=r"/a:2.*label.*3.*3 classes"):
        sources.tfrecords(pattern=records + "/*", class_names=["x", "y", "z"])
    source = sources.tfrecords(pattern=records + "/*",
                               num_examples=11,
                               class_names=["x", "y", "z"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="3 classes"):
        read(source)


@pytest.mark.parametrize("wrong", [0, 10, 12])
def test_tfrecords_with_a_wrong_count_are_refused_at_the_start(records, wrong):
    with pytest.raises(ValueError, match=f"hold 11 records, not .* {wrong}"):
        sources.tfrecords(pattern=records + "/*", num_examples=wrong,
                          label_offset=-1, class_names=["x", "y", "z"])


def test_tfrecords_read_class_names_from_a_file(records, tmp_path):
    (tmp_path / "names.txt").write_text("red\ngreen\n\nblue\n")
    source = sources.tfrecords(pattern=records + "/a",
                               label_offset=-1,
                               class_names_file=str(tmp_path / "names.txt"))
    assert source.class_names == ("red", "green", "blue")
    with pytest.raises(ValueError, match="one of .*class_names_file"):
        sources.tfrecords(pattern=records + "/a")


def shards(folder, *names):
    """Files of one record each, by these names."""
    record = tf.train.Example(features=tf.train.Features(feature={
        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(
            value=[b"image"])),
        "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(
            value=[0]))})).SerializeToString()
    for name in names:
        with tf.io.TFRecordWriter(str(folder / name)) as writer:
            writer.write(record)


@pytest.mark.parametrize("stem, suffix", [
    ("train", ".tfrecord"), ("train", ""), ("cifar10-train.tfrecord", "")])
@pytest.mark.parametrize("lost", [0, 2, 3])
def test_a_file_of_n_that_is_not_there_is_named(tmp_path, stem, suffix, lost):
    names = [f"{stem}-{i:05d}-of-00004{suffix}" for i in range(4)]
    shards(tmp_path, *names)
    arguments = dict(class_names="ab", num_examples=None)
    for first in (0, 1):  # Where they count from 1, too.
        pattern = f"{tmp_path}/{stem}-*{suffix}"
        assert sources.tfrecords(pattern=pattern,
                                 **arguments).num_examples == 4
        if first == 0:
            (tmp_path / names[0]).rename(tmp_path / names[0].replace(
                "00000-of", "00004-of"))
    (tmp_path / names[0].replace("00000-of", "00004-of")).rename(
        tmp_path / names[0])
    (tmp_path / names[lost]).unlink()
    with pytest.raises(ValueError, match=f"lacks 1 of 00004 .*{names[lost]}"):
        sources.tfrecords(pattern=pattern, **arguments)
    with pytest.raises(ValueError, match="lacks 1 of 00004"):
        sources.tfrecords(pattern=pattern, class_names="ab", num_examples=3)
    # Who asks for some of them gets them.
    kept = names[1]
    for pattern in (f"{tmp_path}/{kept}", f"{tmp_path}/{stem}-0000[1]*"):
        assert sources.tfrecords(pattern=pattern,
                                 **arguments).num_examples == 1


def test_files_of_two_copies_are_not_mixed(tmp_path):
    shards(tmp_path, "a-0-of-1", "a-0-of-2", "a-1-of-2")
    with pytest.raises(ValueError, match="of 1 and of 2 called .*/a-.*older"):
        sources.tfrecords(pattern=f"{tmp_path}/a-*", class_names="ab")
    shards(tmp_path, "b-0-of-1", "c-0-of-1")
    assert sources.tfrecords(pattern=f"{tmp_path}/[bc]-*",
                             class_names="ab").num_examples == 2


def test_tfrecords_without_a_file_name_the_pattern(tmp_path):
    with pytest.raises(ValueError, match="nothing-.* matches no file"):
        sources.tfrecords(pattern=str(tmp_path / "nothing-*"),
                          class_names=["x", "y"])


def test_digits_split_every_class_alike_and_completely():
    train = sources.digits(split="train")
    test = sources.digits(split="test")
    assert train.num_examples + test.num_examples == 1797
    labels = [[int(example["label"])
               for example in split.examples()]
              for split in (train, test)]
    share = np.bincount(labels[1]) / np.bincount(labels[0] + labels[1])
    np.testing.assert_allclose(share, 0.2, atol=0.005)
    assert not set(read(train)) & set(read(test))


def test_digits_are_grey_bytes_up_to_255():
    pixels = np.stack(
        [e["image"].numpy() for e in sources.digits(split="test").examples()])
    assert pixels.dtype == np.uint8 and pixels.shape[1:] == (8, 8, 1)
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_digits_refuse_another_split():
    with pytest.raises(ValueError, match="'val' is neither"):
        sources.digits(split="val")


def test_arrays_refuse_labels_without_a_class():
    with pytest.raises(ValueError, match="from 0 to 2 for 2 classes"):
        sources.arrays(images=np.zeros((3, 2, 2, 1)),
                       labels=[0, 1, 2],
                       class_names=["a", "b"])


@pytest.mark.parametrize("kind", ["tfds", "tfrecords", "arrays", "mixture"])
def test_names_and_examples_go_by_their_numbers(kind, cifar10, records):
    if kind == "mixture":
        read = combine.mixture(sources=[lambda: numbers(6)] * 2, weights=[1, 1])
    else:
        read = make(kind, cifar10, records)
    every = list(read.examples().as_numpy_iterator())
    assert source_lib.names(read) == [example["name"] for example in every]
    chosen = list(source_lib.pick(read, [1, 4, 10]).as_numpy_iterator())
    for example, number in zip(chosen, [1, 4, 10], strict=True):
        for key, value in example.items():
            np.testing.assert_array_equal(value, every[number][key])
    assert not list(source_lib.pick(read, []))


def test_names_of_files_are_known_without_reading_them(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "x.csv").write_text(
        "image,label,split\na.png,a,s\ngone.png,b,s\n")
    read = sources.manifest(path=str(tmp_path / "x.csv"), split="s")
    assert source_lib.names(read) == [
        f"{tmp_path}/{file}".encode() for file in ("a.png", "gone.png")]
    with pytest.raises(tf.errors.NotFoundError):
        list(source_lib.pick(read, [1]))
