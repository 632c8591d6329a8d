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
# # LiT: what an image is, in your own words
#
# A model of two towers (arXiv 2111.07991): one embeds images, the other texts, and
# what belongs together lies close together. So it classifies into classes that it
# was never trained on: they are named when they are asked for. The published ones
# need a download; this notebook trains a small one, on drawn shapes, in minutes,
# and tests it on combinations of shape, colour and place that it has never seen.

# %%
try:
    import tfvit
except ImportError:  # In a fresh environment, once; ../.. is the checkout.
    # %pip install -q "../..[notebooks]"
    import tfvit

import os
import pathlib
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from IPython import display
from matplotlib import pyplot as plt
from matplotlib_inline import backend_inline
import numpy as np
import pandas as pd
from tfvit.data import prompts
from tfvit.data.datasets import shapes

backend_inline.set_matplotlib_formats("jpeg")
HERE = pathlib.Path(tempfile.mkdtemp())

# %% [markdown]
# ## The published ones

# %%
try:
    published = tfvit.load("lit/LiT-B16B")
    print(published)
except OSError as error:
    print("Not here:", str(error).replace(str(pathlib.Path.home()), "~"))
print(*tfvit.list_checkpoints("lit/*"))

# %% [markdown]
# ## Train one
#
# Both towers from scratch here; LiT proper locks the image tower of a model that is
# trained already. `retrieval` counts how often the right text is the nearest to an
# image, and the right image to a text.

# %%
recipe = tfvit.recipe("gin/lit_shapes.gin", [
    "experiment.Experiment.total_steps = 800",
    "experiment.Experiment.eval_every = 200"])
canvas, rows = display.display("", display_id=True), []


def live(step, values):
    rows.append({"step": step, **values})
    curves = pd.DataFrame(rows).groupby("step").last()
    figure, axes = plt.subplots(1, 3, figsize=(11, 2.6))
    for axis, name in zip(axes, ("train/loss", "train/lr",
                                 "zeroshot/accuracy")):
        if name in curves:
            curves[name].dropna().plot(ax=axis, title=name, marker=".")
    figure.tight_layout()
    canvas.update(figure)
    plt.close(figure)


run = recipe.train(HERE / "shapes", on_metrics=live)

# %%
pd.Series({name: value for name, value in run.metrics.items()
           if not name.startswith("train/")}).round(3).to_frame("value")

# %% [markdown]
# ## Two towers
#
# Embeddings have length 1, so that their product is the cosine of the angle between
# them. Eight images that the model has not seen, and their captions:

# %%
model = run.model()
test = shapes.labelled(split="test", copies=1)
examples = list(test.examples().as_numpy_iterator())  # One of each class.
images = [example["image"] for example in examples[::7]]
names = test.class_names[::7]
captions = [f"a {name}" for name in names]
z_images, z_texts = model.features(images), model.embed_texts(captions)
print(z_images.shape, z_texts.shape, np.linalg.norm(z_images, axis=-1).round(4))

# %%
figure, axis = plt.subplots(figsize=(8.5, 5))
shown = axis.imshow(z_texts @ z_images.T, cmap="viridis", vmin=-0.2, vmax=1)
axis.set_yticks(range(len(captions)), captions, fontsize=9)
axis.set_xticks([])
for i, image in enumerate(images):
    inset = axis.inset_axes([i / len(images) + 0.01, -0.15,
                             1 / len(images) - 0.02, 0.13])
    inset.imshow(image)
    inset.axis("off")
figure.colorbar(shown, label="cosine")
plt.show()

# %% [markdown]
# ## Zero-shot
#
# Probabilities over texts: a softmax of the cosines, times a temperature that was
# trained. Rows are images; in each, the right caption wins.

# %%
table = pd.DataFrame(model.zeroshot(images, names, prompts=["a {}"]),
                     columns=names)
table.index = [f"image of {name}" for name in names]
table.style.format("{:.2f}").background_gradient(cmap="Blues", axis=None)

# %% [markdown]
# A class may be asked for in several sentences, whose embeddings are averaged. CLIP's
# 8 and 81 help models that have read captions from the web; this one knows 27 words,
# and each sentence in words that it does not know costs it some accuracy.

# %%
pictures = [example["image"] for example in examples]
labels = [example["label"] for example in examples]


def accuracy(templates):
    found = model.zeroshot(pictures, test.class_names, prompts=templates)
    return np.mean(found.argmax(-1) == labels)


pd.Series({"1 of its own": accuracy(["a {}"]),
           "2 of its own": accuracy(["a {}", "there is a {}"]),
           "1": accuracy(prompts.class_name_only),
           "8 (CLIP)": accuracy(prompts.clip_best),
           "81 (CLIP)": accuracy(prompts.clip_paper)},
          name="accuracy of 54 unseen classes").round(3).to_frame()

# %% [markdown]
# ## Find images by a text

# %%
z_all = model.features(pictures)
queries = ["a red circle at the top left", "there is a green circle in the right",
           "bottom a cross that is white"]
figure, axes = plt.subplots(len(queries), 6, figsize=(8, 4.2))
for row, query in zip(axes, queries):
    nearest = np.argsort(-(z_all @ model.embed_texts([query])[0]))[:6]
    for axis, i in zip(row, nearest):
        axis.imshow(pictures[i])
        axis.axis("off")
    row[0].set_title(query, loc="left", fontsize=10)
plt.tight_layout()
plt.show()

# %% [markdown]
# ## Use it
#
# `run.export(...)` writes a SavedModel with the tokenizer inside: texts and files in,
# embeddings and probabilities out. `tfvit export --format=browser` makes a web page
# of it that needs no server: type what it might be, see what it is. `tfvit demo`
# shows it at once, here `tfvit demo --model=runs/lit_shapes` after
# `tfvit train --gin_file=gin/lit_shapes.gin`:
#
# ![The model of shapes in a browser](../docs/demo.png)
