"""Top-1 and top-5 accuracy and loss over every example of a split."""

import numpy as np
import tensorflow as tf

from tfvit.data.datasets import source as source_lib
from tfvit.data.images import decoding
from tfvit.evaluators import base
from tfvit.evaluators import calibration
from tfvit.evaluators import per_class as per_class_lib
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
      per_class: what to report of each class: a list of "precision", "recall"
        and "f1", [] for none of it. With it come "balanced_accuracy" (the mean
        recall), "macro_f1", "worst_class_recall" and "ece" (the calibration
        error, in 15 bins). None for nothing of all this.
      service: addresses of decode workers, as of pipeline.train.

    An example with several labels counts as right where the model's choice is
    one of them; one without any label is left out.

    Attributes:
      ops: the preprocessing, which an export repeats.
      metric_names: what `run` returns.
      source: of the examples.
      class_names: of the classes among which the model chooses.

    Raises:
      ValueError: the model has another number of classes than the source, or
        per_class is no such list.
    """

    def __init__(self, *, name, model, strategy, jit, source, ops, batch_size,
                 loss, skip_corrupt=False, classes=None, per_class=None,
                 service=None):
        self.ops = ops
        self._name = name
        self._per_class = per_class
        link = losses.link(loss)
        loss = losses.plain(loss)
        self.source = source = source()
        source_lib.check_classes(model, source, name)
        self._batches = base.share_out(
            strategy, source=source, ops=ops, batch_size=batch_size,
            skip_corrupt=skip_corrupt, annotate=_numbered, service=service)
        decoding.check_images(model, self._batches.dataset.element_spec,
                              f"evaluator {name!r}")

        def judged(batch):
            logits = tf.cast(model(batch["images"], training=False), tf.float32)
            return _judged(logits, batch, loss, classes, link)

        def replica_sums(batch):
            return _sums(judged(batch), batch)

        def replica_rows(batch):
            return {**judged(batch), "number": batch["number"],
                    **base.masks(batch)}

        self.class_names = source.class_names if classes is None else [
            source.class_names[i] for i in classes]
        self.metric_names = (
            "accuracy", *["top5_accuracy"] * (len(self.class_names) > 5),
            "loss", "examples", *base.corrupt_name(skip_corrupt))
        spec = self._batches.dataset.element_spec
        self._batch_sums = base.summing(strategy, replica_sums, jit)
        self._batch_rows = base.gathering(strategy, replica_rows, jit)
        # Traced now: what cannot work should be known before training.
        if per_class is None:
            self._batch_sums.get_concrete_function(spec)
        else:
            self.metric_names += (
                *per_class_lib.SUMMARIES,
                *per_class_lib.metric_names(self.class_names, per_class))
            self._batch_rows.get_concrete_function(spec)

    def run(self, poll=lambda: None):
        """Scores the whole split.

        Args:
          poll: called after each batch; may raise to end the evaluation.

        Returns:
          {"accuracy": share in [0, 1], "top5_accuracy": (only with more than
          five classes), "loss": mean, "examples": count, and "corrupt": count
          where skip_corrupt is set}. Where per_class is set, its metrics, too;
          as in scikit-learn, what has nothing to divide by is 0.
        """
        if self._per_class is not None:
            return self.measure(self.rows(poll))
        sums = base.sums(name=self._name, batches=self._batches,
                         batch_sums=self._batch_sums, poll=poll)
        seen = sums.pop("examples")
        corrupt = base.take_corrupt(sums)
        if not seen:
            raise self._nothing()
        return {
            **{k: v / seen for k, v in sums.items()}, "examples": int(seen),
            **corrupt
        }

    def rows(self, poll=lambda: None):
        """Scores the split example by example, in the order of the source.

        Args:
          poll: see run.

        Returns:
          {"number": of the example in the source, "label", "predicted": numbers
          in class_names, "score": probability of what is predicted,
          "label_score": of the label, "accuracy", "top5_accuracy": 0 or 1 (see
          run), "loss"}, each [N], and "corrupt": count where skip_corrupt is
          set. Of several labels the one that is predicted counts as the
          label, else the first of the most probable. Examples without a label
          are left out.
        """
        rows = base.rows(name=self._name, batches=self._batches,
                         batch_rows=self._batch_rows, poll=poll)
        corrupt = base.take_corrupt(rows)
        order = np.argsort(rows["number"], kind="stable")
        labelled = order[rows.pop("labelled")[order] > 0]
        if not labelled.size:
            raise self._nothing()
        return {**{k: column[labelled] for k, column in rows.items()},
                **corrupt}

    def measure(self, rows):
        """What `run` returns, of what `rows` did."""
        values = {name: float(np.mean(rows[name], dtype=np.float64))
                  for name in ("accuracy", "loss", "top5_accuracy")
                  if name in rows}
        values["examples"] = len(rows["number"])
        values |= {k: rows[k] for k in ("corrupt",) if k in rows}
        if self._per_class is None:
            return values
        found = per_class_lib.figures(rows["label"], rows["predicted"],
                                      len(self.class_names))
        values |= per_class_lib.summary(found)
        values["ece"] = calibration.bins(rows["score"], rows["accuracy"]).ece()
        each = np.nan_to_num([found[k] for k in self._per_class]).ravel()
        return {**values, **dict(zip(
            per_class_lib.metric_names(self.class_names, self._per_class),
            each.tolist()))}

    def _nothing(self):
        return ValueError(f"Evaluator {self._name!r} saw no valid example.")


def _numbered(record, seed):
    """The annotation of an example: its label and its number."""
    return {**decoding.labels(record, seed), "number": record["number"]}


def _judged(logits, batch, loss, classes=None, link="softmax"):
    """What becomes of each example of a batch, see Classification.rows."""
    labels = losses.dense_labels(batch["labels"], logits.shape[-1])  # [b, C]
    if classes is not None:
        logits = tf.gather(logits, classes, axis=1)
        labels = tf.gather(labels, classes, axis=1)
    num_classes = logits.shape[-1]
    top = tf.math.top_k(logits, k=min(5, num_classes)).indices  # [b, 5]
    hits = tf.cast(tf.gather(labels, top, batch_dims=1) > 0, tf.float32)
    predicted = tf.cast(top[:, 0], tf.int64)
    label = tf.where(hits[:, 0] > 0, predicted, tf.argmax(labels, axis=1))
    scores = {"softmax": tf.nn.softmax, "sigmoid": tf.sigmoid}[link](logits)
    judged = {
        "label": label,
        "predicted": predicted,
        "score": tf.gather(scores, predicted, batch_dims=1),
        "label_score": tf.gather(scores, label, batch_dims=1),
        "labelled": tf.cast(tf.reduce_any(labels > 0, axis=1), tf.float32),
        "accuracy": hits[:, 0],
        "loss": loss(logits, labels),
    }
    if num_classes > 5:
        judged["top5_accuracy"] = tf.reduce_max(hits, axis=1)
    return judged


def _sums(judged, batch):
    """Sums over one batch of hits, loss and examples, padding masked."""
    mask = batch["mask"] * judged["labelled"]
    sums = {
        name: tf.reduce_sum(judged[name] * mask)
        for name in ("accuracy", "loss", "top5_accuracy") if name in judged
    }
    sums["examples"] = tf.reduce_sum(mask)
    if "corrupt" in batch:
        sums["corrupt"] = tf.reduce_sum(batch["corrupt"])
    return sums
