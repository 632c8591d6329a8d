"""Zero-shot classification: the class whose texts are nearest to the image."""

import numpy as np
import tensorflow as tf

from tfvit.data import class_names as class_names_lib
from tfvit.data import prompts as prompts_lib
from tfvit.evaluators import base
from tfvit.evaluators import classification
from tfvit.optimize import losses

_LISTS = {
    "class_name_only": prompts_lib.class_name_only,
    "clip_best": prompts_lib.clip_best,
    "clip_paper": prompts_lib.clip_paper,
}


class ZeroShot:
    """Scores a model of images and texts on a labelled split.

    A class is the mean of its texts' embeddings, scaled to length 1; the
    reported loss is that of a softmax over the classes at the model's
    temperature.

    Args:
      name, strategy, jit, ops, batch_size, skip_corrupt, classes,
        service: see classification.Classification.
      model: as models.lit.lit makes it.
      source: () -> source of labelled images.
      tokenizer: one of data.tokenizers.
      prompts: "class_name_only", "clip_best", "clip_paper" (see
        tfvit.data.prompts) or templates such as "a {}".
      class_names_file: of one name a line, or "imagenet2012"; None for the
        names that the source has.
      canonicalize: strip names and prompts of capitals and punctuation.

    Attributes:
      ops: the preprocessing.
      tokenizer: that of the texts.
      metric_names, source, class_names, measure: see
        classification.Classification.

    Raises:
      ValueError: there are not as many names as classes, or see prompts.texts.
    """

    def __init__(self, *, name, model, strategy, jit, source, ops, batch_size,
                 tokenizer, prompts, class_names_file=None, canonicalize=True,
                 skip_corrupt=False, classes=None, service=None):
        self.ops = ops
        self.tokenizer = tokenizer
        self._name = name
        if isinstance(prompts, str):
            if prompts not in _LISTS:
                raise ValueError(
                    f"zeroshot.ZeroShot.prompts={prompts!r} is none of "
                    f"{', '.join(_LISTS)}, nor a list of templates.")
            prompts = _LISTS[prompts]
        read = source()
        names = list(read.class_names)
        if class_names_file is not None:
            names = class_names_lib.read(class_names_file)
            if len(names) != len(read.class_names):
                raise ValueError(
                    f"zeroshot.ZeroShot.class_names_file={class_names_file!r} "
                    f"has {len(names)} names for {len(read.class_names)} "
                    "classes.")
        texts = prompts_lib.texts(names, prompts, canonicalize)
        self._shape = len(names), len(texts[0])
        tokens = tokenizer(sum(texts, []))  # [C * P, L]
        self._texts = _batches(strategy, tokens, batch_size)

        def replica_rows(batch):
            z = model.embed_texts(batch["tokens"], training=False)
            return {"z": z, "number": batch["number"], "mask": batch["mask"]}

        self._batch_rows = base.gathering(strategy, replica_rows, jit)
        self._batch_rows.get_concrete_function(
            self._texts.dataset.element_spec)
        width = model.embed_texts(tokens[:1], training=False).shape[-1]
        with strategy.scope():
            self._weights = tf.Variable(
                tf.zeros([len(names), width]), trainable=False,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
        self._images = classification.Classification(
            name=name, model=_Scores(model, self._weights), strategy=strategy,
            jit=jit, source=lambda: read, ops=ops, batch_size=batch_size,
            loss=losses.softmax_xent, skip_corrupt=skip_corrupt,
            classes=classes, service=service)
        self.metric_names = self._images.metric_names
        self.measure = self._images.measure
        self.source = read
        self.class_names = names if classes is None else [
            names[i] for i in classes]

    def run(self, poll=lambda: None):
        """Embeds the texts and scores the whole split.

        Args:
          poll: called after each batch; may raise to end the evaluation.

        Returns:
          See classification.Classification.run.
        """
        self._embed(poll)
        return self._images.run(poll)

    def rows(self, poll=lambda: None):
        """As Classification.rows."""
        self._embed(poll)
        return self._images.rows(poll)

    def _embed(self, poll):
        """Makes the weights of the texts' embeddings."""
        rows = base.rows(name=f"{self._name}, texts", batches=self._texts,
                         batch_rows=self._batch_rows, poll=poll)
        z = rows["z"][np.argsort(rows["number"])].astype(np.float64)
        z = z.reshape(*self._shape, -1).mean(axis=1)  # [C, D]
        z /= np.linalg.norm(z, axis=1, keepdims=True) + 1e-8
        self._weights.assign(z.astype(np.float32))


class _Scores:
    """Images [B, H, W, c] -> logits [B, C], with the faces of a Keras model."""

    def __init__(self, model, weights):
        self._model = model
        self._weights = weights
        self.input_shape = getattr(model, "img", model).input_shape
        self.output_shape = (None, weights.shape[0])

    def __call__(self, images, training):
        z = self._model.embed_images(images, training=training)
        return self._model.temperature() * tf.matmul(z, self._weights,
                                                     transpose_b=True)


def _batches(strategy, tokens, batch_size):
    """Shares tokens [T, L] out, as base.Batches.

    Batches have "tokens", "number": which rows, and "mask".
    """
    count = len(tokens)
    num_batches = -(-count // batch_size)
    missing = num_batches * batch_size - count
    rows = {
        "tokens": np.pad(tokens, [(0, missing), (0, 0)], mode="edge"),
        "number": np.arange(count + missing),
        "mask": (np.arange(count + missing) < count).astype(np.float32),
    }

    def pipe(context):
        size = context.get_per_replica_batch_size(batch_size)
        dataset = tf.data.Dataset.from_tensor_slices(rows)
        return dataset.batch(size, drop_remainder=True).shard(
            context.num_input_pipelines, context.input_pipeline_id)

    dataset = strategy.distribute_datasets_from_function(pipe)
    return base.Batches(dataset, num_batches, None, batch_size)
