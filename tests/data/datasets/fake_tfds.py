"""Writes small TFDS datasets in the shape of real ones, without network."""
import numpy as np
import tensorflow_datasets

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog",
                   "frog", "horse", "ship", "truck")


def write_cifar10(data_dir, num_train, num_test, num_files=1,
                  file_format="tfrecord"):
    """Writes random images as cifar10, for sources.tfds(data_dir=data_dir).

    Args:
      data_dir: an empty folder.
      num_train: examples of the split "train".
      num_test: examples of the split "test".
      num_files: files per split.
      file_format: of these, as TFDS calls it.

    Returns:
      {split: (images uint8 [N, 32, 32, 3], labels [N])}. The classes take
      turns, and the colour of an image tells its class.
    """
    builder = tensorflow_datasets.builder("cifar10", data_dir=str(data_dir),
                                          file_format=file_format)
    builder.data_path.mkdir(parents=True)
    builder.info.features["label"].names = CIFAR10_CLASSES
    per_file = -(-max(num_train, num_test) // num_files)
    writer = tensorflow_datasets.core.SequentialWriter(
        builder.info, per_file, file_format=file_format)
    writer.initialize_splits(["train", "test"])
    written = {}
    for split, count in ("train", num_train), ("test", num_test):
        random = np.random.RandomState(count)
        labels = np.arange(count) % 10
        images = random.randint(0, 60, (count, 32, 32, 3))
        images[..., 0] += 20 * labels[:, None, None]
        images = images.astype(np.uint8)
        writer.add_examples({
            split: [{
                "id": f"{split}_{i:05d}",
                "image": image,
                "label": label
            } for i, (image, label) in enumerate(zip(images, labels))]
        })
        written[split] = images, labels
    writer.close_all()
    return written


def write(name, data_dir, splits, **class_names):
    """Writes {split: examples} as a dataset; {feature: class names}."""
    builder = tensorflow_datasets.builder(name, data_dir=str(data_dir))
    builder.data_path.mkdir(parents=True)
    for feature, names in class_names.items():
        builder.info.features[feature].names = names
    writer = tensorflow_datasets.core.SequentialWriter(builder.info, 100)
    writer.initialize_splits(list(splits))
    writer.add_examples(splits)
    writer.close_all()


def write_coco_captions(data_dir, num_train, num_test):
    """Writes images as coco_captions, of which number i has 5 + i % 3 captions.

    Its image is filled with i and its captions are 10 i, 10 i + 1, ...
    """
    write("coco_captions", data_dir, {
        split: [{
            "image": np.full([4, 4, 3], i, np.uint8),
            "image/filename": f"{i}.jpg",
            "image/id": i,
            "captions": [{"id": j, "text": str(10 * i + j)}
                         for j in range(5 + i % 3)],
            "objects": [],
        } for i in range(count)]
        for split, count in (("train", num_train), ("test", num_test))})
