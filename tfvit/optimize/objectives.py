"""What training minimizes: from a batch to a loss and its gradients.

An objective is made of a model, a loss and what mixes batches, and has
  check(source)    raises ValueError where the training data do not fit
  weigh(batch)     takes the examples' weights out of a replica's batch:
                   (batch, None) or (batch, {"mean": the replica's share in the
                   mean over replicas, "skipped": its examples of weight 0})
  compile(...)     makes (batch, seeds, loss scale or None) -> (loss [],
                   gradients), whose mean over replicas is that of the global
                   batch; seeds are two int32 [2], of dropout and of mixing
  metrics()        other numbers to log, {name: float32 []}
"""

import functools

import tensorflow as tf

from tfvit.data.datasets import source as source_lib
from tfvit.optimize import gradients
from tfvit.optimize import losses

_TOWERS = {"images": "img/", "texts": "txt/"}  # Their parameters' prefixes.


class Supervised:
    """Labels for images: the mean loss over the examples.

    Batches are images [b, H, W, c], labels and, optionally, weights [b].

    Args:
      model: tf_keras.Model, images [B, H, W, c] -> logits [B, C].
      loss: one of optimize.losses: (logits [B, C], labels [B, C]) -> [B].
      mix: one of images.mixup, applied to each replica's batch, or None.
    """

    def __init__(self, *, model, loss, mix=None):
        self._model = model
        self._loss = loss
        self._mix = mix

    def check(self, source):
        if not source.class_names:
            raise ValueError(
                "Experiment.train_source has captions instead of classes: set "
                "Experiment.objective = @objectives.Contrastive.")
        source_lib.check_classes(self._model, source, "training")

    def weigh(self, batch):
        # A batch with "scale" = weights * b / sum(weights), whose plain mean
        # over micro-batches is a weighted mean.
        if "weights" not in batch:
            return batch, None
        batch = dict(batch)
        weights = batch.pop("weights")
        mean = tf.reduce_mean(weights)
        batch["scale"] = tf.math.divide_no_nan(weights, mean)
        return batch, {"mean": mean, "skipped": _zeros(weights)}

    def compile(self, params, *, accum_steps, jit, num_replicas):
        """See above; `params` is {published name: variable}."""
        del num_replicas

        def value_and_gradients(batch, seeds, scale):
            if self._mix:
                labels = losses.dense_labels(batch["labels"],
                                             self._model.output_shape[-1])
                batch = self._mix({**batch, "labels": labels}, seeds[1])
            return gradients.accumulated(self._value, list(params.values()),
                                         batch, seed=seeds[0],
                                         loss_scale=scale,
                                         accum_steps=accum_steps)

        return tf.function(value_and_gradients, jit_compile=jit)

    def _value(self, batch):
        logits = self._model(batch["images"], training=True)
        labels = losses.dense_labels(batch["labels"], logits.shape[-1])
        values = self._loss(logits, labels)
        if "scale" in batch:
            values *= batch["scale"]
        return tf.reduce_mean(values)

    def metrics(self):
        return {}


class Contrastive:
    """Texts for images, over the global batch of all replicas (LiT, CLIP).

    Batches are images [b, H, W, c], tokens int32 [b, L] and, optionally,
    weights [b]. A tower without a trained parameter is locked: it runs once, as
    in evaluation, and nothing of it is kept for gradients. With several
    replicas or micro-batches every pair still counts against the whole global
    batch: first all embeddings are computed, then the loss and its gradient at
    the embeddings, and a second pass of the trained towers carries that on to
    the parameters (arXiv 2101.06983).

    Args:
      model: as models.lit.lit makes it: embed_images(images, training=),
        embed_texts(tokens, training=), temperature(), bias(), b (None where
        there is no bias), and parameters that begin with "img/" and "txt/".
      loss: losses.contrastive_softmax or losses.contrastive_sigmoid.
      mix: None.

    Raises:
      ValueError: mix is something else.
    """

    def __init__(self, *, model, loss, mix=None):
        if mix is not None:
            raise ValueError("Experiment.mix mixes labels, and with "
                             "objectives.Contrastive there are none: set it to "
                             "None.")
        self._model = model
        self._loss = loss

    def check(self, source):
        if source.class_names:
            raise ValueError(
                "objectives.Contrastive trains on images with captions, but "
                f"Experiment.train_source has {len(source.class_names)} "
                "classes: set it to @captions.table, or to @sources.tfds with "
                "sources.tfds.target = @targets.captions.")

    def weigh(self, batch):
        if "weights" not in batch:
            return batch, None
        # They stay in the batch: the loss is that of the global one.
        return batch, {"mean": tf.ones([]), "skipped": _zeros(batch["weights"])}

    def metrics(self):
        heads = self._heads()
        if self._model.b is None:
            heads.pop("bias")
        return heads

    def compile(self, params, *, accum_steps, jit, num_replicas):
        """See above; `params` is {published name: trained variable}."""
        variables = list(params.values())
        trained = [tower for tower, prefix in _TOWERS.items()
                   if any(name.startswith(prefix) for name in params)]
        compiled = lambda f, **kwargs: tf.function(
            functools.partial(f, **kwargs), jit_compile=jit)
        if num_replicas == accum_steps == 1:
            return compiled(self._direct, trained=trained, variables=variables)
        embed = compiled(self._rows, trained=trained, accum_steps=accum_steps)
        differentiate = compiled(self._differentiate, num_replicas=num_replicas)
        backward = compiled(self._backward, trained=trained,
                            variables=variables, accum_steps=accum_steps)

        def value_and_gradients(batch, seeds, scale):
            rows = everyone = embed(batch, seeds[0])  # [b, ...]
            own = tf.range(rows.shape[0])
            if num_replicas > 1:
                context = tf.distribute.get_replica_context()
                own += rows.shape[0] * context.replica_id_in_sync_group
                everyone = tf.ensure_shape(  # It gives no shape.
                    context.all_gather(rows, axis=0),
                    [rows.shape[0] * num_replicas, rows.shape[1]])
            loss, at_rows, at_heads = differentiate(everyone, own)
            if num_replicas > 1:
                at_rows = context.all_reduce(tf.distribute.ReduceOp.SUM,
                                             at_rows)
            return loss, backward(batch, tf.gather(at_rows, own), at_heads,
                                  seeds[0], scale)

        return value_and_gradients

    def _embed(self, batch, towers, training):
        """{tower: embeddings float32 [b, D]}."""
        found = {}
        if "images" in towers:
            found["images"] = self._model.embed_images(batch["images"],
                                                       training=training)
        if "texts" in towers:
            found["texts"] = self._model.embed_texts(batch["tokens"],
                                                     training=training)
        return found

    def _heads(self):
        return {"temperature": self._model.temperature(),
                "bias": self._model.bias()}

    def _direct(self, batch, seeds, scale, *, trained, variables):
        """Loss and gradients where the replica's batch is all there is."""
        fixed = self._embed(batch, _TOWERS.keys() - trained, training=False)

        def value(batch):
            z = {**fixed, **self._embed(batch, trained, training=True)}
            values = self._loss(z["images"], z["texts"], **self._heads(),
                                own=tf.range(z["texts"].shape[0]),
                                weights=batch.get("weights"))
            return losses.weighted_mean(values, batch.get("weights"))

        return gradients.accumulated(value, variables, batch, seed=seeds[0],
                                     accum_steps=1, loss_scale=scale)

    def _rows(self, batch, seed, *, trained, accum_steps):
        """[image embedding, text embedding, weight if any] of each example."""

        def row(batch):
            z = self._embed(batch, _TOWERS.keys() - trained, training=False)
            z.update(self._embed(batch, trained, training=True))
            parts = [z["images"], z["texts"]]
            if "weights" in batch:
                parts.append(batch["weights"][:, tf.newaxis])
            return tf.concat(parts, axis=1)

        return gradients.forward(row, batch, seed=seed, accum_steps=accum_steps)

    def _differentiate(self, everyone, own, *, num_replicas):
        """The replica's share of the loss, and of its gradients.

        Args:
          everyone: rows of all replicas, [B, 2 D] or, weighted, [B, 2 D + 1].
          own: numbers of this replica's rows, int32 [b].

        Returns:
          (loss [], gradient at everyone's embeddings [B, 2 D], gradients at the
          heads {name: []})
        """
        width = everyone.shape[1] // 2
        weights = everyone[:, -1] if everyone.shape[1] % 2 else None
        heads = self._heads()
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([everyone, heads])
            values = self._loss(everyone[:, :width],
                                everyone[:, width:2 * width], own=own,
                                weights=weights, **heads)
            if weights is None:
                loss = tf.reduce_mean(values)
            else:
                weights = tf.stop_gradient(weights)
                share = tf.gather(weights, own) * num_replicas
                loss = tf.math.divide_no_nan(tf.reduce_sum(values * share),
                                             tf.reduce_sum(weights))
        at_rows, at_heads = tape.gradient(
            loss, (everyone, heads),
            unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return loss, at_rows[:, :2 * width], at_heads

    def _backward(self, batch, at_rows, at_heads, seed, scale, *, trained,
                  variables, accum_steps):
        """Gradients of variables, from those at the embeddings [b, 2 D]."""
        at_images, at_texts = tf.split(at_rows, 2, axis=1)
        batch = {**batch, "at_images": at_images, "at_texts": at_texts}

        def value(batch):
            # Its gradient is the loss's; `accumulated` takes means of it.
            z = self._embed(batch, trained, training=True)
            total = accum_steps * sum(
                tf.reduce_sum(z[tower] * batch[f"at_{tower}"])
                for tower in trained)
            return total + sum(head * at_heads[name]
                               for name, head in self._heads().items())

        _, grads = gradients.accumulated(value, variables, batch, seed=seed,
                                         accum_steps=accum_steps,
                                         loss_scale=scale)
        return grads


def _zeros(weights):
    return tf.reduce_sum(tf.cast(tf.equal(weights, 0.0), tf.float32))
