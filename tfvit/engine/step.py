"""The train step: from a batch to new weights, on every replica.

On one replica the step is one function, so that XLA can fuse all of it. On
several, the all-reduce stands between two compiled functions, because XLA
cannot compile a collective for replicas of MirroredStrategy. All that replicas
tell each other goes in that one: gradients, metrics, statistics, and whether a
worker was asked to stop. Where they keep the optimizer's state in shares, a
second one gathers the new weights.
"""

import functools

from absl import logging
import tensorflow as tf

from tfvit.data.images import decoding
from tfvit.distribute import sharding
from tfvit.distribute import strategies
from tfvit.optimize import layer_decay as layer_decay_lib
from tfvit.optimize import loss_scale
from tfvit.optimize import optim


def make_train_step(*, objective, state, gradients, optimizer, strategy, jit,
                    seed, accum_steps, clip_norm, lr_multipliers=(),
                    layer_decay=None, ema_decay=None, ema_warmup=False,
                    device_ops=(), reduce_dtype="float32"):
    """Returns train(iterator, n, stop=False): n steps, in one call from Python.

    Args:
      objective: one of optimize.objectives, of the model whose variables the
        state holds.
      state: a state.TrainState.
      gradients: one of optimize.gradients.
      optimizer: an optim.Optimizer.
      strategy: the tf.distribute.Strategy whose scope holds the state.
      jit: True, False or "auto": compile with XLA.
      seed: int, from which, with the step, all randomness follows.
      accum_steps: micro-batches per replica and step.
      clip_norm: largest global gradient norm, applied after the mean over
        replicas and before the optimizer; None for no limit.
      lr_multipliers: pairs (regular expression, factor); the first that matches
        a whole name gives the factor of its learning rate.
      layer_decay: see optimize.layer_decay; the two factors are multiplied.
      ema_decay, ema_warmup: of the state's moving averages, where it has any;
        see experiment.Experiment.
      device_ops: what the images of a batch go through first, on the device.
      reduce_dtype: in which gradients are added up over replicas.

    The returned function takes an iterator over the objective's batches, dicts
    of tensors [b, ...]; n is a number; stop says that this worker was asked to
    stop. It returns {metric name: float32 [n]}, whose names are its attribute
    `names` once it is traced, and, with several workers, "stop": how many
    replicas have been told so. Its attribute `replica_step` is what strategy.run
    calls with a replica's batch.
    """
    jit = strategies.use_jit(jit, strategy)
    params = list(state.trained.values())
    by_layer = layer_decay_lib.factors(state.params, layer_decay)
    factors = {
        name: factor * by_layer[name] for name, factor in
        optim.multipliers(state.trained, lr_multipliers).items()
    }
    num_replicas = strategy.num_replicas_in_sync
    several_workers = strategies.has_workers(strategy)
    one_program = strategies.is_one_program(strategy)

    value_and_gradients = objective.compile(
        state.trained, accum_steps=accum_steps, jit=jit,
        num_replicas=num_replicas)

    @functools.partial(tf.function, jit_compile=jit)
    def seeds_of(step, replica):
        fold = tf.random.experimental.stateless_fold_in
        return [fold(fold(tf.constant([seed, use], tf.int32), step), replica)
                for use in range(2)]

    def direction(batch, step, replica, scale, mean):
        seeds = seeds_of(step, replica)

        def evaluate(synchronized=False):
            loss, grads = value_and_gradients(batch, seeds, scale.get("value"))
            return loss, mean(grads) if synchronized else grads

        return gradients(evaluate, params, optimizer.lr(step), step)

    axes = [state.axis(name) for name in state.trained]
    any_cut = any(axis is not None for axis in axes)

    def update(grads, norm, step, scale, number):
        """Returns (metrics, new shares of the parameters that are cut)."""
        if norm is None:
            norm = tf.linalg.global_norm(grads)
        finite = tf.math.is_finite(norm)
        metrics = {"grad_norm": norm, **objective.metrics()}
        # The data and the schedule count skipped updates, the moments do not.
        count = tf.cast(step - scale.get("skipped", 0), tf.float32)
        if scale:
            metrics["loss_scale"] = scale["value"]
            new, metrics["skipped_updates"] = loss_scale.advance(scale, finite)
            for key, variable in state.scale.items():
                variable.assign(new[key])
        if clip_norm is not None:
            grads = optim.clip_by_global_norm(grads, norm, clip_norm)
        decay = ema_decay
        if ema_warmup:  # By this update, which is number count + 1.
            decay = tf.minimum(ema_decay, (2.0 + count) / (11.0 + count))
        lr = optimizer.lr(step)
        shares = []
        for (name, variable), grad, axis in zip(state.trained.items(), grads,
                                                axes):
            mine = lambda v: v if axis is None or v.shape != variable.shape else (
                sharding.own(tf.convert_to_tensor(v), axis, number,
                             num_replicas))
            slots = {k: sharding.share(v[name]) for k, v in state.slots.items()
                     if name in v}
            before = tf.convert_to_tensor(mine(variable))
            value, new_slots = optimizer.update(
                name, before, mine(grad),
                {k: tf.convert_to_tensor(v) for k, v in slots.items()},
                lr=lr * factors[name], step=count)
            news = [(slots[slot], new) for slot, new in new_slots.items()]
            if state.ema:
                average = sharding.share(state.ema[name])
                news.append((average, decay * tf.convert_to_tensor(average) +
                             (1.0 - decay) * value))
            if axis is None:
                news.append((variable, value))
            else:
                shares.append(tf.where(finite, value, before) if scale
                              else value)
            for target, new in news:
                new = tf.cast(new, target.dtype)
                target.assign(tf.where(finite, new, target) if scale else new)
        return metrics, shares

    def fused(batch, step, replica, scale):
        metrics, grads = direction(batch, step, replica, scale,
                                   lambda grads: grads)
        return {**metrics, **update(grads, None, step, scale, None)[0]}

    # Statistics that each replica would keep for itself, such as those of
    # BatchNormalization. Their mean, which is what counts, stays the same; but
    # a checkpoint has room for one value.
    apart = [v for v in state.statistics.values() if v.dtype.is_floating and
             v.synchronization == tf.VariableSynchronization.ON_READ]

    fused, update = (tf.function(f, jit_compile=jit) for f in (fused, update))

    @tf.autograph.experimental.do_not_convert
    def replica_step(batch, stop=None):
        context = tf.distribute.get_replica_context()
        step = tf.convert_to_tensor(state.step)
        scale = {k: tf.convert_to_tensor(v) for k, v in state.scale.items()}
        batch, weights = objective.weigh(
            {**batch, "images": decoding.on_device(
                device_ops, batch["images"], seed=seed,
                first=_first(batch, step, context, num_replicas))})
        if num_replicas == 1:
            metrics = fused(batch, step, tf.constant(0), scale)
            if weights:
                metrics["skipped"] = weights["skipped"]
        else:
            # Not one function: a gradient may need the mean over replicas.
            mean = functools.partial(_mean, context, weights=weights,
                                     dtype=reduce_dtype)
            metrics, grads = direction(
                batch, step, context.replica_id_in_sync_group, scale,
                lambda grads: mean({}, grads)[1])
            local = [tf.convert_to_tensor(v) for v in apart]
            # A copy: an argument of a function lies on no device.
            counts = {"stop": tf.identity(stop)} if several_workers else {}
            (metrics, common), grads, counts = mean(
                (metrics, local), grads, counts=counts,
                axes=axes if one_program else None)
            metrics.update(counts)
            for variable, value in zip(apart, common):
                variable.assign(value)
            number = norm = None
            if any_cut:
                number = sharding.number(context)
                if one_program:
                    norm = sharding.global_norm(context, grads, axes)
            more, shares = update(grads, norm, step, scale, number)
            metrics.update(more)
            if any_cut:
                cut = [(variable, axis) for variable, axis in zip(params, axes)
                       if axis is not None]
                wholes = sharding.all_gather(context, shares,
                                             [axis for _, axis in cut])
                for (variable, _), whole in zip(cut, wholes):
                    variable.assign(whole)
        state.step.assign_add(1)
        return metrics

    names = []
    extra = ["stop"] if several_workers else []

    @tf.function
    def train(iterator, n, stop):
        rows = tf.TensorArray(tf.float32, size=n)
        for i in tf.range(tf.cast(n, tf.int32)):
            metrics = strategy.run(replica_step, args=(next(iterator), stop))
            metrics = {
                k: strategy.experimental_local_results(v)[0]
                for k, v in metrics.items()
            }
            names[:] = sorted(metrics.keys() - extra)
            rows = rows.write(i, tf.stack([metrics[k] for k in names + extra]))
        return rows.stack()

    def train_dict(iterator, n, stop=False):
        table = train(iterator, tf.constant(n, tf.int32),
                      tf.constant(float(stop)))  # [n, metrics]
        columns = names + extra
        return dict(zip(columns, tf.unstack(table, num=len(columns), axis=1)))

    def trace(iterator):
        logging.info("Compiling the step ...")
        return train.get_concrete_function(iterator, tf.TensorSpec([], tf.int32),
                                           tf.TensorSpec([], tf.float32))

    train_dict.trace = trace
    train_dict.names = names
    train_dict.replica_step = replica_step
    return train_dict


def _first(batch, step, context, num_replicas):
    """Number of the first example of a replica's batch, of the whole run."""
    place = (tf.cast(step, tf.int64) * num_replicas +
             tf.cast(context.replica_id_in_sync_group, tf.int64))
    return place * batch["images"].shape[0]


def _mean(context, values, grads, *, weights, dtype, counts=None, axes=None):
    """(means of values, means of grads, sums of counts) over the replicas.

    Args:
      context: the tf.distribute.ReplicaContext.
      values: structure of float32 tensors.
      grads: list of float32 tensors.
      weights: what objective.weigh found; its "mean" is this replica's share in
        the mean, and the rest counts. None: all have the same.
      dtype: in which grads are added up.
      counts: {name: float32 []}.
      axes: along which to deal the grads out, to each replica its share; None
        for all to all, or in their place for one of them.
    """
    counts, share = dict(counts or {}), None
    if weights is not None:
        share, counts["skipped"] = weights["mean"], weights["skipped"]
        values, grads = tf.nest.map_structure(lambda v: v * share,
                                              (values, grads))
    grads = [tf.cast(grad, dtype) for grad in grads]
    dealt = sharding.reduce_scatter(context, grads, axes or [None] * len(grads))
    rest = [grad for grad, own in zip(grads, dealt) if own is None]
    values, rest, counts, total = sharding.all_reduce(
        context, (values, rest, counts, () if share is None else share))
    rest = iter(rest)
    grads = [tf.cast(next(rest) if own is None else own, tf.float32)
             for own in dealt]
    divide = lambda v: (v / context.num_replicas_in_sync if share is None else
                        tf.math.divide_no_nan(v, total))
    values, grads = tf.nest.map_structure(divide, (values, grads))
    return values, grads, counts
