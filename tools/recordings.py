"""Whole fine-tunings of the JAX original, and the same ones by tfvit.

A folder of recordings has `runs.json` (the original's configs, and what each
run logged), `data.tar` (folders of JPEG files), the weights that runs start
from, and the final ones of a run, with their logits.
"""

import contextlib
import dataclasses
import json
import os
import tarfile
import tempfile

import numpy as np
import tensorflow as tf

from tfvit import config
from tfvit import experiment
from tfvit.data import pipeline
from tfvit.data.datasets import source as source_lib
from tfvit.engine import build
from tfvit.weights import load

_FINAL = "vit", 0  # Kind and seed of the run whose final weights are recorded.
_BATCH = 100  # Of evaluation; it divides the images, as the original needs.
EXAMPLES = "val"  # What gin/data/folder.gin calls the split to test on.
_TWINS = {  # Of the two families: {ours: path in the original's config}.
    "ViT": ("vit", "vit.vit", {
        "width": "hidden_size", "depth": "transformer.num_layers",
        "num_heads": "transformer.num_heads", "mlp_dim": "transformer.mlp_dim",
        "dropout_rate": "transformer.dropout_rate",
        "attention_dropout_rate": "transformer.attention_dropout_rate",
        "classifier": "classifier"}),
    "Mixer": ("mixer", "mixer.mixer", {
        "width": "hidden_dim", "depth": "num_blocks",
        "tokens_mlp_dim": "tokens_mlp_dim",
        "channels_mlp_dim": "channels_mlp_dim"}),
}


class Recordings:
    """A folder of recordings, whose data is unpacked for as long as it is open.

    Attributes:
      folder: where they lie.
      kinds: {kind: the original's config}.
      runs: {kind: [what was logged of each seed]}.
      data: folder of the images.
    """

    def __init__(self, folder):
        """Raises ValueError where the folder holds no recordings."""
        path = os.path.join(folder, "runs.json")
        if not os.path.exists(path):
            raise ValueError(
                f"{folder} holds no recordings of the original: there is no "
                "runs.json in it.")
        self.folder, self.runs = folder, {}
        try:
            with open(path, encoding="utf-8") as f:
                found = json.load(f)
            self.kinds = found["configs"]
            for run in found["runs"].values():
                self.runs.setdefault(run["kind"], []).append(run)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path} does not have the configs and runs of recordings; "
                "tools/docs/architecture.md says what is in it.") from error
        self.data = None

    @contextlib.contextmanager
    def unpacked(self):
        """Inside, the images lie in `data`."""
        with tempfile.TemporaryDirectory() as folder:
            with tarfile.open(os.path.join(self.folder, "data.tar")) as tar:
                tar.extractall(folder, filter="data")
            self.data = os.path.join(folder, "data")
            yield self

    def recipe(self, kind):
        """(gin files, bindings) of the run that a recorded config asks for."""
        theirs = self.kinds[kind]
        model, size = theirs["model"], theirs["pp"]["crop"]
        module, name, twins = _TWINS[theirs["model_type"]]
        patch, *_ = model["patches"]["size"]
        start = os.path.join(self.folder, f"{model['model_name']}.npz")
        classes = len(os.listdir(os.path.join(self.data, "train")))
        numbers = {
            f"{name}.num_classes": classes, f"{name}.image_size": size,
            f"{name}.patch_size": patch,
            **{f"{name}.{ours}": _at(model, path)
               for ours, path in twins.items()},
            "IMAGE_SIZE": size, "FOLDER": self.data,
            "train/sources.folder.split": "train",
            f"{EXAMPLES}/sources.folder.split": "test",
            "load.from_npz.path": start,
            "experiment.Experiment.total_steps": theirs["total_steps"],
            "experiment.Experiment.batch_size": theirs["batch"],
            "experiment.Experiment.accum_steps": theirs["accum_steps"],
            "experiment.Experiment.clip_norm": theirs["grad_norm_clip"],
            "experiment.Experiment.log_every": theirs["eval_every"],
            "experiment.Experiment.eval_every": theirs["eval_every"],
            "experiment.Experiment.checkpoint_every": theirs["total_steps"],
            "optim.sgd.lr": theirs["base_lr"],
            "optim.sgd.accumulator": theirs["optim_dtype"],
            "schedules.cosine.warmup_steps": theirs["warmup_steps"],
            "classification.Classification.batch_size": _BATCH,
        }
        return (["gin/data/folder.gin", "gin/recipes/finetune.gin"],
                [f"experiment.Experiment.model = @{module}.{module}",
                 *(f"{key} = {value!r}" for key, value in numbers.items())])

    def final(self):
        """(path of the final weights of one run, its kind, what is of them).

        The last is {"logits" [N, C], "labels" [N], "files" [N], relative to
        `data`, "images" [n, H, W, 3], as preprocessed, of the first n}.
        """
        kind, seed = _FINAL
        name = f"{kind}_seed{seed}.npz"
        with np.load(os.path.join(self.folder, f"logits_{name}")) as file:
            return os.path.join(self.folder, f"final_{name}"), kind, dict(file)


def _at(tree, path):
    for name in path.split("."):
        tree = tree[name]
    return tree


class Ours:
    """The runs of one kind, which share the model and the compiled step."""

    def __init__(self, recordings, kind, overrides=((), ()),
                 original_input=False):
        """Builds and traces what they share.

        Args:
          recordings: Recordings, unpacked.
          kind: of the runs.
          overrides: gin files and bindings on top of the recorded recipe.
          original_input: train on original_batches in place of tfvit's.
        """
        files, bindings = recordings.recipe(kind)
        more_files, more_bindings = overrides
        if original_input:  # Its operations have no seeds of their own.
            bindings.append("experiment.Experiment.deterministic = False")
        exp, _ = experiment.from_config([*files, *more_files],
                                        [*bindings, *more_bindings])
        self.kind, self._original = kind, original_input
        self._images = os.path.join(recordings.data, "train")
        self.run = run = build.build(exp)
        exp.init(run.model)
        self._start = [(v, v.numpy()) for v in [
            run.state.step, *run.state.params.values(), *(
                v for slots in run.state.slots.values()
                for v in slots.values())]]
        run.evaluators  # pylint: disable=pointless-statement
        run.trace(run.batches())
        config.check_bindings_used()

    def train(self, seed):
        """Trains from the start.

        Args:
          seed: of the images' order, crops and flips; dropout's stays, as the
            original's does.

        Returns:
          A dict with the keys of a recorded run.
        """
        run = self.run
        exp = run.exp = dataclasses.replace(run.exp, seed=seed)
        for variable, value in self._start:
            variable.assign(value)
        batches = iter(original_batches(
            self._images, size=run.model.input_shape[1],
            batch_size=exp.batch_size,
            seed=seed)) if self._original else run.batches()
        losses, found = [], {}
        for step in range(exp.eval_every, exp.total_steps + 1, exp.eval_every):
            losses += run.train_step(batches, exp.eval_every)["loss"].numpy(
            ).tolist()
            found[str(step)] = run.evaluate()
        return {
            "kind": self.kind, "seed": seed, "train_loss": losses,
            "accuracy_test": {step: values[f"{EXAMPLES}/accuracy"]
                              for step, values in found.items()},
            "final_test_loss": found[str(exp.total_steps)][f"{EXAMPLES}/loss"],
            "moved": self._moved()}

    def _moved(self):
        """How far all weights together are from those at the start."""
        params = {id(v) for v in self.run.state.params.values()}
        return float(np.sqrt(sum(
            np.square(v.numpy() - value, dtype=np.float64).sum()
            for v, value in self._start if id(v) in params)))

    def judge(self, path, wanted):
        """Loads final weights of the original and runs them on its test images.

        Args:
          path: of the weights.
          wanted: see Recordings.final.

        Returns:
          {"logits", "images": largest differences, "accuracy", "loss": of our
          evaluator, "moved": distance from the start, as of a run}.

        Raises:
          ValueError: our order of the files is not that of the recording.
        """
        load.from_npz(self.run.model, path=path, reset_head=False)
        evaluator = self.run.evaluators[EXAMPLES]
        names = [name.decode() for name in source_lib.names(evaluator.source)]
        theirs = [str(name) for name in wanted["files"]]
        if [name[-len(end):] for name, end in zip(names, theirs)] != theirs:
            raise ValueError("The recorded logits are of files in another "
                             "order than a folder's.")
        dataset, count = pipeline.evaluate(
            source=evaluator.source, ops=evaluator.ops, batch_size=_BATCH)
        batches = [(batch["images"], batch["mask"].numpy() > 0)
                   for batch in dataset.take(count)]
        logits = np.concatenate([
            self.run.model(images, training=False).numpy()[mask]
            for images, mask in batches])
        images = np.concatenate([images.numpy()[mask]
                                 for images, mask in batches])
        values = self.run.evaluate()
        return {
            "logits": float(np.abs(logits - wanted["logits"]).max()),
            "images": float(np.abs(images[:len(wanted["images"])] -
                                   wanted["images"]).max()),
            "accuracy": values[f"{EXAMPLES}/accuracy"],
            "loss": values[f"{EXAMPLES}/loss"], "moved": self._moved()}


def original_batches(folder, *, size, batch_size, seed):
    """Yields {"images" (0 to 255), "labels"} as the original's pipeline does.

    With TensorFlow's stateful operations: its epochs, each in an order of its
    own, go through a buffer of as many files, from which the next one is drawn,
    so that one may come twice before another comes once; and what is cut out
    of an image is drawn anew in each run, whatever the seed.

    Args:
      folder: of a folder for each class.
      size: of the images [size, size, 3].
      batch_size: of a batch.
      seed: of the order and the flips.
    """
    classes = sorted(os.listdir(folder))
    files = [(os.path.join(folder, name, file), label)
             for label, name in enumerate(classes)
             for file in sorted(os.listdir(os.path.join(folder, name)))]
    names, labels = map(list, zip(*files))

    def example(name, label):
        image = tf.io.decode_jpeg(tf.io.read_file(name), channels=3)
        begin, extent, _ = tf.image.sample_distorted_bounding_box(
            tf.shape(image), tf.zeros([0, 0, 4]), area_range=(0.05, 1.0),
            min_object_covered=0.0, use_image_if_no_bounding_boxes=True)
        image = tf.ensure_shape(tf.slice(image, begin, extent), [None, None, 3])
        image = tf.image.random_flip_left_right(
            tf.image.resize(image, [size, size]))
        return {"images": image, "labels": label}

    tf.random.set_seed(seed)
    data = tf.data.Dataset.from_tensor_slices(
        (names, tf.constant(labels, tf.int64)))
    data = data.shuffle(len(files)).repeat().shuffle(len(files))
    data = data.map(example, tf.data.AUTOTUNE)
    return data.batch(batch_size, drop_remainder=True).prefetch(2)
