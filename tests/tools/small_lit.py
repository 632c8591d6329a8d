"""The model of gin/lit_shapes.gin, trained for seconds."""

import numpy as np
import tensorflow as tf
import tf_keras

from tfvit import experiment
from tfvit.data import tokenizers
from tfvit.data.datasets import shapes
from tfvit.data.datasets import source as source_lib
from tfvit.data.images import ops
from tfvit.inference import finished

STEPS = 160
BATCH = 64


def trained():
    """A finished.Trained, without the trainer, which takes longer to begin."""
    exp, config = experiment.from_config(["gin/lit_shapes.gin"], [])
    model = exp.model()
    tokenizer = tokenizers.wordpiece(vocab=shapes.vocabulary(), max_len=12)
    source = shapes.captioned(split="train", copies=4)
    examples = list(source_lib.pick(source, range(source.num_examples)))
    images = ops.value_range(tf.stack([one["image"] for one in examples]))
    tokens = tf.reshape(
        tokenizer(tf.concat([one["label"] for one in examples], 0)),
        [len(examples), len(shapes.TEXTS), tokenizer.max_len])
    optimizer = tf_keras.optimizers.legacy.Adam(2e-3)

    @tf.function
    def step(rows, captions):
        with tf.GradientTape() as tape:
            logits = model((tf.gather(images, rows), tf.gather(
                tf.gather(tokens, rows), captions, batch_dims=1)), training=True)
            loss = sum(tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(
                    tf.range(BATCH), each)) for each in (
                        logits, tf.transpose(logits)))
        weights = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))

    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        step(tf.constant(rng.choice(len(examples), BATCH, replace=False)),
             tf.constant(rng.integers(len(shapes.TEXTS), size=BATCH)))
    return finished.Trained(
        name="shapes", step=STEPS, ops=[ops.decode, ops.value_range],
        config=config, link="softmax", precision="float32", class_names=[],
        model=model, tokenizer=tokenizer, evaluations=({
            "prompts": ("a {}", "there is a {}"),
            "source": lambda: shapes.captioned(split="test", copies=1)},))
