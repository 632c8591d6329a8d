# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Fine-tune a Vision Transformer on your own images
#
# From a folder of photos to a served model. Everything works offline, with drawn
# images and a small model from scratch; on a machine with a network set `DATA` to
# your folder (`{class}/*.jpg`), `MODEL = "S_16"` and `WEIGHTS = None`, and the same
# cells fine-tune a published checkpoint.

# %%
try:
    import tfvit
except ImportError:  # In a fresh environment, once; ../.. is the checkout.
    # %pip install -q "../..[notebooks]"
    import tfvit

# %%
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from IPython import display
from matplotlib import pyplot as plt
from matplotlib_inline import backend_inline
import numpy as np
import pandas as pd

backend_inline.set_matplotlib_formats("jpeg")

DATA = None  # Your folder; None draws one.
MODEL, WEIGHTS = "tiny", "none"  # "S_16", None: the recommended checkpoint.
IMAGE_SIZE = 32  # None: that of the checkpoint.
SETTINGS = [  # []: those of the model, and the papers' learning rate.
    "vit.vit.patch_size = 4", "vit.vit.width = 64", "vit.vit.depth = 4",
    "vit.vit.num_heads = 4", "vit.vit.mlp_dim = 128", "optim.adamw.lr = 2e-3",
    "ops.decode_and_inception_crop.area_min = 30"]  # Percent; the papers' is 5.
HERE = pathlib.Path(tempfile.mkdtemp())


def grid(images, titles=(), columns=8, cmap=None):
    """Draws images uint8 or in [-1, 1], or heat maps, in rows."""
    rows = -(-len(images) // columns)
    _, axes = plt.subplots(rows, columns, squeeze=False,
                           figsize=(1.5 * columns, 1.9 * rows))
    for axis, image, title in itertools.zip_longest(axes.flat, images, titles):
        axis.axis("off")
        if image is None:
            continue
        image = np.asarray(image)
        if image.dtype != np.uint8 and not cmap:
            image = np.uint8(np.round((image + 1) * 127.5))
        axis.imshow(image, cmap=cmap)
        axis.set_title(title or "", fontsize=9)
    plt.tight_layout()
    plt.show()


# %% [markdown]
# ## What can be loaded
#
# The files that Google published, and the architectures that they are of.

# %%
names = pd.Series(tfvit.list_checkpoints(), name="checkpoint")
names.groupby(names.str.split("/").str[0]).agg(["count", "first"])

# %%
print(*tfvit.list_models())

# %% [markdown]
# A published one by its name, where the network reaches it (or the file lies in
# the cache). Where not, the sentence says how to put it there by hand.

# %%
try:
    published = tfvit.load("imagenet21k+imagenet2012/ViT-B_16-224")
    print(published)
except OSError as error:
    print("Not here, so what follows starts from scratch:\n",
          str(error).replace(str(pathlib.Path.home()), "~"))

# %% [markdown]
# ## The data
#
# Six shapes in many colours, sizes and places, as JPEG files in a folder for each.

# %%
from PIL import Image
from tfvit.data.datasets import shapes


def draw(folder, count, random):
    for name, inside in shapes.SHAPES.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            y, x = np.mgrid[:64, :64]
            radius, (cy, cx) = random.uniform(9, 20), random.uniform(22, 42, 2)
            mask = inside((x - cx) / radius, (y - cy) / radius)[..., None]
            paint, ground = random.uniform(90, 255, 3), random.uniform(0, 90, 3)
            pixels = np.where(mask, paint, ground)
            pixels += random.normal(0, 12, pixels.shape)
            Image.fromarray(np.uint8(pixels.clip(0, 255))).save(
                folder / name / f"{number:03}.jpg", quality=90)


if DATA is None:
    DATA = HERE / "shapes"
    draw(DATA, 120, np.random.default_rng(0))
files = sorted(pathlib.Path(DATA).glob("*/*"))
some = files[::max(len(files) // 12, 1)][:12]
grid([np.asarray(Image.open(file).convert("RGB")) for file in some],
     [file.parent.name for file in some], columns=6)

# %% [markdown]
# ## The plan
#
# What is not said is chosen as the papers did for so many images; the summary says
# what, and why. `batch` is what the first update will see, augmented.

# %%
plan = tfvit.plan(
    DATA, model=MODEL, weights=WEIGHTS, image_size=IMAGE_SIZE, epochs=30,
    batch_size=32, out=str(HERE / "run"), bindings=SETTINGS)
print(plan.summary.replace(str(HERE), "..."))

# %%
batch = plan.batch()
classes = sorted({file.parent.name for file in files})
grid(batch["images"][:16], [classes[label] for label in batch["labels"][:16]])

# %% [markdown]
# ## Before
#
# The head starts at zero: every class is as likely as the others, and what is
# right is right by chance.

# %%
before = plan.model()
logits = before(batch["images"]).numpy()
odds = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
pd.DataFrame(odds[:3].round(3), columns=classes,
             index=[f"a {classes[label]}" for label in batch["labels"][:3]])

# %% [markdown]
# ## Training
#
# The curves are drawn while it trains. Interrupting the kernel saves; running the
# cell again goes on, with the same numbers as if it had never stopped.

# %%
rows = []
canvas = display.display("", display_id=True)


def live(step, values):
    rows.append({"step": step, **values})
    table = pd.DataFrame(rows).groupby("step").last()
    figure, axes = plt.subplots(1, 3, figsize=(11, 2.6))
    for axis, name in zip(axes, ("train/loss", "train/lr", "val/accuracy")):
        if name in table:
            table[name].dropna().plot(ax=axis, title=name, marker=".")
    figure.tight_layout()
    canvas.update(figure)
    plt.close(figure)


run = plan.train(on_metrics=live)

# %%
evaluated = run.evaluate("best")["val"]
pd.Series(evaluated, name="best checkpoint, validation").to_frame()

# %% [markdown]
# ## What it gets wrong
#
# On images that it has not seen: those it is least sure of, or wrong about.

# %%
model = run.model("best")
fresh = HERE / "fresh"
if not fresh.exists():
    draw(fresh, 20, np.random.default_rng(1))
test = sorted(fresh.glob("*/*")) if IMAGE_SIZE == 32 else files
answers = model.predict(test, top_k=1)
right = np.array([answer[0][0] == file.parent.name
                  for answer, file in zip(answers, test)])
score = np.array([answer[0][1] for answer in answers])
print(f"{right.mean():.3f} of {len(test)} images are right")
worst = np.argsort(np.where(right, 1 + score, score))[:12]
grid([np.asarray(Image.open(test[i]).convert("RGB")) for i in worst],
     [f"{test[i].parent.name}\n{answers[i][0][0]} {score[i]:.2f}"
      for i in worst], columns=6)

# %% [markdown]
# ## Where it looks
#
# Attention rollout: how much flows from each patch to the answer. Below each
# image its map, bright where much does.

# %%
some = test[::max(len(test) // 6, 1)][:6]
grid(model.preprocess(some), columns=6)
grid(model.attention(some)["rollout"], columns=6, cmap="inferno")

# %% [markdown]
# ## Export, and serve
#
# A SavedModel that TensorFlow Serving takes as it is: bytes of files in, classes
# out. `tfvit serve` answers over the same REST addresses without Docker.

# %%
folder = run.export(HERE / "exports" / "shapes", checkpoint="best", warmup=())
for path in sorted(pathlib.Path(folder).rglob("*")):
    if path.is_file():
        print(f"{path.stat().st_size:>9,}  {path.relative_to(folder)}")

# %%
import base64
import socket
import time

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
server = subprocess.Popen(
    [sys.executable, "-m", "tfvit", "serve", str(HERE / "exports" / "shapes"),
     f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
request = urllib.request.Request(
    f"http://127.0.0.1:{port}/v1/models/shapes:predict",
    json.dumps({"instances": [{"b64": base64.b64encode(
        test[0].read_bytes()).decode()}]}).encode())
while server.poll() is None:
    try:
        answer = json.load(urllib.request.urlopen(request))["predictions"][0]
        break
    except OSError:  # It loads the model.
        time.sleep(0.5)
server.terminate()
print({name: round(value, 4) for name, value in zip(
    answer["classes"], answer["scores"])}, "for a", test[0].parent.name)

# %% [markdown]
# More: `help(tfvit.plan)`, `help(tfvit.Model)`, and the pages under `tools/docs`.
