"""Writes OUT/VERSION/, a SavedModel as TensorFlow Serving wants it."""

import hashlib
from importlib import metadata
import json
import os
import uuid

from absl import logging
import tensorflow as tf

from tfvit.data import class_names as class_names_lib
from tfvit.serving import warmup
from tfvit.storage import errors
from tfvit.storage import quiet


def versions(out):
    """Sorted numbers of the versions in a folder of exports."""
    if not tf.io.gfile.isdir(out):
        return []
    names = (name.rstrip("/") for name in tf.io.gfile.listdir(out))
    return sorted(int(name) for name in names if name.isdigit())


def next_version(out, step):
    """`step`, or else the first number above what is there; at least 1.

    A server takes the highest number: a new export is never an older one.
    """
    return max(step, 1, *(version + 1 for version in versions(out)[-1:]))


def write(server, *, out, step, class_names, config, record, model_name,
          warmup_batches):
    """Writes a new version: all of it or, if that fails, nothing.

    Args:
      server: a signatures.Server or lit_signatures.Server.
      out: folder of the versions; may be gs://.
      step: of the checkpoint, the wanted version.
      class_names: of the classes, for assets/labels.txt; () for none.
      config: gin config of the run, for assets/config.gin.
      record: what else is to be known, for assets/export.json.
      model_name: under which the server will have the model.
      warmup_batches: batch sizes to warm up.

    Returns:
      The version's folder.
    """
    def fill(folder):
        signatures = server.signatures()
        server.make_callable()
        with quiet.quietly():  # Of every variable of every signature.
            tf.saved_model.save(server, folder, signatures=signatures)
        made = {**record, **facts(server)}
        _write_assets(folder, signatures, class_names, config, made,
                      model_name)
        _write_warmup(folder, server, model_name, warmup_batches)

    return new_version(out, step, fill)


def new_version(out, step, fill):
    """Makes OUT/VERSION/ of what fill(folder) writes; returns its path."""
    # No number, so that a server that watches the folder does not load it.
    folder = os.path.join(out, f".unfinished-{uuid.uuid4().hex}")
    try:
        with errors.writing(out):
            tf.io.gfile.makedirs(folder)
            fill(folder)
            return _publish(folder, out, step)
    finally:
        if tf.io.gfile.exists(folder):
            tf.io.gfile.rmtree(folder)


def write_files(parts, *, server, kind, out, step, class_names, config, record):
    """Writes OUT/KIND/VERSION/ with model.tflite, or image.onnx and text.onnx.

    Where a server would not look for versions of a SavedModel. Beside text.* is
    the vocabulary of its tokens.

    Args:
      parts: {"model", or "image" and "text": bytes of the file}.
      server: what it was made of.
      kind: one of formats.FILES.
      out, step, class_names, config, record: see write.

    Returns:
      The version's folder.
    """
    files = {
        "config.gin": config,
        "export.json": json.dumps({**record, **facts(server)}, indent=2),
    }
    for name, data in parts.items():
        files[f"{name}.{kind.split('_')[0]}"] = data
    if "text" in parts:
        files[vocabulary_name(server.tokenizer)] = server.tokenizer.vocabulary
    else:
        files["labels.txt"] = "".join(f"{name}\n" for name in class_names)
    return write_folder(files, out=out, kind=kind, step=step)


def write_folder(files, *, out, kind, step):
    """Writes {name: bytes or text} as OUT/KIND/VERSION/; returns the folder."""
    return new_version(os.path.join(out, kind), step,
                       lambda folder: write_all(folder, files))


def write_all(folder, files):
    """Writes {name: bytes or text} into a folder that is there."""
    for name, content in files.items():
        mode = "wb" if isinstance(content, bytes) else "w"
        with tf.io.gfile.GFile(os.path.join(folder, name), mode) as f:
            f.write(content)


def vocabulary_name(tokenizer):
    """What the file of a tokenizer's vocabulary is called."""
    return {"wordpiece": "vocab.txt", "clip_bpe": "clip_bpe.json"}.get(
        tokenizer.kind, "sentencepiece.model")


def facts(server):
    """What an export notes of what it was made with, for JSON."""
    return {
        "tfvit": _version(),
        "tensorflow": tf.__version__,
        "image_shape": list(server.image_shape),
        "num_classes": getattr(server, "num_classes", None),
        "call": server.gives,
        "weights_sha256": fingerprint(server.variables),
    }


def fingerprint(variables):
    """SHA-256 of weights, which tells whether two exports have the same.

    It is that of each variable's name, dtype, shape and bytes, by the order of
    the names; the first three as text with a space between and a line feed
    behind.
    """
    digest = hashlib.sha256()
    for variable in sorted(variables, key=lambda v: v.name):
        value = variable.numpy()
        head = f"{variable.name} {value.dtype.name} {list(value.shape)}\n"
        digest.update(head.encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _version():
    try:
        return metadata.version("tfvit")
    except metadata.PackageNotFoundError:  # A checkout, not installed.
        return None


def _publish(folder, out, step):
    """Moves the finished folder to a version that nobody else has taken."""
    while True:
        target = os.path.join(out, str(next_version(out, step)))
        try:
            tf.io.gfile.rename(folder, target)
            return target
        except (tf.errors.AlreadyExistsError,
                tf.errors.FailedPreconditionError):
            if not tf.io.gfile.exists(target):
                raise
            logging.info("%s was just taken.", target)


def _write_assets(folder, signatures, class_names, config, record, model_name):
    assets = os.path.join(folder, "assets")
    tf.io.gfile.makedirs(assets)
    if class_names:
        class_names_lib.write(class_names, os.path.join(assets, "labels.txt"))
    signatures = {
        name: {
            "inputs": _specs({
                spec.name: spec
                for spec in function.structured_input_signature[0]
            }),
            "outputs": _specs(function.structured_outputs),
        } for name, function in signatures.items()
    }
    for name, text in {
            "config.gin": config,
            "export.json": json.dumps({**record, "signatures": signatures},
                                      indent=2),
            "README.md": readme(record, signatures, model_name),
    }.items():
        with tf.io.gfile.GFile(os.path.join(assets, name), "w") as f:
            f.write(text)


def _specs(tensors):
    return {
        name: f"{tensor.dtype.name} [" + ", ".join(
            "B" if i == 0 and size is None else "?" if size is None else
            str(size) for i, size in enumerate(tensor.shape)) + "]"
        for name, tensor in sorted(tensors.items())
    }


def readme(record, signatures, model_name):
    """Text of assets/README.md."""
    probabilities = f"{record['link']} of the logits; names: labels.txt."
    if "embed_texts" in signatures:
        probabilities = (
            f"{record['link']} of temperature x similarity, plus the bias if "
            "there is one. Tokens are made in the graph: Python must `import "
            "tensorflow_text` before it loads this.")
    lines = [
        f"# {model_name}", "", f"Exported by tfvit: {record['model']}, step "
        f"{record['step']}, {record['precision']}.", "",
        "Preprocessing, which is part of the graph: " +
        ", ".join(record["preprocessing"]) + " (settings: config.gin).",
        f"Probabilities: {probabilities}",
        "A file that cannot be read has its reason in `error`, else \"\"; its "
        "other outputs are 0, -1 or \"\".",
        f"In Python, it is a function of images [B, H, W, 3] in [0, 1] that "
        f"gives {record['call']}; with training=True as in training.", "",
        "## Signatures"
    ]
    for name, signature in signatures.items():
        lines += ["", f"### {name}"]
        lines += [f"- in `{k}`: {v}" for k, v in signature["inputs"].items()]
        lines += [f"- out `{k}`: {v}" for k, v in signature["outputs"].items()]
    return "\n".join(lines + [""])


def _write_warmup(folder, server, model_name, batches):
    if not batches:
        return
    path = os.path.join(folder, warmup.PATH)
    tf.io.gfile.makedirs(os.path.dirname(path))
    warmup.write(path, [request for size in batches
                        for request in server.warmup_requests(size)],
                 model_name=model_name)
