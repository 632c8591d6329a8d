"""Finds one of the 50,000 AugReg checkpoints (arXiv 2106.10270):

    python -m tools.augreg --where=adapt_ds=imagenet2012 \
        --where=adapt_resolution=384 --sort=adapt_final_test
    python -m tools.augreg --where=name=B/16 --sort=final_val --plot=b16.png
    python -m tools.augreg --explain=B_16-i21k-300ep-lr_0.001-aug_medium1-...

The columns are those of tfvit.weights.augreg; rows are sorted by falling
value, or rising with --sort=-params. --explain says how one file was made and
how to start or repeat its fine-tuning.
"""

import os

from absl import flags

from tfvit import launch

_INDEX = flags.DEFINE_string(
    "index", None, "Where index.csv is, if not at its published place.")
_WHERE = flags.DEFINE_multi_string(
    "where", [], "COLUMN=VALUE that rows must have; repeat for more.")
_SORT = flags.DEFINE_string("sort", "final_val",
                            "Column; with a minus for rising order.")
_LIMIT = flags.DEFINE_integer("limit", 20, "Rows to print.")
_PLOT = flags.DEFINE_string("plot", None,
                            "PNG to draw accuracy against speed into.")
_EXPLAIN = flags.DEFINE_string("explain", None, "Name of one file.")

launch.start(__name__)

from tfvit.storage import files
from tfvit.weights import augreg

# Fine-tuned file names round the steps down to thousands.
_STEPS = {0: 500, 2: 2_500, 10: 10_000, 20: 20_000}


def select(rows, where, sort):
    """Rows with all COLUMN=VALUE of `where`, sorted.

    Raises:
      ValueError: there is no such column, or VALUE is not of its type.
    """
    column = sort.removeprefix("-")
    conditions = [condition.partition("=") for condition in where]
    columns = (*augreg.STRINGS, *augreg.INTEGERS, *augreg.FLOATS)
    for name in [column, *(name for name, _, _ in conditions)]:
        if name not in columns:
            raise ValueError(f"There is no column {name!r}; there are: "
                             f"{', '.join(columns)}.")
    for name, _, value in conditions:
        wanted = augreg.typed(name, value)
        rows = [row for row in rows if row[name] == wanted]
    rows = [row for row in rows if row[column] is not None]
    rows.sort(key=lambda row: row[column], reverse=column == sort)
    return rows


def upstream(rows):
    """The first row of each pre-trained file, which many rows fine-tune."""
    unique = {}
    for row in rows:
        unique.setdefault(row["filename"], row)
    return list(unique.values())


def table(rows, columns):
    """Yields a header and a line for each row."""
    yield "  ".join(columns)
    for row in rows:
        yield "  ".join("-" if row[column] is None else f"{row[column]:,.5g}"
                        if isinstance(row[column], (int, float)) else
                        row[column] for column in columns)


def explain(name):
    """Yields sentences about a file name, then a command that uses it."""
    made = augreg.parse(name)
    data = {"i1k": "ImageNet-1k", "i21k": "ImageNet-21k"}.get(made.ds, made.ds)
    yield (f"{made.model} trained on {data} for {made.epochs} epochs, learning "
           f"rate {made.lr}, augmentation {made.aug}, weight decay {made.wd}, "
           f"dropout {made.do}, stochastic depth {made.sd}.")
    if made.adapt_ds:
        yield (f"Then fine-tuned on {made.adapt_ds} for "
               f"{_STEPS.get(made.adapt_steps_k, made.adapt_steps_k)} steps of "
               f"512 images of {made.adapt_resolution} px, learning rate "
               f"{made.adapt_lr}.")
        yield "The same fine-tuning:"
    else:
        yield "Fine-tuning on CIFAR-10:"
    yield command(made)


def command(made):
    """The train command that fine-tunes as the file `made` was, or could be."""
    model = augreg.gin_model(made.model)
    stem = os.path.splitext(os.path.basename(model))[0]
    bindings = [f"load.from_npz.path='augreg/{str(made).split('--')[0]}'"]
    if made.adapt_ds:
        steps = _STEPS.get(made.adapt_steps_k, made.adapt_steps_k * 1000)
        bindings += [f"IMAGE_SIZE={made.adapt_resolution}",
                     f"optim.sgd.lr={made.adapt_lr}",
                     f"experiment.Experiment.total_steps={steps}",
                     # As 100 of 500 in vit_jax/configs/augreg.py and 500 of
                     # 10,000 in vit_jax/configs/common.py.
                     f"schedules.cosine.warmup_steps={min(500, steps // 5)}"]
    else:
        bindings.append("experiment.Experiment.total_steps=10_000")
    files = [model,
             f"gin/data/{made.adapt_ds or 'cifar10'}.gin",
             "gin/recipes/finetune.gin"]
    return " \\\n    ".join(["python -m tfvit.train",
                             f"--workdir=runs/{stem}_augreg",
                             *(f"--gin_file={file}" for file in files),
                             *(f'--gin_bindings="{b}"' for b in bindings)])


def plot(rows, path, accuracy):
    """Draws `accuracy` against images per second, a colour an architecture."""
    import matplotlib  # Slow to import, and needed here alone.
    matplotlib.use("Agg")
    from matplotlib import pyplot
    _, axes = pyplot.subplots(figsize=(8, 6))
    for name in sorted({row["name"] for row in rows}):
        points = [(row["infer_samples_per_sec"], row[accuracy]) for row in rows
                  if row["name"] == name and None not in
                  (row["infer_samples_per_sec"], row[accuracy])]
        if points:
            axes.scatter(*zip(*points), s=12, label=name)
            axes.legend()
    axes.set(xscale="log", xlabel="images per second on a V100 (timm)",
             ylabel=accuracy)
    axes.grid(alpha=0.3)
    with files.replacing(path) as f:
        pyplot.savefig(f, format="png", dpi=120, bbox_inches="tight")
    pyplot.close()


def main():
    if _EXPLAIN.value:
        print("\n".join(explain(_EXPLAIN.value)))
    else:
        _search()


def _search():
    index = augreg.read_index(_INDEX.value or augreg.INDEX)
    rows = select(index, _WHERE.value, _SORT.value)
    # A question about fine-tuning is answered with fine-tuned files.
    tuned = any("adapt_" in text for text in (_SORT.value, *_WHERE.value))
    rows = rows if tuned else upstream(rows)
    accuracy = "adapt_final_test" if tuned else "final_val"
    columns = dict.fromkeys([
        _SORT.value.removeprefix("-"), accuracy, "params",
        "infer_samples_per_sec", "adapt_filename" if tuned else "filename"])
    for line in table(rows[:_LIMIT.value], columns):
        print(line)
    print(f"{min(len(rows), _LIMIT.value)} of {len(rows)} files")
    if _PLOT.value:
        plot(rows, _PLOT.value, accuracy)
        print(f"Drew {_PLOT.value}")


if __name__ == "__main__":
    launch.run_alone(main)
