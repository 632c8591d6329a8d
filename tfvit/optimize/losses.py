"""Losses per example, in float32: (logits [B, C], labels [B, C]) -> [B].

Labels are probabilities: one-hot, smoothed, mixed or, for the sigmoid loss,
any set of classes. `class_weights` are C numbers: the share that each class
contributes to the loss, 1 where nothing is weighted. The loss is not divided by
their sum.

The contrastive losses compare images with texts; see contrastive_softmax.
"""

import functools
import inspect

import tensorflow as tf

from tfvit.data.images import decoding

# What makes of a loss something to train with, and what leaves it plain.
_PLAIN = {"label_smoothing": 0.0, "class_weights": None}


def softmax_xent(logits, labels, *, label_smoothing=0.0, class_weights=None):
    """Softmax cross-entropy; smoothing spreads that share over all classes."""
    if label_smoothing:
        labels = (labels * (1.0 - label_smoothing) +
                  label_smoothing / labels.shape[-1])
    if class_weights is not None:
        # TensorFlow's fused loss has a gradient for labels of sum 1 only.
        labels *= _weights(class_weights, labels.shape[-1], "softmax_xent")
        return -tf.reduce_sum(
            labels * tf.nn.log_softmax(tf.cast(logits, tf.float32)), axis=-1)
    return tf.nn.softmax_cross_entropy_with_logits(
        labels, tf.cast(logits, tf.float32))


def sigmoid_xent(logits, labels, *, label_smoothing=0.0, class_weights=None):
    """Sigmoid cross-entropy, summed over the classes."""
    if label_smoothing:
        labels = labels * (1.0 - label_smoothing) + label_smoothing / 2.0
    loss = tf.nn.sigmoid_cross_entropy_with_logits(
        labels=labels, logits=tf.cast(logits, tf.float32))
    if class_weights is not None:
        loss *= _weights(class_weights, labels.shape[-1], "sigmoid_xent")
    return tf.reduce_sum(loss, axis=-1)


def contrastive_softmax(images, texts, *, own, temperature, bias,
                        weights=None):
    """Finds the text of each image and the image of each text, among all.

    The mean of two softmax cross-entropies over the global batch (arXiv
    2103.00020), where the i-th image and the i-th text are a pair.

    Args:
      images, texts: embeddings of the whole global batch, float32 [B, D].
      own: numbers of the pairs to give losses of, one after the other,
        int32 [b].
      temperature: factor of the similarities, float32 [].
      bias: added to them, float32 []; changes nothing here.
      weights: 0 for pairs that are not there, else 1, float32 [B]; None for 1.

    Returns:
      float32 [b], whose mean over all pairs is the loss.
    """
    del bias

    def choose(rows, columns):
        logits = temperature * _similarities(rows, columns, own)  # [b, B]
        if weights is not None:
            logits = tf.where(weights > 0, logits, -1e9)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(own, logits)

    return 0.5 * (choose(images, texts) + choose(texts, images))


def contrastive_sigmoid(images, texts, *, own, temperature, bias, weights=None):
    """Tells for each image and each text whether they are a pair (SigLIP).

    The sum over all texts of a logistic loss (arXiv 2303.15343).

    Args:
      images, texts, own, temperature, bias, weights: see contrastive_softmax.

    Returns:
      float32 [b], whose mean over all pairs is the loss.
    """
    logits = temperature * _similarities(images, texts, own) + bias  # [b, B]
    pairs = tf.one_hot(own, logits.shape[1])
    loss = tf.nn.sigmoid_cross_entropy_with_logits(labels=pairs, logits=logits)
    if weights is not None:
        loss *= weights
    return tf.reduce_sum(loss, axis=1)


def _similarities(rows, columns, own):
    # A slice, not a gather, whose gradient would scatter.
    rows = tf.slice(tf.cast(rows, tf.float32), [own[0], 0],
                    [own.shape[0], rows.shape[1]])
    return tf.matmul(rows, tf.cast(columns, tf.float32), transpose_b=True)


def _weights(class_weights, num_classes, loss):
    if len(class_weights) != num_classes or min(class_weights) < 0:
        raise ValueError(
            f"losses.{loss}.class_weights={class_weights} must be a number of "
            f"at least 0 for each of the {num_classes} classes.")
    return tf.constant(class_weights, tf.float32)


def link(loss):
    """What makes probabilities of logits trained with it: its name."""
    return ("sigmoid" if decoding.op_name(loss) == "sigmoid_xent" else
            "softmax")


def plain(loss):
    """The loss as evaluations report it: without smoothing and class weights.

    Given at the call, these arguments go before what gin or a partial binds,
    which is meant for training: the same function is bound to both. A binding
    that only an evaluation's loss would read counts as one that nothing reads.

    Args:
      loss: (logits [B, C], labels [B, C]) -> [B], one of these or one's own.
    """
    try:
        takes = inspect.signature(loss).parameters
    except ValueError:  # A built-in has none.
        return loss
    return functools.partial(loss, **{
        name: value for name, value in _PLAIN.items() if name in takes})


def dense_labels(labels, num_classes):
    """Class numbers [B] or probabilities [B, C] as float32 [B, C]."""
    if labels.dtype.is_integer and labels.shape.rank == 1:
        return tf.one_hot(labels, num_classes)
    return tf.cast(labels, tf.float32)


def weighted_mean(values, weights=None):
    """Mean of `values` [B], weighted where there are `weights` [B]."""
    if weights is None:
        return tf.reduce_mean(values)
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights),
                                 tf.reduce_sum(weights))
