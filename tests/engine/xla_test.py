"""The whole train step is one XLA program: what a TPU demands of it.

No TPU is needed to find out: here XLA compiles for the CPU, with the shapes
static, and refuses any op that it does not know.
"""

import dataclasses
import functools
import pathlib
import re

import gin
import numpy as np
import pytest
import tensorflow as tf

from tests import toy
from tfvit import config
from tfvit.optimize import losses
from tfvit.optimize import objectives

ROOT = pathlib.Path(config.ROOT)
MODELS = sorted(path.stem for path in (ROOT / "gin/models").glob("*.gin"))
MACROS = {"NUM_CLASSES": toy.NUM_CLASSES, "IMAGE_SIZE": 32}
# Where the model binds them.
SMALL = {
    "vit.vit.width": 8, "vit.vit.depth": 2, "vit.vit.num_heads": 2,
    "vit.vit.mlp_dim": 16, "vit.vit.patch_size": 8,
    "mixer.mixer.width": 8, "mixer.mixer.depth": 2,
    "mixer.mixer.patch_size": 8, "mixer.mixer.tokens_mlp_dim": 8,
    "mixer.mixer.channels_mlp_dim": 16,
    "lit.lit.out_dim": (None, 8), "vit.vit.image_size": 32,
    **{f"{text}.{name}": value
       for text in ("bert.bert", "text_tower.text_transformer")
       for name, value in {"width": 8, "depth": 2, "num_heads": 2,
                           "mlp_dim": 16, "vocab_size": 50}.items()},
    "text_tower.text_transformer.max_len": 8,
}
compiled = {}  # Config at small size -> losses of three steps.


def small(name):
    """Parses a model's gin file at small size; returns the config as text."""
    file = [f"gin/models/{name}.gin"]
    bind = lambda values: [f"{k} = {v}" for k, v in values.items()]
    # Models of images and texts use neither macro.
    text = config.parse(file, bind(MACROS))
    bound = {k: v for k, v in SMALL.items() if f"\n{k} = " in text}
    if "\nvit.vit.width = " in text:  # What has dropout holds what has none.
        bound["vit.vit.dropout_rate"] = 0.1
    if blocks := re.search(r"\nresnet.resnet_stem.blocks = \((.*)\)", text):
        del bound["vit.vit.patch_size"]  # The stem's cells may be one patch.
        if blocks[1]:
            bound["resnet.resnet_stem.blocks"] = (1, 1)
    return config.parse(file, bind({**MACROS, **bound}))


class Same:
    """An iterator that a compiled function can hold."""

    def __init__(self, batch):
        self._batch = batch

    def __next__(self):
        return self._batch


def three_steps(exp):
    """Losses of three steps, compiled into one program."""
    # As trainer.train does; some kernels have no such form in XLA.
    tf.config.experimental.enable_op_determinism()
    _, state, train, batch = toy.build(dataclasses.replace(exp, jit=True))

    @functools.partial(tf.function, jit_compile=True)
    def whole(batch):
        return train(Same(batch), 3)

    values = whole(batch)
    assert state.step.numpy() == 3
    return values["loss"].numpy()


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_whole_step_of_a_model_is_one_program(name):
    text = re.sub(r"^#.*\n", "", small(name), flags=re.MULTILINE)
    if text not in compiled:
        model = gin.query_parameter("experiment.Experiment.model")
        exp = dataclasses.replace(toy.EXPERIMENT,
                                  model=model.scoped_configurable_fn)
        if name.startswith("lit_"):
            exp = dataclasses.replace(
                exp, objective=objectives.Contrastive,
                loss=losses.contrastive_softmax, frozen="img/.*")
        compiled[text] = three_steps(exp)
    before, _, after = compiled[text]
    # The first learning rate of a warm-up is zero.
    assert np.isfinite([before, after]).all() and after != before
    if not name.startswith("lit_"):  # The head starts at zero.
        np.testing.assert_allclose(before, np.log(toy.NUM_CLASSES), rtol=1e-5)


@pytest.mark.slow
def test_so_is_what_training_can_add():
    exp = dataclasses.replace(toy.EXPERIMENT, precision="mixed_bfloat16",
                              accum_steps=2, ema_decay=0.9)
    assert np.isfinite(three_steps(exp)).all()


def test_an_op_outside_xla_is_refused():

    def loss(logits, labels):
        return tf.numpy_function(np.abs, [losses.softmax_xent(logits, labels)],
                                 tf.float32)

    with pytest.raises(tf.errors.InvalidArgumentError, match="unsupported op"):
        three_steps(dataclasses.replace(toy.EXPERIMENT, loss=loss))
