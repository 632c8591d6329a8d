"""Top-1 and top-5 accuracy and loss over every example of a split."""

import tensorflow as tf

from tfvit.data.datasets import source as source_lib
from tfvit.data.images import decoding
from tfvit.evaluators import base
from tfvit.optimize import losses


class Classification:
    """Owns one split of a dataset and scores a model on it.

    Args:
      name: of the evaluator, for progress lines.
      model: tf_keras.Model, images [B, H, W, c] -> logits [B, C].
      strategy: the tf.distribute.Strategy.
      jit: see experiment.Experiment.
      source: () -> source of labelled images.
      ops: preprocessing, from encoded bytes to [H, W, c] in [-1, 1].
      batch_size: global evaluation batch.
      loss: one of optimize.losses; reported without its label smoothing and
        class weights, which are for training (losses.plain).
      skip_corrupt: count images that do not decode instead of stopping.
      classes: numbers of the classes among which the model chooses, such as
        the 200 of ImageNet-A; None for all.

    An example with several labels counts as right where the model's choice is
    one of them; one without any label is left out.

    Attributes:
      ops: the preprocessing, which an export repeats.
      metric_names: what `run` returns.

    Raises:
      ValueError: the model has another number of classes than the source.
    """

    def __init__(self, *, name, model, strategy, jit, source, ops, batch_size,
                 loss, skip_corrupt=False, classes=None):
        self.ops = ops
        self._name = name
        loss = losses.plain(loss)
        source = source()
        source_lib.check_classes(model, source, name)
        self._batches = base.share_out(
            strategy, source=source, ops=ops, batch_size=batch_size,
            skip_corrupt=skip_corrupt)
        decoding.check_images(model, self._batches.dataset.element_spec,
                              f"evaluator {name!r}")

        def replica_sums(batch):
            logits = tf.cast(model(batch["images"], training=False), tf.float32)
            return _sums(logits, batch, loss, classes)

        num_classes = (model.output_shape[-1] if classes is None else
                       len(classes))
        self.metric_names = (
            "accuracy", *["top5_accuracy"] * (num_classes > 5), "loss",
            "examples", *base.corrupt_name(skip_corrupt))
        self._batch_sums = base.summing(strategy, replica_sums, jit)
        # Traced now: what cannot work should be known before training.
        self._batch_sums.get_concrete_function(self._batches.dataset.element_spec)

    def run(self, poll=lambda: None):
        """Scores the whole split.

        Args:
          poll: called after each batch; may raise to end the evaluation.

        Returns:
          {"accuracy": share in [0, 1], "top5_accuracy": (only with more than
          five classes), "loss": mean, "examples": count, and "corrupt": count
          where skip_corrupt is set}
        """
        sums = base.sums(name=self._name, batches=self._batches,
                         batch_sums=self._batch_sums, poll=poll)
        seen = sums.pop("examples")
        corrupt = base.take_corrupt(sums)
        if not seen:
            raise ValueError(f"Evaluator {self._name!r} saw no valid example.")
        return {
            **{k: v / seen for k, v in sums.items()}, "examples": int(seen),
            **corrupt
        }


def _sums(logits, batch, loss, classes=None):
    """Sums over one batch of hits, loss and examples, padding masked."""
    labels = losses.dense_labels(batch["labels"], logits.shape[-1])  # [b, C]
    if classes is not None:
        logits = tf.gather(logits, classes, axis=1)
        labels = tf.gather(labels, classes, axis=1)
    num_classes = logits.shape[-1]
    mask = batch["mask"] * tf.cast(tf.reduce_any(labels > 0, axis=1),
                                   tf.float32)
    top = tf.math.top_k(logits, k=min(5, num_classes)).indices  # [b, 5]
    hits = tf.gather(labels, top, batch_dims=1) > 0
    total = lambda values: tf.reduce_sum(tf.cast(values, tf.float32) * mask)
    sums = {
        "accuracy": total(hits[:, 0]),
        "loss": total(loss(logits, labels)),
        "examples": tf.reduce_sum(mask),
    }
    if num_classes > 5:
        sums["top5_accuracy"] = total(tf.reduce_any(hits, axis=1))
    if "corrupt" in batch:
        sums["corrupt"] = tf.reduce_sum(batch["corrupt"])
    return sums
