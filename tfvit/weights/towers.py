"""Starts a LiT from towers that were trained apart (arXiv 2111.07991)."""

import os
import re

from absl import logging
import numpy as np
import tensorflow as tf

from tfvit.storage import files
from tfvit.weights import fetch
from tfvit.weights import load
from tfvit.weights import names

_CHECKPOINT = "bert_model.ckpt"  # In the folders of google-research/bert.
_FILES = (".index", ".data-00000-of-00001")
_LAYER = r"bert/encoder/layer_(\d+)/"
_LAYER_HERE = r"BertEncoder_0/encoder_block/layer_sequence/layers_\1/"
# google-research/bert's names, whole, and ours.
_RENAMED = [(re.compile(theirs), ours) for theirs, ours in [
    (r"bert/embeddings/word_embeddings",
     "BertEncoder_0/embedder/embedders_token_ids/embedding"),
    (r"bert/embeddings/position_embeddings",
     "BertEncoder_0/embedder/embedders_position_ids/embedding"),
    (r"bert/embeddings/token_type_embeddings",
     "BertEncoder_0/embedder/embedders_segment_ids/embedding"),
    (r"bert/embeddings/LayerNorm/(\w+)", r"BertEncoder_0/layer_norm/\1"),
    (_LAYER + r"attention/self/(query|key|value)/(\w+)",
     _LAYER_HERE + r"attention_block/attention_layer/\2/\3"),
    (_LAYER + r"attention/output/dense/(\w+)",
     _LAYER_HERE + r"attention_block/dense_layer/\2"),
    (_LAYER + r"attention/output/LayerNorm/(\w+)",
     _LAYER_HERE + r"attention_block/layer_norm/\2"),
    (_LAYER + r"intermediate/dense/(\w+)",
     _LAYER_HERE + r"mlp_block/mlp/dense_layer/\2"),
    (_LAYER + r"output/dense/(\w+)",
     _LAYER_HERE + r"mlp_block/dense_layer/\2"),
    (_LAYER + r"output/LayerNorm/(\w+)",
     _LAYER_HERE + r"mlp_block/layer_norm/\2"),
]]
_LEAVES = {"gamma": "scale", "beta": "bias"}
# The pre-training heads, and what the optimizer left.
_NOT_OURS = re.compile(
    r"bert/pooler/.*|cls/.*|global_step|.*/(adam_[mv]|(Adam|LAMB)\w*)")


def start(model, *, image=None, text=None):
    """Loads each tower from a file of its own; its head stays as initialised.

    Args:
      model: a lit.LiT.
      image: what load.from_npz takes, such as `augreg/B_16`, or None to leave
        the image tower as initialised.
      text: a checkpoint of google-research/bert, as from_bert takes it, or an
        `.npz` file as load.from_npz takes it (`lit/LiT-L16S.npz:txt`), or
        None.

    Raises:
      FileNotFoundError, OSError: as fetch.resolve.
      ValueError: a file is broken or does not fit its tower; or both are None.
    """
    if image is None and text is None:
        raise ValueError("towers.start needs an image or a text to load.")
    if image is not None:
        load.from_npz(model, path=image, tower="img")
    if text is not None:
        if re.search(r"\.npz(:\w+)?$", text):
            load.from_npz(model, path=text, tower="txt")
        else:
            from_bert(model, path=text, tower="txt")


def from_bert(model, *, path, tower=None):
    """Loads BERT as google-research/bert published it, without its heads.

    Position embeddings beyond those of the model are left out.

    Args:
      model: a model of bert.bert, or a LiT with it.
      path: folder or catalogue name, such as
        `lit/bert/uncased_L-12_H-768_A-12`, of bert_model.ckpt.index and its
        data; or the path of the checkpoint itself, without .index.
      tower: see load.from_npz.

    Raises:
      FileNotFoundError, OSError: as fetch.resolve.
      ValueError: it is broken or does not fit; says which arrays, as
        load.from_npz.
    """
    path = _find(path)
    positions = names.variables(model, tower).get(
        "BertEncoder_0/embedder/embedders_position_ids/embedding")
    with files.plain(path) as readable:
        load.from_arrays(
            model, _Checkpoint(path, readable), tower=tower,
            canonicalise=lambda shapes: _canonicalise(
                shapes, None if positions is None else positions.shape[0]))


def _find(path):
    """The local path of a checkpoint, without .index."""
    path = os.fspath(path).rstrip("/").removesuffix(".index")
    if not path.endswith(".ckpt") and not tf.io.gfile.exists(
            f"{path}.index"):
        path = f"{path}/{_CHECKPOINT}"
    # The index last: it is what is returned.
    local = [fetch.resolve(f"{path}{suffix}") for suffix in reversed(_FILES)]
    return local[-1].removesuffix(".index")


class _Checkpoint:
    """A TensorFlow checkpoint with the attributes of npz.Npz.

    Attributes:
      path: without .index.
      shapes: {name: shape} of all arrays of numbers.
    """

    def __init__(self, path, readable):
        """`readable` is what files.plain makes of the path."""
        self.path = path
        try:
            self._reader = tf.train.load_checkpoint(readable)
        except (tf.errors.OpError, ValueError) as error:
            raise ValueError(f"{path} is no intact TensorFlow checkpoint: "
                             f"{error}") from error
        self.shapes = {name: tuple(shape) for name, shape in
                       self._reader.get_variable_to_shape_map().items()}

    def __getitem__(self, name):
        try:
            return np.asarray(self._reader.get_tensor(name))
        except (tf.errors.OpError, ValueError) as error:
            raise ValueError(f"{self.path} is broken: {name}: "
                             f"{error}") from error

    def read_into(self, name, out):
        """Reads an array into `out` [its size]."""
        out[:] = self[name].ravel()


def _canonicalise(shapes, positions):
    """{name in bert.bert: names.Entry}; checks what it leaves out."""
    entries, left_out = {}, []
    for name, shape in shapes.items():
        if _NOT_OURS.fullmatch(name):
            left_out.append(name)
            continue
        entry = names.Entry((name,), shape, names.as_is)
        if name.endswith("/position_embeddings") and positions:
            if positions < shape[0]:
                entry = entry.then((positions, *shape[1:]),
                                   lambda table: table[:positions])
        entries[_here(name)] = entry
    if left_out:
        logging.info("Left out of the checkpoint: %s.",
                     ", ".join(sorted(left_out)))
    return entries


def _here(name):
    for theirs, ours in _RENAMED:
        if match := theirs.fullmatch(name):
            scope, leaf = match.expand(ours).rsplit("/", 1)
            return f"{scope}/{_LEAVES.get(leaf, leaf)}"
    return name  # Unknown, so the model has none of this name and says so.
