"""A toy experiment that tests change with dataclasses.replace."""

import functools

import numpy as np
import tensorflow as tf

from tfvit import experiment
from tfvit.data import pipeline
from tfvit.data.datasets import source
from tfvit.data.images import ops
from tfvit.distribute import strategies
from tfvit.engine import build as build_lib
from tfvit.evaluators import classification
from tfvit.models import lit
from tfvit.models import vit
from tfvit.optimize import losses
from tfvit.optimize import optim
from tfvit.optimize import schedules

NUM_CLASSES = 7


def images(count, seed=0):
    """A source of `count` 10 x 10 images whose brightness gives the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % NUM_CLASSES
    pixels = rng.integers(0, 60, [count, 10, 10, 3]) + 30 * labels[:, None, None,
                                                                   None]
    pixels = tf.constant(pixels, tf.uint8)
    labels = tf.constant(labels, tf.int64)
    return source.Indexed(
        num_examples=count,
        class_names=[f"class {i}" for i in range(NUM_CLASSES)],
        fetch=lambda i: {
            "image": pixels[i], "label": labels[i], "name": tf.as_string(i)
        })


def random_flip(image, seed):
    """An op that makes the data depend on the example's seed."""
    return ops.flip_lr(image, seed)


EVALUATION = functools.partial(
    classification.Classification, source=lambda: images(13, seed=1),
    ops=[ops.decode, functools.partial(ops.resize, size=8), ops.value_range],
    batch_size=4, loss=losses.softmax_xent)
OPTIMIZER = functools.partial(
    optim.sgd, lr=0.1,
    schedule=functools.partial(schedules.cosine, warmup_steps=2))
EXPERIMENT = experiment.Experiment(
    model=functools.partial(
        vit.vit, num_classes=NUM_CLASSES, image_size=8, patch_size=4, width=8,
        depth=2, num_heads=2, mlp_dim=16, dropout_rate=0.3,
        attention_dropout_rate=0.1, stochastic_depth=0.2),
    train_source=lambda: images(22),
    train_data=functools.partial(
        pipeline.train, ops=[
            functools.partial(ops.decode_and_inception_crop, size=8),
            random_flip, ops.value_range
        ]),
    evaluators={"test": EVALUATION},
    loss=losses.softmax_xent,
    optimizer=OPTIMIZER,
    total_steps=20,
    batch_size=4,
    log_every=5,
    eval_every=10,
    checkpoint_every=7,
    clip_norm=1.0,
    strategy=strategies.one_device)


def recorded_vit(**changes):
    """The ViT of goldens/vit_*.npz, or a variant of it."""
    return vit.vit(**{"num_classes": 10, "image_size": 32, "patch_size": 8,
                      "width": 24, "depth": 2, "num_heads": 3, "mlp_dim": 48,
                      **changes})


def build(exp):
    """(model, state, train step, a batch) of an experiment."""
    run = build_lib.build(exp)
    model = run.model
    image_tower = model.img if isinstance(model, lit.LiT) else model
    shape = [exp.batch_size, *image_tower.input_shape[1:]]
    batch = {
        "images": tf.random.stateless_uniform(shape, [0, 0], -1.0, 1.0),
        "weights": tf.ones([exp.batch_size]),
    }
    numbers = tf.range(exp.batch_size, dtype=tf.int64)
    if image_tower is model:
        batch["labels"] = numbers
    else:
        batch["tokens"] = tf.tile(tf.cast(numbers, tf.int32)[:, None], [1, 8])
    return model, run.state, run.train_step, batch
