"""Products of matrices, in the forms that read the least memory.

Memory is what an accelerator waits for in a Vision Transformer, and the largest
tensors there are those of scores, [B, heads, N, N]. Differentiated op by op,
softmax costs a sum over all of them that the output knows already (the trick of
FlashAttention, arXiv 2205.14135, appendix B.2): with y = softmax(s) v,

  ds = p * (dp - sum(dp * p)) and sum(dp * p) over keys = sum(dy * y) over d.
"""

import tensorflow as tf
from tensorflow.python.ops import control_flow_util


def project(x, kernel):
    """x [B, ..., D] times a kernel [D, ...]: [B, ..., ...]."""
    if x.dtype == tf.float32:
        # One product of matrices. With x as a batch of them TensorFlow makes
        # small ones, and B gradients of the kernel to add up.
        rows = tf.reshape(x, [-1, x.shape[-1]])
        y = tf.matmul(rows, tf.reshape(kernel, [x.shape[-1], -1]))
        shape = tf.concat([tf.shape(x)[:-1], kernel.shape[1:]], axis=0)
        return tf.reshape(y, shape)
    # The halves are for accelerators. There a reshape of x is a copy, where N
    # is no multiple of 8.
    batch, out = "abcdefg"[:x.shape.rank - 1], "uvw"[:kernel.shape.rank - 1]
    return tf.einsum(f"{batch}x,x{out}->{batch}{out}", x, kernel)


def project_heads(x, kernels, biases, training=False):
    """x [B, N, D] times kernels [D, heads, d] plus biases [heads, d].

    Returns:
      A list of [B, heads, N, d], one for each kernel.
    """
    if training and x.dtype != tf.float32:
        return _project_heads(x, *map(tf.convert_to_tensor, kernels + biases))
    return [tf.transpose(project(x, kernel) + bias, [0, 2, 1, 3])
            for kernel, bias in zip(kernels, biases)]


@tf.custom_gradient
def _project_heads(x, *weights):
    # The gradient is one product for x, and one for all kernels: x and dx are
    # read and written once instead of three times each.
    kernels, biases = weights[:len(weights) // 2], weights[len(weights) // 2:]
    y = [tf.einsum("bnw,whd->bhnd", x, kernel) + bias[:, tf.newaxis]
         for kernel, bias in zip(kernels, biases)]

    def gradient(*dy):
        joint = tf.concat(dy, axis=1)
        dx = tf.einsum("bhnd,whd->bnw", joint, tf.concat(kernels, axis=1))
        dkernels = tf.split(tf.einsum("bnw,bhnd->whd", x, joint), len(dy),
                            axis=1)
        return dx, *dkernels, *(tf.reduce_sum(d, axis=[0, 2]) for d in dy)

    return y, gradient


def attend(query, key, value):
    """softmax(query key') value, all [B, heads, N, d], scaled beforehand.

    XLA has a form of its own in bfloat16, whose scores are never rounded.
    """
    if value.dtype == tf.bfloat16 and _in_xla():
        return _attend_bfloat16(query, key, value)
    return _attend(query, key, value)


def weights(query, key, causal=False):
    """Attention weights float32 [B, heads, N (queries), N (keys)].

    With `causal` a query has none on keys that follow it.
    """
    scores = tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32)
    if causal:
        before = tf.linalg.band_part(tf.ones_like(scores, tf.bool), -1, 0)
        scores = tf.where(before, scores, scores.dtype.min)
    return tf.nn.softmax(scores)


@tf.custom_gradient
def _attend(query, key, value):
    p = weights(query, key)
    rounded = tf.cast(p, value.dtype)
    y = tf.matmul(rounded, value)

    def gradient(dy):
        total = tf.reduce_sum(_wide(dy) * _wide(y), axis=-1, keepdims=True)
        dp = _wide(tf.matmul(dy, value, transpose_b=True))
        ds = tf.cast(p * (dp - total), query.dtype)
        return (tf.matmul(ds, key), tf.matmul(ds, query, transpose_a=True),
                tf.matmul(rounded, dy, transpose_a=True))

    return y, gradient


@tf.custom_gradient
def _attend_bfloat16(query, key, value):
    # Scores are cheaper to compute twice than to read once more: the first time
    # nothing of them is kept but each query's maximum. The second time keys
    # come first ([B, heads, N (keys), N (queries)]), or XLA would take the two
    # for one. What is kept are exponentials, not divided by their sum.
    top = tf.reduce_max(_product(query, key, adj_y=True), axis=-1)
    e = tf.exp(_product(key, query, adj_y=True) - top[:, :, tf.newaxis])
    norm = tf.reduce_sum(e, axis=2)  # [B, heads, N (queries)]
    e = tf.cast(e, value.dtype)
    y = _product(e, value, adj_x=True) / norm[..., tf.newaxis]
    y = tf.cast(y, value.dtype)

    def gradient(dy):
        total = tf.reduce_sum(_wide(dy) * _wide(y), axis=-1)
        dp = _product(value, dy, adj_y=True) - total[:, :, tf.newaxis]
        ds = tf.cast(_wide(e) * (dp / norm[:, :, tf.newaxis]), query.dtype)
        # dv is rounded three times, here, in e and as a result, where p' dy has
        # it twice: over scores that hardly vary (0.3 of N(0, 1), 197 tokens) it
        # is 2.7e-3 from float64 instead of 2.4e-3, over N(0, 1) 2.7e-3 instead
        # of 4.1e-3, and flax's softmax in bfloat16 is 3.2e-3 and 5.1e-3 away.
        # Not to round dy / norm would take a product of float32.
        dy = tf.cast(_wide(dy) / norm[..., tf.newaxis], value.dtype)
        return (tf.matmul(ds, key, transpose_a=True), tf.matmul(ds, query),
                tf.matmul(e, dy))

    return y, gradient


def _product(x, y, **adjoint):
    """Matrix product of bfloat16, not rounded to it."""
    return tf.raw_ops.BatchMatMulV3(x=x, y=y, Tout=tf.float32, **adjoint)


def _wide(x):
    return tf.cast(x, tf.float32)


def _in_xla():
    return control_flow_util.GraphOrParentsInXlaContext(
        tf.compat.v1.get_default_graph())
