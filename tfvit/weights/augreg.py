"""The 50,000 checkpoints of "How to train your ViT?" (arXiv 2106.10270).

Each file's name says how it was made:

    B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0.npz
    <the same>--imagenet2012-steps_20k-lr_0.03-res_384.npz

and `augreg/index.csv` has a row for every fine-tuned file, with the accuracy
before and after. The names are catalogue names of fetch.resolve.
"""

import csv
import dataclasses
import re

from tfvit.weights import fetch

INDEX = "augreg/index.csv"

# Columns of index.csv, as printed in vision_transformer's AugReg notebook; the
# docstring of its loader leaves out `epochs`.
STRINGS = ("name", "ds", "aug", "adapt_ds", "filename", "adapt_filename")
INTEGERS = ("epochs", "adapt_steps", "adapt_resolution")
FLOATS = ("lr", "wd", "do", "sd", "best_val", "final_val", "final_test",
          "adapt_lr", "adapt_final_val", "adapt_final_test", "params",
          "infer_samples_per_sec")

_UPSTREAM = re.compile(
    r"(?P<model>[^-]+)-(?P<ds>[^-]+)-(?P<epochs>\d+)ep-lr_(?P<lr>[\d.]+)-"
    r"aug_(?P<aug>[^-]+)-wd_(?P<wd>[\d.]+)-do_(?P<do>[\d.]+)-"
    r"sd_(?P<sd>[\d.]+)")
_ADAPTED = re.compile(r"(?P<adapt_ds>[^-]+)-steps_(?P<adapt_steps_k>\d+)k-"
                      r"lr_(?P<adapt_lr>[\d.]+)-res_(?P<adapt_resolution>\d+)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Name:
    """What the name of a file says.

    Attributes:
      model: such as B_16 or R26_S_32.
      ds: pre-training data, i1k or i21k.
      epochs: of pre-training, 300 or 30.
      lr: learning rate of pre-training.
      aug: none, light0, light1, medium1, medium2, strong1 or strong2.
      wd: weight decay as in AdamW, 0.03 or 0.1.
      do: dropout rate, 0.0 or 0.1.
      sd: stochastic depth of the last block, 0.0 or 0.1.
      adapt_ds: dataset of fine-tuning; None in files before fine-tuning, as
        are the next three.
      adapt_steps_k: steps of fine-tuning in thousands, rounded down (0 is 500,
        2 is 2,500).
      adapt_lr: learning rate of fine-tuning.
      adapt_resolution: pixels in fine-tuning, 224 or 384.
    """
    model: str
    ds: str
    epochs: int
    lr: float
    aug: str
    wd: float
    do: float
    sd: float
    adapt_ds: str | None = None
    adapt_steps_k: int | None = None
    adapt_lr: float | None = None
    adapt_resolution: int | None = None

    def __str__(self):
        """The file's name without `.npz`."""
        name = (f"{self.model}-{self.ds}-{self.epochs}ep-lr_{self.lr}-"
                f"aug_{self.aug}-wd_{self.wd}-do_{self.do}-sd_{self.sd}")
        if self.adapt_ds is None:
            return name
        return (f"{name}--{self.adapt_ds}-steps_{self.adapt_steps_k}k-"
                f"lr_{self.adapt_lr}-res_{self.adapt_resolution}")


def parse(filename):
    """Reads a file name, with or without folder and `.npz`, into a Name.

    Raises:
      ValueError: it is not the name of an AugReg file.
    """
    stem = filename.split("/")[-1].removesuffix(".npz")
    upstream, separator, adapted = stem.partition("--")
    first = _UPSTREAM.fullmatch(upstream)
    second = _ADAPTED.fullmatch(adapted) if separator else None
    if not first or (separator and not second):
        raise ValueError(
            f"{filename} is not named like an AugReg file, such as "
            "B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0"
            "[--imagenet2012-steps_20k-lr_0.03-res_384].")
    values = {**first.groupdict(), **(second.groupdict() if second else {})}
    return Name(**{k: typed(k, v) for k, v in values.items()})


def typed(column, text):
    if not text:
        return None
    if column in FLOATS:
        return float(text)
    if column in (*INTEGERS, "adapt_steps_k"):
        return int(float(text))  # pandas writes 500.0 beside empty fields.
    return text


def read_index(path=INDEX):
    """Reads index.csv into a list of {column: value}.

    Numbers are converted and empty fields are None. `infer_samples_per_sec`
    was measured on a V100 with timm; `adapt_steps` are batches of 512.

    Args:
      path: anything that fetch.resolve takes.

    Raises:
      ValueError: a column is missing, or a number is none.
    """
    with open(fetch.resolve(path), newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = (*STRINGS, *INTEGERS, *FLOATS)
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path} lacks the columns {sorted(missing)}.")
        try:
            return [{c: typed(c, row[c]) for c in columns} for row in reader]
        except ValueError as error:
            raise ValueError(f"{path}:{reader.line_num}: {error}.") from error


def catalogue_name(name):
    """What load.from_npz takes for an architecture or the name of a file.

    `R_Ti_16` and `R+Ti/16` become `augreg/R_Ti_16`, which stands for the
    recommended file; `B_16-i21k-...` becomes `augreg/B_16-i21k-...`.
    """
    return f"augreg/{re.sub('[/+]', '_', name)}"


def gin_model(name):
    """The file of gin/models with the architecture that `name` begins with.

    Such as `gin/models/r_ti16.gin` for R_Ti_16, R+Ti/16 or R_Ti_16-i21k-....
    """
    model = re.sub("[/+]", "_", name).split("-")[0].lower()
    return f"gin/models/{re.sub('_(?=[0-9]+$)', '', model)}.gin"


def recommended(name, index):
    """The catalogue name of the best pre-trained file of one architecture.

    That is, as the authors recommend, the ImageNet-21k file with the highest
    final validation accuracy of its own pre-training.

    Args:
      name: such as B_16 or R26_S_32, or B/16 and R26+S/32.
      index: from read_index.

    Returns:
      `augreg/<file name>`.

    Raises:
      ValueError: the index has no such architecture.
    """
    model = re.sub("[/+]", "_", name)
    rows = [
        row for row in index if row["final_val"] is not None and
        row["ds"] == "i21k" and row["filename"].split("-")[0] == model
    ]
    if not rows:
        known = sorted({row["filename"].split("-")[0] for row in index})
        raise ValueError(f"{name} is not in the index, which has: "
                         f"{', '.join(known)}.")
    best = max(rows, key=lambda row: row["final_val"])
    return f"augreg/{best['filename']}"
