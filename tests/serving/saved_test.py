"""Tests of the folders that TensorFlow Serving reads."""

import functools
import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.serving import samples
from tfvit.serving import saved

RECORD = {"model": "toy", "step": 7, "precision": "float32",
          "link": "softmax", "preprocessing": ["decode", "resize"]}

# Runs where tfvit cannot be imported, nor anything of Keras.
FRESH = r"""
import json, os, sys
for name in ("tfvit", "tf_keras", "keras", "official"):
    sys.modules[name] = None
import numpy as np
import tensorflow as tf
from tensorflow.python.tools import saved_model_cli

for name in sys.argv[1:]:
    want = dict(np.load(name + ".npz"))
    model = tf.saved_model.load(name + "/7")
    images = model.signatures.get("images")
    if images:
        got = images(images=tf.constant(want["images"]))["logits"]
        print("difference", name, "logits", np.abs(got - want["logits"]).max())
    data = tf.constant([want["data"].tobytes()])
    got = model.signatures["features"](image_bytes=data)["features"]
    print("difference", name, "features", np.abs(got - want["features"]).max())
folder = name + "/7"
np.save("image_bytes.npy", np.array([want["data"].tobytes()] * 2))
np.save("images.npy", want["images"])
np.save("uint8.npy", np.zeros([2, 5, 9, 3], np.uint8))
for signature in list(model.signatures):
    given = {"images": "images=images.npy", "uint8_images": "images=uint8.npy"}
    sys.argv = ["saved_model_cli", "run", "--dir", folder, "--tag_set=serve",
                f"--signature_def={signature}", "--outdir=cli/" + signature,
                "--inputs", given.get(signature, "image_bytes=image_bytes.npy")]
    try:
        saved_model_cli.main()
    except SystemExit as end:
        assert not end.code, end.code
    print("cli", signature, sorted(os.listdir("cli/" + signature)))
np.testing.assert_allclose(np.load("cli/images/logits.npy"), want["logits"],
                           atol=1e-4)
from tensorflow_serving.apis import prediction_log_pb2
path = folder + "/assets.extra/tf_serving_warmup_requests"
for record in tf.data.TFRecordDataset(path):
    log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
    request = log.predict_log.request
    inputs = {k: tf.constant(tf.make_ndarray(v))
              for k, v in request.inputs.items()}
    signature = request.model_spec.signature_name
    out = model.signatures[signature](**inputs)
    assert not any(out.get("error", tf.constant([b""])).numpy())
    print("warm-up", signature, {len(v) for v in out.values()})
"""


def write(out, name="token", only=(), **settings):
    return saved.write(samples.server(name, only=only), **{
        "out": str(out), "step": 7, "class_names": samples.NAMES,
        "config": "# gin\n", "record": RECORD, "model_name": "toy",
        "warmup_batches": [1, 3]} | settings)


def test_versions_are_never_overwritten(tmp_path):
    assert saved.versions(tmp_path) == []
    write_one = functools.partial(write, tmp_path, only=["images"])  # Quick.
    first = write_one()
    before = (tmp_path / "7" / "saved_model.pb").read_bytes()
    assert first == str(tmp_path / "7")
    assert write_one() == str(tmp_path / "8")
    assert write_one(step=100) == str(tmp_path / "100")
    assert write_one() == str(tmp_path / "101")
    # Lower steps, too: a server would go on with the older one.
    assert write_one(step=1) == str(tmp_path / "102")
    assert write_one(step=0) == str(tmp_path / "103")
    assert saved.versions(tmp_path) == [7, 8, 100, 101, 102, 103]
    assert (tmp_path / "7" / "saved_model.pb").read_bytes() == before


def test_a_version_taken_meanwhile_is_passed_over(tmp_path, monkeypatch):
    write(tmp_path, only=["images"])
    numbers = iter([7, 8])
    monkeypatch.setattr(saved, "next_version", lambda *_: next(numbers))
    assert write(tmp_path, only=["images"]) == str(tmp_path / "8")


def test_an_export_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(KeyError):
        write(tmp_path, record={})
    assert list(tmp_path.iterdir()) == []


def test_assets_say_what_was_exported(tmp_path):
    write(tmp_path)
    assets = tmp_path / "7" / "assets"
    assert (assets / "labels.txt").read_text().splitlines() == samples.NAMES
    assert (assets / "config.gin").read_text() == "# gin\n"
    record = json.loads((assets / "export.json").read_text())
    assert record["step"] == 7
    assert record["tensorflow"] == tf.__version__
    assert record["num_classes"] == 7
    assert record["image_shape"] == [16, 16, 3]
    assert record["signatures"]["images"] == {
        "inputs": {"images": "float32 [B, 16, 16, 3]"},
        "outputs": {"logits": "float32 [B, 7]"}}
    assert "in `image_bytes`: string [B]" in (assets / "README.md").read_text()


def test_weights_are_told_apart_by_their_sha256(tmp_path):
    made = samples.model()
    write(tmp_path)
    record = json.loads(
        (tmp_path / "7" / "assets" / "export.json").read_text())
    digest = hashlib.sha256()
    for weight in sorted(made.weights, key=lambda v: v.name):
        shape = ", ".join(map(str, weight.shape))
        digest.update(f"{weight.name} float32 [{shape}]\n".encode())
        digest.update(weight.numpy().astype("<f4").tobytes())
    assert record["weights_sha256"] == digest.hexdigest()
    made.weights[-1].assign_add(1e-6 * tf.ones_like(made.weights[-1]))
    assert saved.fingerprint(made.weights) != digest.hexdigest()


def test_files_of_other_formats_lie_where_no_server_looks(tmp_path):
    for _ in range(2):
        path = saved.write_files(
            {"model": b"data"}, server=samples.server(), kind="tflite", out=str(tmp_path),
            step=7, class_names=samples.NAMES, config="", record={})
    assert path == str(tmp_path / "tflite" / "8")
    assert sorted((tmp_path / "tflite").iterdir()) == [
        tmp_path / "tflite" / "7", tmp_path / "tflite" / "8"]
    assert saved.versions(tmp_path) == []
    assert write(tmp_path) == str(tmp_path / "7")
    assert "weights_sha256" in json.loads(
        (tmp_path / "tflite" / "7" / "export.json").read_text())


def test_warming_up_with_big_batches_takes_a_small_file(tmp_path):
    write(tmp_path, warmup_batches=[100])
    path = tmp_path / "7" / "assets.extra" / "tf_serving_warmup_requests"
    assert path.stat().st_size < 100_000  # 307,200 bytes of images alone.


@pytest.mark.slow
def test_every_architecture_is_served_without_tfvit(tmp_path):
    pytest.importorskip("tensorflow_serving")
    for name in samples.ARCHITECTURES:
        write(tmp_path / name, name)
        data = samples.encoded()
        images = np.random.default_rng(1).uniform(
            -1, 1, [3, 16, 16, 3]).astype(np.float32)
        features = samples.server(name).features(tf.constant([data]))
        np.savez(tmp_path / f"{name}.npz", images=images,
                 data=np.frombuffer(data, np.uint8),
                 logits=samples.model(name)(images),
                 features=features["features"])
    # The last one runs through the command line, too.
    done = subprocess.run(
        [sys.executable, "-c", FRESH, *reversed(samples.ARCHITECTURES)],
        cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    differences = {(line[1], line[2]): float(line[3]) for line in lines
                   if line[:1] == ["difference"]}
    assert {name for name, _ in differences} == set(samples.ARCHITECTURES)
    assert max(differences.values()) < 1e-4, differences
    assert {line[1] for line in lines if line[:1] == ["cli"]} == {
        "features", "attention", "serving_default", "top_k", "uint8_images",
        "images"}
    assert [line[1:] for line in lines if line[:1] == ["warm-up"]] == [
        [signature, f"{{{size}}}"] for size in (1, 3)
        for signature in ("serving_default", "images")]
