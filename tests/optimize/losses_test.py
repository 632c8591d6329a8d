"""Losses against a few lines of numpy."""

import numpy as np
import pytest
import tensorflow as tf

from tfvit.optimize import losses

LOGITS = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
LABELS = np.eye(7, dtype=np.float32)[[0, 6, 3, 3, 1]]


def test_softmax_is_minus_the_log_of_the_softmax():
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    np.testing.assert_allclose(losses.softmax_xent(LOGITS, LABELS),
                               -np.log((p * LABELS).sum(1)), rtol=1e-6)


def test_sigmoid_sums_over_the_classes():
    p = 1 / (1 + np.exp(-LOGITS))
    expected = -(LABELS * np.log(p) + (1 - LABELS) * np.log(1 - p)).sum(1)
    np.testing.assert_allclose(losses.sigmoid_xent(LOGITS, LABELS), expected,
                               rtol=1e-5)


def test_label_smoothing_spreads_its_share_over_all_classes():
    smooth = 0.9 * LABELS + 0.1 / 7
    np.testing.assert_allclose(
        losses.softmax_xent(LOGITS, LABELS, label_smoothing=0.1),
        losses.softmax_xent(LOGITS, smooth), rtol=1e-6)
    smooth = 0.9 * LABELS + 0.05
    np.testing.assert_allclose(
        losses.sigmoid_xent(LOGITS, LABELS, label_smoothing=0.1),
        losses.sigmoid_xent(LOGITS, smooth), rtol=1e-6)


def test_half_precision_logits_give_a_float32_loss():
    loss = losses.softmax_xent(tf.cast(LOGITS, tf.bfloat16), LABELS)
    assert loss.dtype == tf.float32


def test_class_numbers_become_one_hot_and_probabilities_stay():
    numbers = tf.constant([0, 6, 3, 3, 1], tf.int64)
    np.testing.assert_array_equal(losses.dense_labels(numbers, 7), LABELS)
    np.testing.assert_array_equal(
        losses.dense_labels(tf.constant(LABELS / 2), 7), LABELS / 2)


WEIGHTS = (1.0, 2.0, 0.0, 0.5, 1.0, 3.0, 1.0)


def test_class_weights_scale_what_each_class_contributes():
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    soft = 0.7 * LABELS + 0.3 * np.roll(LABELS, 1, axis=0)
    np.testing.assert_allclose(
        losses.softmax_xent(LOGITS, soft, class_weights=WEIGHTS),
        -(WEIGHTS * soft * np.log(p)).sum(1), rtol=1e-5)
    p = 1 / (1 + np.exp(-LOGITS))
    several = np.minimum(LABELS + np.roll(LABELS, 2, axis=1), 1)
    terms = several * np.log(p) + (1 - several) * np.log(1 - p)
    np.testing.assert_allclose(
        losses.sigmoid_xent(LOGITS, several, class_weights=WEIGHTS),
        -(WEIGHTS * terms).sum(1), rtol=1e-5)


def test_the_weighted_softmax_has_its_own_gradient():
    soft = tf.constant(0.7 * LABELS + 0.3 * np.roll(LABELS, 1, axis=0))
    logits = tf.Variable(LOGITS)
    with tf.GradientTape() as tape:
        loss = losses.softmax_xent(logits, soft, class_weights=WEIGHTS)
    weighted = soft.numpy() * WEIGHTS
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    np.testing.assert_allclose(
        tape.gradient(loss, logits),
        p * weighted.sum(1, keepdims=True) - weighted, atol=1e-6)


@pytest.mark.parametrize("weights", [(1.0, 2.0), (-1.0, *[1.0] * 6)])
@pytest.mark.parametrize("loss", ["softmax_xent", "sigmoid_xent"])
def test_class_weights_that_do_not_fit_are_refused(loss, weights):
    with pytest.raises(ValueError, match=f"losses.{loss}.class_weights=.*7 cl"):
        getattr(losses, loss)(LOGITS, LABELS, class_weights=weights)
