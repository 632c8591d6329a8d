"""Others train on what is exported, with TensorFlow alone or TensorFlow Hub."""
import sys
import types

from numpy import testing
import numpy as np
from packaging import version
import pytest
import tensorflow as tf
import tf_keras

from tests.serving import samples
from tests.serving import saved_test
from tfvit.serving import saved

LABELS = np.arange(8) % 2  # Dark or bright.
IMAGES = np.random.default_rng(0).uniform(size=[8, 16, 16, 3]) / 4
IMAGES = (IMAGES + 0.75 * LABELS[:, None, None, None]).astype(np.float32)


def model(name="token"):
    return samples.model(name, dropout_rate=0.1)


def write(out, made, **options):
    server = samples.server(made=made, **options)
    return saved.write(server, out=str(out), step=7, class_names=samples.NAMES,
                       config="", record=saved_test.RECORD, model_name="toy",
                       warmup_batches=[])


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Of the same model, called for its logits and for its features."""
    out = tmp_path_factory.mktemp("exports")
    return {reuse: write(out / reuse, model(), reuse=reuse, only=["images"])
            for reuse in ("logits", "features")}


def loss_of(logits):
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=LABELS, logits=logits))


def test_a_loaded_export_is_called_with_images_from_0_to_1(paths):
    made = model()
    loaded = tf.saved_model.load(paths["logits"])
    testing.assert_allclose(loaded(IMAGES), made(IMAGES * 2 - 1), atol=1e-5)
    signature = loaded.signatures["images"]
    testing.assert_allclose(
        signature(images=tf.constant(IMAGES * 2 - 1))["logits"],
        loaded(IMAGES), atol=1e-5)
    features = tf.saved_model.load(paths["features"])(IMAGES)
    head = made.get_layer("head")
    testing.assert_allclose(features @ head.kernel + head.bias, loaded(IMAGES),
                            atol=1e-5)


def test_training_drops_out_what_the_model_does(paths):
    loaded = tf.saved_model.load(paths["logits"])
    runs = [loaded(IMAGES, training=True).numpy() for _ in range(2)]
    assert np.ptp(runs, axis=0).max() > 0.01
    testing.assert_array_equal(*[loaded(IMAGES, training=False)
                                 for _ in range(2)])


def test_twenty_steps_of_tensorflow_alone_lower_the_loss(paths):
    loaded = tf.saved_model.load(paths["logits"])
    made = model()
    assert [v.shape for v in loaded.trainable_variables] == [
        v.shape for v in made.trainable_variables]
    assert len(loaded.variables) == len(made.variables)
    assert list(loaded.regularization_losses) == []
    before = [v.numpy() for v in loaded.trainable_variables]
    optimizer = tf_keras.optimizers.Adam(0.01)
    first = loss_of(loaded(IMAGES))
    for _ in range(20):
        with tf.GradientTape() as tape:
            loss = loss_of(loaded(IMAGES, training=True))
        optimizer.minimize(loss, loaded.trainable_variables, tape=tape)
    assert loss_of(loaded(IMAGES)) < 0.5 * first
    assert all(np.ptp(v.numpy() - old) > 0 for v, old in zip(
        loaded.trainable_variables, before) if old.size > 1)


@pytest.fixture(scope="module")
def hub():
    if "pkg_resources" not in sys.modules:
        # It only compares two versions with it; newer setuptools lack it.
        sys.modules["pkg_resources"] = types.SimpleNamespace(
            parse_version=version.parse)
    return pytest.importorskip("tensorflow_hub")


@pytest.mark.parametrize("reuse", [
    "logits", pytest.param("features", marks=pytest.mark.slow)])
def test_twenty_steps_of_a_layer_of_tensorflow_hub_lower_the_loss(
        hub, paths, reuse):
    layer = hub.KerasLayer(paths[reuse], trainable=True)
    learner = tf_keras.Sequential([layer, tf_keras.layers.Dense(7)])
    learner.compile("adam", tf_keras.losses.SparseCategoricalCrossentropy(True))
    learner.build([None, 16, 16, 3])
    assert len(layer.trainable_variables) == len(model().trainable_variables)
    learner.optimizer.learning_rate = 0.01
    first = learner.evaluate(IMAGES, LABELS, verbose=0)
    learner.fit(IMAGES, LABELS, epochs=20, batch_size=8, verbose=0)
    assert learner.evaluate(IMAGES, LABELS, verbose=0) < 0.5 * first
    frozen = hub.KerasLayer(paths[reuse])
    assert not frozen.trainable_variables
