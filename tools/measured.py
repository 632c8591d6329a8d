"""What models cost, by tracing them: fills models.json for tools/models.py."""

import dataclasses
import json
import multiprocessing
import os

import numpy as np
import tensorflow as tf

from tfvit import experiment
from tfvit.data.datasets import sources
from tfvit.engine import build
from tfvit.engine import dry_run

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "models.json")
BATCH = 32
SIZES = (224, 384)  # Pixels; Mixers and LiT are published for the first.
CLASSES = 1000
_COMMON = [
    "experiment.Experiment.train_source = None",
    "experiment.Experiment.evaluators = {}",
    "experiment.Experiment.writers = []",
    "experiment.Experiment.total_steps = 1_000",
    "experiment.Experiment.accum_steps = 1",
    f"experiment.Experiment.batch_size = {BATCH}",
]
_IMAGES = ["gin/recipes/finetune.gin"], [f"NUM_CLASSES = {CLASSES}"]
_TEXTS = ["gin/recipes/lit.gin"], [
    "experiment.Experiment.train_source = @shapes.captioned",
    "shapes.captioned.split = 'train'",
    "shapes.captioned.copies = 1",
    "tokenizers.wordpiece.vocab = @shapes.vocabulary()",
    "schedules.cosine.warmup_steps = 100",
    "experiment.Experiment.init = @load.from_npz",  # Not called.
]


def cost(name, image_size):
    """{"gmacs", "memory"} of one of gin/models.

    gmacs: billions of multiplications with an addition of the model's outputs
    for one image, of a LiT those of its image tower. memory: bytes that the dry
    run estimates for training: in float32, a batch of 32 at once, SGD with
    bfloat16 momentum (gin/recipes/finetune.gin); of a LiT its text tower alone
    is trained, by Adam (gin/recipes/lit.gin).
    """
    two_towers = name.startswith("lit_")
    files, bindings = _TEXTS if two_towers else _IMAGES
    size = "vit.vit.image_size" if two_towers else "IMAGE_SIZE"
    bindings = [*_COMMON, *bindings, f"{size} = {image_size}"]
    if two_towers:
        bindings.append(f"ops.resize.size = {image_size}")
    exp, _ = experiment.from_config([f"gin/models/{name}.gin", *files],
                                    bindings)
    if not two_towers:
        exp = dataclasses.replace(exp, train_source=_blank)
    report = dry_run.report(exp, "runs/none")
    model = build.build(exp, strategy=tf.distribute.get_strategy(),
                        training=False).model
    flops = dry_run.forward_flops(getattr(model, "img", model))
    return {"gmacs": round(flops / 2e9, 3), "memory": report["memory in all"]}


def _blank():
    """A source of one black image of each class."""
    images = np.zeros([CLASSES, 8, 8, 3], np.uint8)
    return sources.arrays(images=images, labels=np.arange(CLASSES),
                          class_names=[str(i) for i in range(CLASSES)])


def update(names):
    """Traces models of those names and writes what they cost into FILE."""
    found = {}
    if os.path.exists(FILE):
        with open(FILE, encoding="utf-8") as f:
            found = json.load(f)
    # A process for each: TensorFlow keeps the memory of all it has built.
    with multiprocessing.get_context("spawn").Pool(
            1, maxtasksperchild=1) as pool:
        for name in names:
            one_size = name.startswith(("lit_", "mixer_"))
            found[name] = {
                str(size): pool.apply(cost, (name, size))
                for size in (SIZES[:1] if one_size else SIZES)}
            lines = (f"{json.dumps(key)}: {json.dumps(found[key])}"
                     for key in sorted(found))
            with open(FILE, "w", encoding="utf-8") as f:
                f.write("{\n" + ",\n".join(lines) + "\n}\n")
            print(name, found[name], flush=True)
