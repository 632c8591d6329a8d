"""Retrieval: how often the right text, or image, is among the nearest."""

import numpy as np
import tensorflow as tf

from tfvit.data.datasets import captions
from tfvit.evaluators import base

_BLOCK = 1024  # Queries at a time, which bounds the memory for similarities.


class Retrieval:
    """Searches all captions of a split by image, and all images by caption.

    The embeddings of all of them are held in memory during a run. All captions
    are read once at the start, to find the image with the most.

    Args:
      name, strategy, jit, ops, batch_size, skip_corrupt, service: see
        classification.Classification. The captions of what is skipped are
        left out, too.
      model: as models.lit.lit makes it.
      source: () -> source of images with captions.
      tokenizer: one of data.tokenizers.
      ks: how many of the nearest count.

    Attributes:
      ops: the preprocessing.
      tokenizer: that of the texts.
      metric_names: what `run` returns.

    Raises:
      ValueError: the source has labels instead of captions.
    """

    def __init__(self, *, name, model, strategy, jit, source, ops, batch_size,
                 tokenizer, ks=(1, 5, 10), skip_corrupt=False, service=None):
        self.ops = ops
        self.tokenizer = tokenizer
        self._name = name
        self._ks = ks
        self.metric_names = (
            *(f"{direction}_recall@{k}"
              for direction in ("img2txt", "txt2img") for k in ks),
            "examples", "captions", *base.corrupt_name(skip_corrupt))
        source = source()
        if source.class_names:
            raise ValueError(f"Evaluator {name!r} needs a source of captions, "
                             f"not of {len(source.class_names)} classes.")
        most = captions.most(source)
        self._batches = base.share_out(
            strategy, source=source, ops=ops, batch_size=batch_size,
            skip_corrupt=skip_corrupt, annotate=captions.every(tokenizer, most),
            service=service)

        def replica_rows(batch):
            tokens = batch["tokens"]  # [b, most, L]
            texts = model.embed_texts(
                tf.reshape(tokens, [-1, tokens.shape[2]]), training=False)
            return {
                "images": model.embed_images(batch["images"], training=False),
                "texts": tf.reshape(texts, [-1, most, texts.shape[1]]),
                "captions": batch["captions"], **base.masks(batch),
            }

        self._batch_rows = base.gathering(strategy, replica_rows, jit)
        self._batch_rows.get_concrete_function(self._batches.dataset.element_spec)

    def run(self, poll=lambda: None):
        """Searches in both directions.

        Args:
          poll: called after each batch; may raise to end the evaluation.

        Returns:
          {"img2txt_recall@1": share in [0, 1] of the images of which a caption
          is the nearest of all, "txt2img_recall@1": share of the captions to
          which their image is the nearest of all, ..., "examples": images,
          "captions": count, and "corrupt": count where skip_corrupt is set}
        """
        rows = base.rows(name=self._name, batches=self._batches,
                         batch_rows=self._batch_rows, poll=poll)
        corrupt = base.take_corrupt(rows)
        images, counts = rows["images"], rows["captions"]
        if not len(images):
            raise ValueError(f"Evaluator {self._name!r} saw no valid example.")
        there = np.arange(rows["texts"].shape[1]) < counts[:, np.newaxis]
        texts = rows["texts"][there]  # [captions, D]
        image_ids = np.arange(len(images))
        text_ids = np.repeat(image_ids, counts)
        ranks = {
            "img2txt": best_ranks(images, texts, image_ids, text_ids),
            "txt2img": best_ranks(texts, images, text_ids, image_ids),
        }
        return {
            **{f"{direction}_recall@{k}": float(np.mean(found < k))
               for direction, found in ranks.items() for k in self._ks},
            "examples": len(images),
            "captions": len(texts),
            **corrupt,
        }


def best_ranks(queries, keys, query_ids, key_ids):
    """How many wrong keys are at least as near as the nearest right one.

    Ties count against the model: one that embeds everything alike finds
    nothing.

    Args:
      queries, keys: embeddings [Q, D] and [K, D].
      query_ids, key_ids: [Q] and [K]; a key is right where they are equal.

    Returns:
      int [Q]
    """
    ranks = []
    for begin in range(0, len(queries), _BLOCK):
        block = slice(begin, begin + _BLOCK)
        near = queries[block] @ keys.T
        right = query_ids[block, np.newaxis] == key_ids
        best = np.max(near, axis=1, where=right, initial=-np.inf)
        ranks.append(np.sum((near >= best[:, np.newaxis]) & ~right, axis=1))
    return np.concatenate(ranks)
