"""Few-shot linear evaluation: how much a model's features tell (big_vision)."""

import numpy as np
import tensorflow as tf
import tf_keras

from tfvit.evaluators import base

_BIAS = 100.0  # A constant feature, so large that it is hardly regularized.


class FewShot:
    """Fits a ridge regression to a few examples of each class.

    Features are what stands before the model's head. Those of all training and
    test examples, float32 [N, D], are held in memory during a run.

    Args:
      name, model, strategy, jit: see classification.Classification.
      train_source: () -> source from which the few examples are drawn.
      test_source: () -> source on all of which the accuracy is measured.
      ops: preprocessing of both.
      batch_size: global batch.
      shots: examples of each class; fewer where a class has no more.
      l2_reg: weight of the squared norm against the sum of squared errors.
      seeds: of the draws; one result for each.
      skip_corrupt: count images that do not decode instead of stopping.
      service: addresses of decode workers, as of pipeline.train.

    Attributes:
      ops: the preprocessing.
      metric_names: what `run` returns.

    Raises:
      ValueError: the features are no vector, or the classes of the two sources
        differ.
    """

    def __init__(self, *, name, model, strategy, jit, train_source, test_source,
                 ops, batch_size, shots=(1, 5, 10, 25), l2_reg=2.0**10,
                 seeds=(0, 1, 2), skip_corrupt=False, service=None):
        self.ops = ops
        self._name = name
        self._shots = shots
        self._l2_reg = l2_reg
        self._seeds = seeds
        self.metric_names = (
            *(f"{n}shot{seed}" for n in shots for seed in
              (*(f"-seed-{s}" for s in seeds), "")),
            "examples", *base.corrupt_name(skip_corrupt))
        features = before_head(model)
        if len(features.output_shape) != 2:
            raise ValueError(f"Evaluator {name!r} needs features [B, D], but "
                             f"the model's are {features.output_shape}: pool "
                             "them.")
        sources = {"train": train_source(), "test": test_source()}
        names = {k: len(s.class_names) for k, s in sources.items()}
        if names["train"] != names["test"]:
            raise ValueError(f"Evaluator {name!r} got sources of different "
                             f"numbers of classes: {names}.")
        self._num_classes = names["train"]
        self._data = {
            key: base.share_out(strategy, source=source, ops=ops,
                                batch_size=batch_size,
                                skip_corrupt=skip_corrupt, service=service)
            for key, source in sources.items()
        }

        def replica_rows(batch):
            return {
                "features": tf.cast(features(batch["images"], training=False),
                                    tf.float32),
                "labels": batch["labels"], **base.masks(batch),
            }

        self._batch_rows = base.gathering(strategy, replica_rows, jit)
        for batches in self._data.values():
            self._batch_rows.get_concrete_function(batches.dataset.element_spec)

    def run(self, poll=lambda: None):
        """Scores every number of shots with every seed.

        Args:
          poll: called after each batch; may raise to end the evaluation.

        Returns:
          {"5shot-seed-0": accuracy in [0, 1], ..., "5shot": mean over the
          seeds, ..., "examples": count of the test examples, and "corrupt":
          count of both sources where skip_corrupt is set}
        """
        train, test = (self._rows(key, poll) for key in self._data)
        corrupt = [base.take_corrupt(rows) for rows in (train, test)]
        results = {}
        for shots in self._shots:
            for seed in self._seeds:
                chosen = draw(train["labels"], self._num_classes, shots, seed)
                predict = ridge(train["features"][chosen],
                                train["labels"][chosen], self._num_classes,
                                self._l2_reg)
                hits = predict(test["features"]).argmax(1) == test["labels"]
                results[f"{shots}shot-seed-{seed}"] = float(hits.mean())
            results[f"{shots}shot"] = float(np.mean(
                [results[f"{shots}shot-seed-{s}"] for s in self._seeds]))
        results["examples"] = len(test["labels"])
        if corrupt[0]:
            results["corrupt"] = sum(c["corrupt"] for c in corrupt)
        return results

    def _rows(self, key, poll):
        return base.rows(name=f"{self._name}, {key}", batches=self._data[key],
                         batch_rows=self._batch_rows, poll=poll)


def before_head(model):
    """The model without its head; a model that has none is returned itself."""
    if "head" not in (layer.name for layer in model.layers):
        return model
    return tf_keras.Model(model.inputs, model.get_layer("head").input)


def draw(labels, num_classes, shots, seed):
    """Numbers of `shots` random examples of each class, from labels [N]."""
    random = np.random.default_rng(seed)
    return np.concatenate([
        random.permutation(np.flatnonzero(labels == label))[:shots]
        for label in range(num_classes)
    ])


def ridge(features, labels, num_classes, l2_reg):
    """Fits features [N, D] to targets of 1 for the label and -1 elsewhere.

    Features are whitened one by one by their mean and standard deviation plus
    1e-5, and followed by the constant 100. All is float64.

    Returns:
      A function from features [M, D] to scores [M, C].
    """
    features = features.astype(np.float64)
    mean, spread = features.mean(0), features.std(0) + 1e-5

    def prepare(x):
        x = (x.astype(np.float64) - mean) / spread
        return np.pad(x, [(0, 0), (0, 1)], constant_values=_BIAS)

    x = prepare(features)
    y = 2.0 * np.eye(num_classes)[labels] - 1.0
    # Two forms of the same solution: the smaller matrix is inverted.
    n, d = x.shape
    if n >= d:
        weights = np.linalg.solve(x.T @ x + l2_reg * np.eye(d), x.T @ y)
    else:
        weights = x.T @ np.linalg.solve(x @ x.T + l2_reg * np.eye(n), y)
    return lambda x: prepare(x) @ weights
