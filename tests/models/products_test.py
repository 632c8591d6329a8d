import re

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager.polymorphic_function import compiler_ir
import tf_keras

from tfvit.models import encoder_block
from tfvit.models import products


def op_by_op(query, key, value):
    """Attention as TensorFlow differentiates it; the softmax is not rounded."""
    scores = tf.matmul(query, key, transpose_b=True)
    if scores.dtype != tf.float64:
        scores = tf.cast(scores, tf.float32)
    return tf.matmul(tf.cast(tf.nn.softmax(scores), value.dtype), value)


def half_softmax(query, key, value):
    """As flax computes in bfloat16, and so big_vision: softmax, too."""
    scores = tf.matmul(query, key, transpose_b=True)
    e = tf.exp(scores - tf.reduce_max(scores, axis=-1, keepdims=True))
    return tf.matmul(e / tf.reduce_sum(e, axis=-1, keepdims=True), value)


def values(function, arguments, dy, jit):
    """Output and gradients of `function`, in float64."""

    @tf.function(jit_compile=jit)
    def run(*arguments):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            y = function(*arguments)
        return y, *tape.gradient(y, arguments, output_gradients=dy)

    return [tf.cast(x, tf.float64).numpy() for x in run(*arguments)]


def errors(function, dtype, scale, jit):
    """Distance to float64 of output and gradients, relative."""
    rng = np.random.default_rng(0)
    query, key, value, dy = (
        tf.cast(size * rng.standard_normal([2, 3, 33, 64]), dtype)
        for size in (scale / 8, scale, 1, 1))
    exact = values(op_by_op, [tf.cast(x, tf.float64) for x in
                              (query, key, value)], tf.cast(dy, tf.float64),
                   False)
    found = values(function, [query, key, value], dy, jit)
    return np.array([np.linalg.norm(a - b) / np.linalg.norm(b)
                     for a, b in zip(found, exact)])


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("dtype, limit", [("float32", 2e-6), ("float16", 2e-3),
                                          ("bfloat16", 1.2e-2)])
def test_attention_and_its_gradient_are_those_of_float64(dtype, limit, jit):
    assert errors(products.attend, dtype, 1.0, jit).max() < limit


@pytest.mark.parametrize("scale, other, bound", [
    (3.0, op_by_op, 0.8), (1.0, op_by_op, 0.8),
    # Where weights hardly vary, the gradient of values is a rounding worse than
    # op by op.
    (0.3, half_softmax, 0.95), (0.3, op_by_op, 1.25)])
def test_how_near_xla_is_to_float64_in_bfloat16(scale, other, bound):
    new = errors(products.attend, "bfloat16", scale, True)
    assert (new < bound * errors(other, "bfloat16", scale, True)).all()


def test_large_scores_are_no_infinities():
    scores = tf.constant([[[[2.0**14], [-2.0**14]]]], tf.bfloat16)
    found = values(products.attend, [scores, scores, scores],
                   tf.ones_like(scores), True)
    np.testing.assert_array_equal(found[0].ravel(), [2**14, -2**14])
    assert np.isfinite(found).all()


def test_projection_to_heads_has_the_gradient_of_its_products():
    rng = np.random.default_rng(0)
    draw = lambda *shape: tf.cast(rng.standard_normal(shape), tf.bfloat16)
    x, dy = draw(3, 7, 16), [draw(3, 2, 7, 8) for _ in range(3)]
    weights = [*(draw(16, 2, 8) for _ in range(3)), *(draw(2, 8)
                                                      for _ in range(3))]

    def gradients(training, *arguments, dtype=tf.bfloat16):
        x, *weights = (tf.cast(a, dtype) for a in arguments)
        with tf.GradientTape() as tape:
            tape.watch([x, weights])
            y = products.project_heads(x, weights[:3], weights[3:], training)
        found = tape.gradient(y, [x, *weights],
                              output_gradients=[tf.cast(d, dtype) for d in dy])
        return [tf.cast(a, tf.float64).numpy() for a in (*y, *found)]

    exact = gradients(False, x, *weights, dtype=tf.float64)
    for new, expected in zip(gradients(True, x, *weights), exact):
        np.testing.assert_allclose(new, expected, rtol=2**-7,
                                   atol=2**-8 * np.abs(expected).max())


def test_a_block_in_bfloat16_reads_scores_no_more_than_it_must(bfloat16):
    """A guard of memory traffic, which is what TPUs wait for.

    In the program that XLA gets, scores go through five products, besides the
    two that make them, and through two sums; none of them is one of float32
    that a product reads, and no reshape joins B and N.
    """
    batch, count, heads = 3, 17, 2
    block = encoder_block.EncoderBlock(num_heads=heads, mlp_dim=32, name="block")
    block(tf.zeros([batch, count, 16]))

    @tf.function(jit_compile=True)
    def step(x):
        with tf.GradientTape() as tape:
            y = block(x, training=True)
        return tape.gradient(y, block.trainable_variables)

    tf_keras.utils.set_random_seed(0)
    concrete = step.get_concrete_function(
        tf.TensorSpec([batch, count, 16], tf.bfloat16))
    text = compiler_ir.from_concrete_function(concrete)(stage="hlo")
    shape = {}
    for name, value in re.findall(r"([\w.\-]+) = (\w+\[[\d,]*\])", text):
        shape[name] = value
    scores = re.compile(rf"\w+\[{batch},{heads},{count},{count}\]")
    through = {"dot": [], "reduce": []}
    for value, op, operands in re.findall(
            r" = (\w+\[[\d,]*\])\S* (dot|reduce)\(([^)]*)\)", text):
        operands = [shape.get(o.split()[-1].lstrip("%"), "")
                    for o in operands.split(", ")]
        if any(scores.fullmatch(s) for s in [value, *operands]):
            through[op].append((value, *operands))
    assert {op: len(found) for op, found in through.items()} == {
        "dot": 7, "reduce": 2}
    assert not [found for found in through["dot"]
                if any(s.startswith("f32") for s in found[1:])]
    assert f"[{batch * count}," not in text
