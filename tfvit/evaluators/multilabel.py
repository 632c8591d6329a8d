"""Mean average precision, for examples that may have several labels."""

import numpy as np
import tensorflow as tf

from tfvit.data.datasets import source as source_lib
from tfvit.data.images import decoding
from tfvit.evaluators import base
from tfvit.optimize import losses


class MultiLabel:
    """Owns one split of a dataset and ranks its examples for each class.

    The scores and labels of all examples, [N, C], are held in memory.

    Args:
      name, model, strategy, jit, source, ops, batch_size, loss, skip_corrupt,
        service: see classification.Classification.

    Attributes:
      ops: the preprocessing, which an export repeats.
      metric_names: what `run` returns.

    Raises:
      ValueError: the model has another number of classes than the source.
    """

    def __init__(self, *, name, model, strategy, jit, source, ops, batch_size,
                 loss, skip_corrupt=False, service=None):
        self.ops = ops
        self.metric_names = ("mean_average_precision", "loss", "examples",
                             *base.corrupt_name(skip_corrupt))
        self._name = name
        loss = losses.plain(loss)
        source = source()
        source_lib.check_classes(model, source, name)
        self._batches = base.share_out(
            strategy, source=source, ops=ops, batch_size=batch_size,
            skip_corrupt=skip_corrupt, service=service)
        decoding.check_images(model, self._batches.dataset.element_spec,
                              f"evaluator {name!r}")

        def replica_rows(batch):
            logits = tf.cast(model(batch["images"], training=False), tf.float32)
            labels = losses.dense_labels(batch["labels"], logits.shape[-1])
            return {"scores": logits, "labels": labels,
                    "loss": loss(logits, labels), **base.masks(batch)}

        self._batch_rows = base.gathering(strategy, replica_rows, jit)
        self._batch_rows.get_concrete_function(self._batches.dataset.element_spec)

    def run(self, poll=lambda: None):
        """Scores the whole split.

        Args:
          poll: called after each batch; may raise to end the evaluation.

        Returns:
          {"mean_average_precision": in [0, 1], over the classes that some
          example has, "loss": mean, "examples": count, and "corrupt": count
          where skip_corrupt is set}
        """
        rows = base.rows(name=self._name, batches=self._batches,
                         batch_rows=self._batch_rows, poll=poll)
        corrupt = base.take_corrupt(rows)
        has = rows["labels"] > 0
        precisions = [
            average_precision(scores, positive)
            for scores, positive in zip(rows["scores"].T, has.T)
            if positive.any()
        ]
        if not precisions:
            raise ValueError(f"Evaluator {self._name!r} saw no label.")
        return {
            "mean_average_precision": float(np.mean(precisions)),
            "loss": float(np.mean(rows["loss"], dtype=np.float64)),
            "examples": len(has),
            **corrupt,
        }


def average_precision(scores, positive):
    """The sum of precision times gain in recall over all thresholds.

    No interpolation; examples of equal score pass a threshold together.

    Args:
      scores: float [N].
      positive: bool [N], at least one of them True.
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    last = np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)
    precision = hits[last] / (last + 1)
    return float(np.sum(np.diff(hits[last], prepend=0) * precision) / hits[-1])
