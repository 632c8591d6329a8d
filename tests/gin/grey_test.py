"""A run on one's own files, of grey images, from training to predictions."""
import gin
import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from tests.data.images import upright_test
from tfvit import config
from tfvit import experiment
from tfvit import trainer
from tfvit.data.images import ops
from tfvit.data.images import randaug
from tfvit.engine import run_config
from tfvit.inference import finished

RUN = """
include 'gin/data/manifest.gin'
from __gin__ import dynamic_registration
from tfvit import experiment
from tfvit.data import pipeline
from tfvit.data.images import ops
from tfvit.evaluators import classification
from tfvit.models import vit
from tfvit.optimize import losses
from tfvit.optimize import optim
from tfvit.optimize import schedules

experiment.Experiment.model = @vit.vit
vit.vit.num_classes = 2
vit.vit.image_size = 8
vit.vit.patch_size = 4
vit.vit.width = 8
vit.vit.depth = 1
vit.vit.num_heads = 2
vit.vit.mlp_dim = 8
vit.vit.channels = 1
experiment.Experiment.loss = @losses.softmax_xent
experiment.Experiment.optimizer = @optim.sgd
experiment.Experiment.train_data = @pipeline.train
experiment.Experiment.total_steps = 2
experiment.Experiment.batch_size = 4
experiment.Experiment.log_every = 1
experiment.Experiment.eval_every = 2
experiment.Experiment.checkpoint_every = 2
optim.sgd.lr = 0.1
optim.sgd.schedule = @schedules.cosine
schedules.cosine.warmup_steps = 1
pipeline.train.ops = [@ops.decode_and_inception_crop, @ops.value_range]
ops.decode_and_inception_crop.size = 8
ops.decode_and_inception_crop.channels = 1
classification.Classification.ops = [@ops.decode, @ops.resize, @ops.value_range]
classification.Classification.loss = @losses.softmax_xent
classification.Classification.batch_size = 4
ops.resize.size = 8
ops.decode.channels = 1
"""


@pytest.fixture
def files(tmp_path):
    """A table of 20 photos of all orientations, and the run's file."""
    lines = ["image,label"]
    for i in range(20):
        kind = ("JPEG", "PNG", "WEBP")[i % 3]
        (tmp_path / f"{i}").write_bytes(upright_test.encode(
            kind, upright_test.tiff(i % 8 + 1)))
        lines.append(f"{i},{'ab'[i % 2]}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    (tmp_path / "grey.gin").write_text(RUN)
    return tmp_path


def parse(files, *bindings):
    config_text = config.parse([str(files / "grey.gin")], [
        f"MANIFEST = '{files}/table.csv'", *bindings])
    return gin.get_configurable(experiment.Experiment)(), config_text


@pytest.mark.slow
def test_grey_photos_are_trained_on_evaluated_and_served_upright(files):
    exp, text = parse(files)
    workdir = str(files / "run")
    run_config.save(text, workdir, started=False)
    metrics = trainer.train(exp, workdir)
    assert np.isfinite(metrics["val"]["loss"])
    trained = finished.load(workdir)
    assert trained.model.input_shape == (None, 8, 8, 1)
    photos = [(files / str(i)).read_bytes() for i in range(8)]
    images, error = trained.server().preprocess(tf.constant(photos))
    assert not any(error.numpy())
    for photo, image in zip(photos, images):
        grey = Image.fromarray(upright_test.by_pillow(photo)).convert("L")
        small = ops.resize(np.array(grey)[..., None], size=8)
        expected = ops.value_range(small)
        np.testing.assert_allclose(image, expected, atol=0.06)
    out = trained.server().classify(tf.constant(photos))
    np.testing.assert_allclose(out["probabilities"].numpy().sum(-1), 1,
                               atol=1e-5)


@pytest.mark.parametrize("binding, message", [
    ("ops.decode_and_inception_crop.channels = 3",
     r"pipeline.train.ops are \(8, 8, 3\), the model takes \(8, 8, 1\)"),
    ("ops.decode.channels = 3", r"evaluator 'val' are \(8, 8, 3\)"),
    ("vit.vit.channels = 3", r"are \(8, 8, 1\), the model takes \(8, 8, 3\)"),
])
def test_channels_that_do_not_fit_are_an_error(files, binding, message):
    exp, _ = parse(files, binding)
    with pytest.raises(ValueError, match=message):
        trainer.train(exp, str(files / "run"))


@pytest.mark.slow
def test_one_of_the_decoders_may_leave_upright_to_the_other(files):
    exp, _ = parse(files, "pipeline.train.ops = [@ops.decode, @ops.resize, "
                   "@ops.value_range]")
    # The crop's settings go with it; what gin/data says of both is no mistake.
    assert "val" in trainer.train(exp, str(files / "run"))


def test_randaugment_of_grey_images_is_an_error():
    with pytest.raises(ValueError, match="randaug works on colours"):
        randaug.randaugment(np.zeros([8, 8, 1], np.uint8), [0, 0], layers=1,
                            magnitude=5)
