"""The order of examples is the same whatever the number of CPU cores."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from tests.data.datasets import fake_tfds

ROOT = pathlib.Path(__file__).parents[3]
FAKE = """
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>
int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set) {
  CPU_ZERO_S(size, set);
  for (int i = 0; i < atoi(getenv("CORES")); i++) CPU_SET_S(i, size, set);
  return 0;
}
"""
# The third is worth a look because it interleaves, too: skip_corrupt.
READ = """
import functools, json, os, sys
import tensorflow as tf
from tfvit.data import pipeline
from tfvit.data.datasets import sources
from tfvit.data.images import ops

folder = sys.argv[-1]
records = sources.tfrecords(pattern=folder + "/*.tfrecord", class_names="ab")
tfds = sources.tfds(name="cifar10", split="train", data_dir=folder)

def names(source, **kwargs):
    return [e["name"].numpy().decode().rsplit("/", 1)[-1]
            for e in source.examples(**kwargs)]

def pixels(source):
    dataset = pipeline.train(
        source=source, batch_size=18, seed=0, skip_corrupt=True, ops=[
            ops.decode, functools.partial(ops.resize, size=1)])
    return [b["images"][:, 0, 0, 0].numpy().tolist() for b in dataset.take(4)]

def labels(source):
    return [e["label"].numpy().item() for e in source.examples(seed=1)]

found = {
    "records": names(records), "shuffled": names(records, seed=3),
    "shards": [names(records, shard_index=i, num_shards=2) for i in range(2)],
    "batches": pixels(records), "tfds": labels(tfds)}
"""


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """What READ finds here, and where there seem to be other cores."""
    if not shutil.which("cc") or not sys.platform.startswith("linux"):
        pytest.skip("needs cc and Linux to pretend another number of cores")
    root = tmp_path_factory.mktemp("cores")
    (root / "fake.c").write_text(FAKE)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", root / "fake.so",
                    root / "fake.c"], check=True)
    fake_tfds.write_cifar10(root, 200, 20, num_files=4)
    for file in range(4):
        path = root / f"{file}.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for i in range(18):
                png = tf.io.encode_png(np.full([1, 1, 3], 20 * file + i,
                                               np.uint8)).numpy()
                writer.write(tf.train.Example(features=tf.train.Features(
                    feature={
                        "image/encoded": tf.train.Feature(
                            bytes_list=tf.train.BytesList(value=[png])),
                        "image/class/label": tf.train.Feature(
                            int64_list=tf.train.Int64List(value=[i % 2]))
                    })).SerializeToString())
    here = {"sys": mock.Mock(argv=[str(root)])}
    exec(READ.replace("import functools, json, os, sys", "import functools"),
         here)  # pylint: disable=exec-used
    cores = 2 if len(os.sched_getaffinity(0)) > 8 else 16
    there = subprocess.run(
        [sys.executable, "-c", READ + f"""
assert len(os.sched_getaffinity(0)) == {cores}
print(json.dumps(found))""", str(root)], stdout=subprocess.PIPE, cwd=ROOT,
        check=True, env={**os.environ, "CORES": str(cores),
                         "LD_PRELOAD": str(root / "fake.so"),
                         "PYTHONPATH": str(ROOT)})
    return here["found"], json.loads(there.stdout.splitlines()[-1])


@pytest.mark.slow
def test_the_order_is_that_of_any_number_of_cores(read):
    here, there = read
    for what in here:
        assert here[what] == there[what], what
    # Sixteen of each file, then the other two: by hand.
    assert here["records"] == [
        f"{file}.tfrecord:{i}" for turn in (range(16), range(16, 18))
        for file in range(4) for i in turn]
    assert sorted(sum(here["batches"], [])) == sorted(
        20 * file + i for file in range(4) for i in range(18))


@pytest.mark.slow
def test_workers_with_different_cores_share_the_examples(read):
    here, there = read
    assert sorted(here["shards"][0] + there["shards"][1]) == sorted(
        here["records"])
