"""Ways to get an update direction, with one signature.

`name(value_and_gradients, variables, lr, step) -> (metrics, gradients)`, where
`value_and_gradients(synchronized=False) -> (loss [], gradients)` looks at the
variables as they are when it is called, always draws the same dropout masks,
and gives the gradients of this replica or, synchronized, their mean over all;
`lr` is the learning rate of this update and `step` the number of finished ones,
int64 []. Metrics are float32 scalars by name, "loss" among them.
"""

import contextlib

import tensorflow as tf

from tfvit.models import layers


def plain(value_and_gradients, variables, lr, step):
    """The gradient of the mean loss."""
    del variables, lr, step
    loss, gradients = value_and_gradients()
    return {"loss": loss}, gradients


def sam(value_and_gradients, variables, lr, step, *, rho, adaptive=False,
        synchronized=False, every=1):
    """Sharpness-aware minimization (arXiv 2010.01412): the gradient at w + e.

    e = rho * g / |g|, where g is the gradient at w and |g| its global norm over
    all variables. Each step costs two.

    Args:
      value_and_gradients, variables, lr, step: see above.
      rho: length of the perturbation e.
      adaptive: multiply e by |w| elementwise, as the authors of GSAM do.
      synchronized: perturb all replicas by the gradient of the global batch,
        instead of each by its own ("m-sharpness", what the papers do and what
        generalises better). Costs two more all-reduces.
      every: perturb in each every-th step only and take the plain gradient in
        the others, which report rho 0 and the clean loss as the perturbed one.

    Returns:
      (metrics, gradients); the metrics are the clean "loss", "perturbed_loss",
      their difference "surrogate_gap", "rho", and the global gradient norms
      "clean_grad_norm" and "perturbed_grad_norm".

    Raises:
      ValueError: every < 1, or every > 1 together with synchronized or with a
        loss that replicas share.
    """
    del lr
    return _sharpness_aware(value_and_gradients, variables, step, rho=rho,
                            alpha=0.0, adaptive=adaptive,
                            synchronized=synchronized, every=every)


def gsam(value_and_gradients, variables, lr, step, *, rho_min, rho_max, lr_min,
         lr_max, alpha, adaptive=False, synchronized=False, every=1):
    """Surrogate gap guided SAM (arXiv 2203.08065).

    SAM's gradient, minus alpha times the part of the clean gradient that is
    orthogonal to it: a descent of the surrogate gap that leaves the perturbed
    loss alone. rho follows the learning rate linearly, from rho_min at lr_min
    to rho_max at lr_max, and is rho_min where a warm-up is below lr_min.

    Args:
      value_and_gradients, variables, lr, step: see above.
      rho_min, rho_max: bounds of the perturbation's length; equal, and with
        alpha 0, they give SAM.
      lr_min, lr_max: lowest and highest learning rate of the schedule.
      alpha: weight of the orthogonal part.
      adaptive, synchronized, every: see sam.

    Returns:
      See sam.

    Raises:
      ValueError: a lower bound above its upper one, or see sam.
    """
    for name, low, high in (("rho", rho_min, rho_max), ("lr", lr_min, lr_max)):
        if low > high:
            raise ValueError(f"gradients.gsam.{name}_min={low} must not exceed "
                             f"gradients.gsam.{name}_max={high}.")
    share = 1.0 if lr_min == lr_max else tf.clip_by_value(
        (lr - lr_min) / (lr_max - lr_min), 0.0, 1.0)
    return _sharpness_aware(value_and_gradients, variables, step,
                            rho=rho_min + (rho_max - rho_min) * share,
                            alpha=alpha, adaptive=adaptive,
                            synchronized=synchronized, every=every)


def _sharpness_aware(value_and_gradients, variables, step, *, rho, alpha,
                     adaptive, synchronized, every):
    if every < 1 or (synchronized and every > 1):
        raise ValueError(
            f"gradients: every={every} must be at least 1, and 1 where "
            f"synchronized={synchronized} is True: an all-reduce cannot be "
            "conditional.")
    loss, clean = value_and_gradients(synchronized)
    clean_norm = tf.linalg.global_norm(clean)

    def perturb():
        # The reference's guard against a gradient of zero.
        scale = rho / (clean_norm + 1e-12)
        offsets = [scale * g for g in clean]
        if adaptive:
            offsets = [e * tf.abs(v) for e, v in zip(offsets, variables)]
        with perturbed(variables, offsets):
            loss, gradients = value_and_gradients(synchronized)
        norm = tf.linalg.global_norm(gradients)
        if alpha:
            gradients = _against_gap(clean, gradients, norm, alpha)
        return loss, norm, tf.convert_to_tensor(rho, tf.float32), gradients

    if every == 1:
        perturbed_loss, norm, rho, gradients = perturb()
    else:
        try:
            perturbed_loss, norm, rho, gradients = tf.cond(
                tf.equal(step % every, 0), perturb,
                lambda: (loss, clean_norm, tf.constant(0.0), clean))
        except RuntimeError as error:
            if "merge_call" not in str(error):
                raise
            raise ValueError(
                f"gradients: every={every} must be 1 on several replicas whose "
                "loss is one of all of them, as objectives.Contrastive's is: "
                "what they exchange cannot be conditional.") from error
    return {
        "loss": loss,
        "perturbed_loss": perturbed_loss,
        "surrogate_gap": perturbed_loss - loss,
        "rho": rho,
        "clean_grad_norm": clean_norm,
        "perturbed_grad_norm": norm,
    }, gradients


def _against_gap(clean, adversarial, norm, alpha):
    """adversarial - alpha * (clean - its projection onto adversarial)."""
    dot = tf.add_n([
        tf.reduce_sum(c * a) for c, a in zip(clean, adversarial)
    ])
    share = tf.math.divide_no_nan(dot, tf.square(norm))
    return [
        a - alpha * (c - share * a) for c, a in zip(clean, adversarial)
    ]


@contextlib.contextmanager
def perturbed(variables, offsets):
    """Adds `offsets` to the variables; afterwards they have their old bits.

    In a replica's context only that replica's copies change.
    """
    before = [tf.identity(v) for v in variables]
    try:
        for variable, value, offset in zip(variables, before, offsets):
            variable.assign(value + offset)
        yield
    finally:
        for variable, value in zip(variables, before):
            variable.assign(value)


def accumulated(loss_fn, variables, batch, *, seed, accum_steps,
                loss_scale=None):
    """Mean loss and gradients over micro-batches, one after the other.

    Args:
      loss_fn: micro-batch -> mean loss, float32 [].
      variables: to differentiate with respect to.
      batch: dict of tensors [b, ...] with b divisible by accum_steps.
      seed: int32 [2], from which dropout's masks follow.
      accum_steps: number of micro-batches; memory for activations shrinks by
        this factor.
      loss_scale: float32 []: differentiate loss * loss_scale, then divide; see
        optimize.loss_scale.

    Returns:
      (loss [], list of float32 gradients)
    """

    def one(i, micro):
        with layers.seed_scope(
                tf.random.experimental.stateless_fold_in(seed, i)):
            # The tape closes inside the scope: rematerialised blocks draw
            # their dropout masks again while gradients are computed.
            # Only `variables` are watched: nothing is kept for frozen parts.
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                loss = loss_fn(micro)
                scaled = loss if loss_scale is None else loss * loss_scale
            gradients = tape.gradient(
                scaled, variables,
                unconnected_gradients=tf.UnconnectedGradients.ZERO)
            if loss_scale is not None:
                gradients = [g / loss_scale for g in gradients]
            return loss, gradients

    if accum_steps == 1:
        return one(0, batch)
    micros = _micro_batches(batch, accum_steps)

    def add(i, loss, gradients):
        more_loss, more = one(i, {k: v[i] for k, v in micros.items()})
        return i + 1, loss + more_loss, [g + m for g, m in zip(gradients, more)]

    zeros = [tf.zeros(v.shape, tf.float32) for v in variables]
    _, loss, gradients = tf.while_loop(
        lambda i, *_: i < accum_steps, add, (0, 0.0, zeros),
        maximum_iterations=accum_steps)
    return loss / accum_steps, [g / accum_steps for g in gradients]


def forward(function, batch, *, seed, accum_steps):
    """What `function` gives for a batch, computed as `accumulated` would.

    Args:
      function: micro-batch -> float32 [b / accum_steps, K].
      batch, seed, accum_steps: see accumulated; dropout draws the same masks.

    Returns:
      float32 [b, K]
    """

    def one(pair):
        i, micro = pair
        with layers.seed_scope(
                tf.random.experimental.stateless_fold_in(seed, i)):
            return function(micro)

    if accum_steps == 1:
        return one((0, batch))
    rows = tf.map_fn(
        one, (tf.range(accum_steps), _micro_batches(batch, accum_steps)),
        fn_output_signature=tf.float32)  # [accum_steps, b / accum_steps, K]
    return tf.reshape(rows, [-1, rows.shape[-1]])


def _micro_batches(batch, accum_steps):
    """Tensors [b, ...] as [accum_steps, b / accum_steps, ...]."""
    return {
        k: tf.reshape(v, [accum_steps, v.shape[0] // accum_steps, *v.shape[1:]])
        for k, v in batch.items()
    }
