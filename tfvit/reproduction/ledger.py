"""The published numbers: of which file, on what, from where, within what.

`ledger.json` beside this is their home, and the only one. Its parts:

  sources      {key: {"title", "url"}}
  collections  {of weights.catalogue: {"paper", "licence"}}
  data         {key: what is evaluated: "task", gin file, "evaluator" and the
               "scope" of its source there, TFDS "dataset" and "split", how many
               "examples" and "classes"}
  rows         files of weights: "checkpoint", "data", "image_size", "metric",
               "expected" in [0, 1] with its "source"; "tolerance", how far a
               right measurement may be; where needed "crop" (evaluate as
               gin/recipes/central_crop.gin does), "second" (what others
               measured of the same file) and "caveat", why the number may be of
               something else, with "slack", how far that may lead
  training     runs: "gin" file, "steps" and "warmup" in place of its own,
               "metric", "expected", ...

Where the comment of a run in gin/ expects the number, a row has that "run"
instead of "expected" and "source": the number is there. Those runs are rows of
training, too. Nothing here imports TensorFlow.
"""

import dataclasses
import fnmatch
import functools
import json
import os
import re

from tfvit.bindings import gin_file
from tfvit.storage import spelling
from tfvit.weights import catalogue

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ledger.json")
TRAINING = "training"
_ABOUT = 0.01  # Tolerance of what is "about" a number.
_TOLERANCE = 0.003  # Of a run, which has a seed of its own.
_PARTS = {"sources": dict, "collections": dict, "data": dict, "rows": list,
          "training": list}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A published number.

    Attributes:
      id: its name here.
      task: "classification", "zero-shot", "retrieval" or "training".
      checkpoint: what weights.fetch.resolve takes; "" of a run.
      gin: the gin file of the data; of training that of the run.
      evaluator, metric: whose value it is.
      scope: of the source in that file; "" of a run.
      dataset, split: as TFDS has them; "" of a run whose file says it.
      examples: of that split; None where it is not known.
      classes: C; None of captions and runs.
      image_size: pixels; None of a run.
      expected: in [0, 1].
      tolerance: how far a right measurement may be.
      source, url: where it is from.
      crop: see above.
      steps, warmup: of a run, or None for its own.
      second: {"source", "url", "name", "value"} of who measured the same file.
      caveat, slack: see above; "" and 0.
    """
    id: str
    task: str
    checkpoint: str = ""
    gin: str
    evaluator: str
    metric: str
    scope: str = ""
    dataset: str = ""
    split: str = ""
    examples: int | None = None
    classes: int | None = None
    image_size: int | None = None
    expected: float
    tolerance: float
    source: str
    url: str = ""
    crop: bool = False
    steps: int | None = None
    warmup: int | None = None
    second: dict | None = None
    caveat: str = ""
    slack: float = 0.0

    @property
    def stem(self):
        """The file of gin/models that it is of; None of other people's files.
        """
        name = re.sub("(?<=augreg/)([^-]+)-.*", r"\1", self.checkpoint)
        return catalogue.model(name) if name in catalogue.names() else None


def rows(path=FILE):
    """All Rows of a ledger: files of weights first, then runs.

    Raises:
      ValueError: the file is no such ledger; names the row.
      OSError: it cannot be read.
    """
    parts = read(path)
    found = [_checkpoint(parts, row, path) for row in parts["rows"]]
    found += [_short_run(parts, row, path) for row in parts["training"]]
    if path == FILE:
        found += _runs()
    names = [row.id for row in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{path} has the id {name!r} twice.")
    return found


@functools.lru_cache(maxsize=None)
def published():
    """The Rows of tfvit's own ledger that are of files of weights."""
    return [row for row in rows() if row.task != TRAINING]


def card(name):
    """What is known of a file of the catalogue: {} of others.

    Returns:
      {"licence", "paper": its URL, "published": [{"dataset", "split",
      "image_size", "metric", "value", "source"}]}
    """
    name = re.sub(r"^gs://(vit_models|mixer_models)/|\.npz$", "", str(name))
    known = read(FILE)["collections"].get(name.split("/")[0])
    if known is None or "/" not in name:
        return {}
    return {
        "licence": known["licence"], "paper": known["paper"],
        "published": [
            {"dataset": row.dataset, "split": row.split,
             "image_size": row.image_size, "metric": row.metric,
             "value": row.expected, "source": row.source}
            for row in published() if row.checkpoint == name]}


@functools.lru_cache(maxsize=None)
def read(path):
    """The parts of a ledger, see above.

    Raises:
      ValueError, OSError: see rows.
    """
    try:
        with open(path, encoding="utf-8") as f:
            parts = json.load(f)
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}.") from error
    except OSError as error:
        raise OSError(f"The ledger {path} cannot be read: "
                      f"{error.strerror}.") from error
    if not isinstance(parts, dict) or any(
            not isinstance(parts.get(name, kind()), kind)
            for name, kind in _PARTS.items()):
        raise ValueError(f"{path} is no ledger, an object of "
                         f"{', '.join(_PARTS)}, such as {FILE}.")
    return {name: parts.get(name, kind()) for name, kind in _PARTS.items()}


def _checkpoint(parts, row, path):
    """The Row of one of "rows"."""
    with _naming(path, row):
        row = dict(row)
        data = parts["data"][row.pop("data")]
        return Row(**data, **_number(parts, row))


def _short_run(parts, row, path):
    """The Row of one of "training"."""
    with _naming(path, row):
        row = dict(row)
        evaluator, metric = row.pop("metric").split("/")
        return Row(task=TRAINING, evaluator=evaluator, metric=metric,
                   **_number(parts, row))


def _number(parts, row):
    """A row with its number, and where that is from, in full."""
    if run := row.pop("run", None):
        said = gin_file.GinFile(run).expected()
        row |= {"expected": float(said.text), "source": said.source}
    else:
        row |= _source(parts, row["source"])
    if second := row.get("second"):
        row["second"] = {**second, **_source(parts, second["source"])}
    if not 0 < row["expected"] < 1 or not 0 < row["tolerance"] < 1:
        raise ValueError("expected and tolerance are shares, between 0 and 1")
    return row


def _source(parts, key):
    source = parts["sources"][key]
    return {"source": source["title"], "url": source["url"]}


class _naming:  # pylint: disable=invalid-name
    """Makes a ValueError that names the row of what goes wrong inside."""

    def __init__(self, path, row):
        self._where = f"{path}, row {row.get('id', row)!r}"

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, KeyError):
            raise ValueError(f"{self._where}: there is no {error}.") from error
        if isinstance(error, (TypeError, ValueError, AttributeError)):
            said = str(error).removeprefix("Row.__init__() ").rstrip(".")
            raise ValueError(f"{self._where}: {said}.") from error


def _runs():
    """Rows of the runs in gin/ that say what to expect at their end.

    Not of those whose number nobody has looked up.
    """
    for file in gin_file.gin_files("gin"):
        said = file.expected()
        if said and said.late and "memory" not in said.source:
            evaluator, metric = said.metric.split("/")
            yield Row(
                id=f"train-{file.name}", task=TRAINING, gin=file.path,
                evaluator=evaluator, metric=metric, expected=float(said.text),
                tolerance=_ABOUT if said.about else _TOLERANCE,
                source=said.source or f"the comment of {file.path}")


def choose(found, only=(), train=()):
    """The rows that patterns of ids mean.

    Args:
      found: Rows.
      only: patterns of those of weights; none for all of them, unless `train`
        asks for some.
      train: patterns of those that train; none for none of them.

    Raises:
      ValueError: a pattern means nothing, or what the other flag is for.
    """
    weights = [row for row in found if row.task != TRAINING]
    runs = [row for row in found if row.task == TRAINING]
    for flag, patterns, among, other, others in (
            ("only", only, weights, "train", runs),
            ("train", train, runs, "only", weights)):
        for pattern in patterns:
            if _matching(among, [pattern]):
                continue
            if _matching(others, [pattern]):
                raise ValueError(f"--{flag}={pattern}: such rows are asked for "
                                 f"by --{other}={pattern}.")
            names = [row.id for row in among]
            raise ValueError(f"--{flag}={pattern} is no row." + (
                spelling.did_you_mean(pattern, names) or
                " `tfvit reproduce --list` has their names."))
    chosen = _matching(weights, only or ["*"] * (not train))
    return chosen + _matching(runs, train)


def _matching(found, patterns):
    return [row for row in found if any(
        fnmatch.fnmatchcase(row.id, pattern) for pattern in patterns)]
