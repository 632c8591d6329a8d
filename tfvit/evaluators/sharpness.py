"""How sharp a minimum is: the Hessian's top eigenvalue and the loss nearby."""

import numpy as np
import tensorflow as tf

from tfvit.data.datasets import source as source_lib
from tfvit.evaluators import base
from tfvit.optimize import gradients as gradients_lib
from tfvit.optimize import losses as losses_lib

ZERO = tf.UnconnectedGradients.ZERO


class Sharpness:
    """Measures the mean loss around the weights, without dropout.

    The weights move while the loss nearby is measured, and have their old bits
    afterwards. The examples and four vectors of the model's size stay in memory
    during a run.

    Args:
      name, model, strategy, jit, source, ops, batch_size: see
        classification.Classification.
      loss: one of optimize.losses, with its label smoothing and class weights:
        the surface that is measured is the one on which training descends.
      num_batches: how many batches, from the start of the source, are used;
        None for all.
      radii: distances from the weights, along the gradient, at which the loss
        is reported: SAM's rho, for example. Negative ones descend.
      iterations: products with the Hessian at most, each about twice the cost
        of a gradient.
      tolerance: relative change of the top eigenvalue at which they end.
      skip_corrupt: see classification.Classification.

    Attributes:
      ops: the preprocessing.
      metric_names: what `run` returns.
    """

    def __init__(self, *, name, model, strategy, jit, source, ops, batch_size,
                 loss, num_batches, radii=(0.05,), iterations=50,
                 tolerance=1e-4, skip_corrupt=False):
        self.ops = ops
        self._name = name
        self._variables = model.trainable_variables
        self._radii = radii
        self._iterations = iterations
        self._tolerance = tolerance
        self.metric_names = ("top_eigenvalue", "loss", *map(_at, radii),
                             "examples", *base.corrupt_name(skip_corrupt))
        source = source()
        source_lib.check_classes(model, source, name)
        batches = base.share_out(strategy, source=source, ops=ops,
                                 batch_size=batch_size,
                                 skip_corrupt=skip_corrupt)
        self._data = batches
        self._num_batches = min(num_batches or batches.count, batches.count)

        def losses(batch):
            logits = tf.cast(model(batch["images"], training=False), tf.float32)
            labels = losses_lib.dense_labels(
                batch["labels"], logits.shape[-1])
            return {
                "loss": tf.reduce_sum(loss(logits, labels) * batch["mask"]),
                **{name: tf.reduce_sum(batch[field]) for name, field in (
                    ("examples", "mask"), ("corrupt", "corrupt"))
                   if field in batch},
            }

        def gradient(batch):
            with tf.GradientTape() as tape:
                total = losses(batch)["loss"]
            return tape.gradient(total, self._variables,
                                 unconnected_gradients=ZERO)

        def product(batch, vector):
            with tf.GradientTape() as tape:
                slope = _dot(gradient(batch), vector)
            return tape.gradient(slope, self._variables,
                                 unconnected_gradients=ZERO)

        self._losses, self._gradient, self._product = (
            base.summing(strategy, f, jit) for f in (losses, gradient, product))

    def run(self, poll=lambda: None):
        """Measures everything.

        Args:
          poll: called after each batch; may raise to end the evaluation.

        Returns:
          {"top_eigenvalue": of the Hessian of the mean loss, "loss": mean at
          the weights, "loss_at_RADIUS": mean at that distance along the
          gradient, "examples": count, and "corrupt": count where skip_corrupt
          is set}
        """
        losses, counts = self._along((0.0, *self._radii), poll)
        return {
            "top_eigenvalue": self.top_eigenvalue(poll),
            "loss": losses[0],
            **{
                _at(radius): value
                for radius, value in zip(self._radii, losses[1:])
            },
            **counts,
        }

    def along(self, radii, poll=lambda: None):
        """([mean loss at each distance along the gradient], example count)."""
        values, counts = self._along(radii, poll)
        return values, counts["examples"]

    def _along(self, radii, poll):
        batches = self._batches()
        gradient = _unit(self._sum(self._gradient, batches, poll))
        values = []
        for radius in radii:
            offsets = [radius * g for g in gradient]
            with gradients_lib.perturbed(self._variables, offsets):
                sums = self._sum(self._losses, batches, poll)
            if not sums["examples"]:
                raise ValueError(
                    f"Evaluator {self._name!r} saw no valid example.")
            values.append(float(sums.pop("loss")) / float(sums["examples"]))
        return values, {name: int(count) for name, count in sums.items()}

    def top_eigenvalue(self, poll=lambda: None):
        """The largest (not: largest in magnitude) eigenvalue of the Hessian."""
        batches = self._batches()
        examples = self._sum(self._losses, batches, poll)["examples"]
        start = [
            tf.random.stateless_normal(v.shape, [0, i], alg="philox")
            for i, v in enumerate(self._variables)
        ]
        return _top_eigenvalue(
            lambda vector: [
                h / examples
                for h in self._sum(self._product, batches, poll, vector)
            ], start, self._iterations, self._tolerance)

    def _batches(self):
        with base.blaming(self._data):
            iterator = iter(self._data.dataset)
            return [next(iterator) for _ in range(self._num_batches)]

    def _sum(self, function, batches, poll, *args):
        total = None
        for batch in batches:
            values = function(batch, *args)
            total = values if total is None else tf.nest.map_structure(
                tf.add, total, values)
            poll()
        return total


def _at(radius):
    return f"loss_at_{radius:g}"


def _top_eigenvalue(product, start, iterations, tolerance):
    """The largest eigenvalue of vector -> product, by Lanczos' method.

    It takes fewer products than power iteration, and a large negative
    eigenvalue does no harm. As vectors are orthogonalised to the last two only,
    rounding makes it find eigenvalues again, which does no harm either.
    """
    vector = _unit(start)
    previous, norm, value = [tf.zeros_like(v) for v in vector], 0.0, np.inf
    diagonal, beside = [], []
    for _ in range(iterations):
        image = product(vector)
        share = _dot(vector, image)
        image = [h - share * v - norm * p
                 for h, v, p in zip(image, vector, previous)]
        diagonal.append(float(share))
        projected = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
        before, value = value, float(np.linalg.eigvalsh(projected)[-1])
        if abs(value - before) <= tolerance * abs(value):
            break
        norm = tf.linalg.global_norm(image)
        beside.append(float(norm))
        previous, vector = vector, _unit(image)
    return value


def _dot(a, b):
    return tf.add_n([tf.reduce_sum(x * y) for x, y in zip(a, b)])


def _unit(vector):
    norm = tf.linalg.global_norm(vector)
    return [tf.math.divide_no_nan(v, norm) for v in vector]
