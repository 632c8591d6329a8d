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
# # The 50,000 checkpoints of "How to train your ViT?"
#
# AugReg (arXiv 2106.10270) published every model of its study: 10 architectures,
# two pre-training sets, 28 combinations of augmentation and regularisation, and
# each fine-tuned on five datasets. A table of all of them, `augreg/index.csv`, says
# how each was made and how good it is. This notebook reads it, chooses, and loads.

# %%
try:
    import tfvit
except ImportError:  # In a fresh environment, once; ../.. is the checkout.
    # %pip install -q "../..[notebooks]"
    import tfvit

import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from matplotlib import pyplot as plt
from matplotlib_inline import backend_inline
import numpy as np
import pandas as pd
from PIL import Image
from tfvit.weights import augreg
from tfvit.weights import fetch
from tfvit.weights import load

backend_inline.set_matplotlib_formats("jpeg")
HERE = pathlib.Path(tempfile.mkdtemp())

# %% [markdown]
# ## The table
#
# Where the published file cannot be reached, the next cell says so and makes one
# with the same columns. **Its numbers are then drawn at random**: only the code
# below is of use, not the figures.

# %%
MODELS = {  # Roughly: parameters in millions, images/s on a V100.
    "Ti/16": (5.7, 2891), "S/32": (22.9, 3465), "S/16": (22.1, 1264),
    "B/32": (88.2, 1586), "B/16": (86.6, 464), "L/16": (304.3, 148),
    "R+Ti/16": (6.3, 2300), "R26+S/32": (36.4, 1600), "R50+L/32": (329.0, 420),
    "B/8": (86.6, 80)}


def made_up():
    """Rows with the columns of index.csv, and numbers from nowhere."""
    random = np.random.default_rng(0)
    for name, (params, speed) in MODELS.items():
        for ds, aug, wd in ((ds, aug, wd) for ds in ("i1k", "i21k")
                            for aug in ("none", "light1", "medium2", "strong1")
                            for wd in (0.03, 0.1)):
            made = augreg.Name(
                model=name.replace("/", "_").replace("+", "_"), ds=ds,
                epochs=300, lr=0.001, aug=aug, wd=wd, do=0.0, sd=0.0)
            final = random.normal(0.45 if ds == "i21k" else 0.75, 0.02)
            tuned = random.normal(0.72 + 0.02 * np.log(params), 0.01)
            for adapt_ds in ("cifar100", "imagenet2012", "oxford_iiit_pet"):
                for lr in (0.003, 0.01, 0.03):
                    score = tuned + random.normal(0, 0.01)
                    yield {
                        "name": name, "ds": ds, "epochs": 300, "lr": 0.001,
                        "aug": aug, "wd": wd, "do": 0.0, "sd": 0.0,
                        "best_val": final, "final_val": final,
                        "final_test": final, "adapt_ds": adapt_ds,
                        "adapt_lr": lr, "adapt_steps": 10_000,
                        "adapt_resolution": 384, "adapt_final_val": score,
                        "adapt_final_test": score, "params": params * 1e6,
                        "infer_samples_per_sec": speed, "filename": str(made),
                        "adapt_filename": f"{made}--{adapt_ds}-steps_10k-"
                                          f"lr_{lr}-res_384"}


try:
    index, published = augreg.read_index(), True
except OSError as error:
    print("Not the published table:",
          str(error).replace(str(pathlib.Path.home()), "~"))
    pd.DataFrame(made_up()).to_csv(HERE / "index.csv", index=False)
    index, published = augreg.read_index(str(HERE / "index.csv")), False
table = pd.DataFrame(index)
table.sample(3, random_state=0).T

# %% [markdown]
# ## What is there

# %%
print(len(table), "fine-tuned files of", table.filename.nunique(), "models")
table.groupby(["adapt_ds", "adapt_resolution"]).size().unstack()

# %%
upstream = table.drop_duplicates("filename")
upstream.pivot_table(index="name", columns=["ds", "aug"], values="final_val",
                     aggfunc="max").loc[list(MODELS)].round(3)

# %% [markdown]
# ## The best of each architecture
#
# By accuracy on held-out pre-training images, which is how the paper chose, and what
# `tfvit.load("augreg/B_16")` and `tfvit finetune --model=B_16` take.

# %%
best = (upstream[upstream.ds == "i21k"].sort_values("final_val")
        .groupby("name").last().loc[list(MODELS)])
best[["final_val", "aug", "wd", "do", "sd", "filename"]].style.format(
    "{:.3g}", subset=["final_val", "wd", "do", "sd"])

# %% [markdown]
# ## Accuracy and speed
#
# As the paper's figure 3: each point is a file fine-tuned on ImageNet-1k.

# %%
tuned = table[table.adapt_ds == "imagenet2012"]
figure, axis = plt.subplots(figsize=(8, 4.5))
for name, rows in tuned.groupby("name"):
    axis.scatter(rows.infer_samples_per_sec, rows.adapt_final_test, s=14,
                 label=name)
axis.set(xscale="log", xlabel="images/s on a V100 (timm)",
         ylabel="ImageNet-1k accuracy" if published else
         "made-up numbers, no accuracy")
axis.grid(alpha=0.3)
axis.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)
plt.tight_layout()
plt.show()

# %% [markdown]
# ## One model's fine-tunings

# %%
chosen = best.loc["Ti/16"].filename
table[table.filename == chosen].sort_values(
    "adapt_final_test", ascending=False)[
        ["adapt_ds", "adapt_lr", "adapt_resolution", "adapt_final_test"]].head(
            6).style.format({"adapt_lr": "{:g}",
                             "adapt_final_test": "{:.3f}"}).hide()

# %% [markdown]
# What its name says, and the command that fine-tunes like that:

# %%
print(augreg.parse(chosen))
# !{sys.executable} -m tfvit augreg --explain={chosen}

# %% [markdown]
# ## Load it
#
# The file by its catalogue name, or, where the bucket cannot be reached, random
# numbers under the same names.

# %%
path = f"augreg/{chosen}"
try:
    model = tfvit.load(path)
except OSError:
    path = str(HERE / f"{chosen}.npz")
    toy = tfvit.build("ti16", num_classes=1000)
    toy.get_layer("head").kernel.assign(
        np.random.default_rng(0).normal(0, 0.1, (192, 1000)))
    load.to_npz(toy, path)
    model = tfvit.load(path, labels="imagenet2012")
    print("Random numbers, not the published ones.")
print(model)

# %%
y, x = np.mgrid[:240, :320]
photo = np.uint8(np.stack([y, x * 0.8, 255 - y], -1).clip(0, 255))
pd.DataFrame(model.predict(photo)[0], columns=["class", "probability"])

# %% [markdown]
# ## The same numbers from timm
#
# timm reads the same `.npz` files; on the same pixels the logits are equal to
# rounding, once its GELU is the approximation by tanh that these models were trained
# with. It runs in a process of its own: TensorFlow and PyTorch in one may not get
# along.

# %%
THEIRS = """
import sys, numpy, timm, torch
model = timm.create_model("vit_tiny_patch16_224", num_classes=int(sys.argv[3]),
                          act_layer="gelu_tanh")
model.load_pretrained(sys.argv[1])
images = torch.tensor(numpy.load(f"{sys.argv[2]}/images.npy"))
with torch.no_grad():
    logits = model.eval()(images.permute(0, 3, 1, 2))
numpy.save(f"{sys.argv[2]}/logits.npy", logits.numpy())
"""
images = model.preprocess(photo)
ours = model.keras(images).numpy()
np.save(HERE / "images.npy", images)
done = subprocess.run(
    [sys.executable, "-c", THEIRS, fetch.resolve(path), HERE,
     str(len(model.class_names))], capture_output=True, text=True)
if "No module named" in done.stderr:
    print("timm is not installed here: pip install timm.")
else:
    done.check_returncode()
    theirs = np.load(HERE / "logits.npy")
    print(f"largest difference of {ours.size} logits up to "
          f"{np.abs(ours).max():.2f}: {np.abs(theirs - ours).max():.1e}")

# %% [markdown]
# ## Fine-tune it
#
# On a dataset of TFDS it is one command,
# `tfvit finetune oxford_flowers102 --model=Ti_16`. On one's own folder the same, or
# from here; twelve steps on drawn images, to see it go.

# %%
random = np.random.default_rng(0)
for name, low in (("dark", 0), ("light", 150)):
    (HERE / "data" / name).mkdir(parents=True, exist_ok=True)
    for number in range(40):
        pixels = random.integers(low, low + 100, [64, 64, 3], np.uint8)
        Image.fromarray(pixels).save(HERE / "data" / name / f"{number}.jpg")
run = tfvit.fine_tune(
    HERE / "data", weights=path, model="ti16", image_size=32, batch_size=8,
    out=str(HERE / "run"), bindings=[
        "experiment.Experiment.total_steps = 12",
        "experiment.Experiment.log_every = 4",
        "experiment.Experiment.eval_every = 12",
        "schedules.cosine.warmup_steps = 2"])
pd.DataFrame(run.history).set_index("step").dropna(axis=1, how="all").T
