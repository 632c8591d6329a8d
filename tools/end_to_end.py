"""Fine-tunes as the JAX original did, and compares with what it logged:

    python -m tools.end_to_end --recordings=FOLDER --seeds=10 --out=ours.json
    python -m tools.end_to_end --recordings=FOLDER --seeds=9 --out=other.json \\
      --original_input

FOLDER holds whole runs of the original's train_and_evaluate: their data, first
weights, configs, losses and accuracies (see tools/docs/architecture.md). Each
kind of run is trained here with the same settings and as many seeds. The table
has means, standard deviations and the p of Welch's t-test: how often runs that
differ by chance alone would differ as much. --out keeps our runs: called again
with more seeds, only the new ones are trained. --gin_file and --gin_bindings
change our side, for example to see a difference that is there.
"""

import json
import math
import os

from absl import flags
from absl import logging

from tfvit import launch

_RECORDINGS = flags.DEFINE_string(
    "recordings", None, "Folder of the original's runs.")
_SEEDS = flags.DEFINE_integer("seeds", 5, "Our runs of each kind.",
                              lower_bound=2)
_KINDS = flags.DEFINE_list(
    "kinds", None, "Kinds of runs (default: all that are recorded).")
_ORIGINAL_INPUT = flags.DEFINE_bool(
    "original_input", False, "Feed our step what the original's own input "
    "pipeline makes of the images: its order, crops and flips.")
_OUT = flags.DEFINE_string("out", None, "JSON file that keeps our runs.")
_TABLE = flags.DEFINE_string("table", None, "File to write the table to, too, "
                             "as Markdown.")

launch.start(__name__, "chosen run", required=("recordings",))

import numpy as np
from scipy import stats

from tfvit.storage import files
from tfvit.storage import spelling

from . import recordings as recordings_lib

_WINDOW = 30  # Steps whose losses are averaged; the last are the final loss.
_UNLIKELY = 0.02
_COLUMNS = ("", "tfvit", "original", "difference", "p")


def figures(run):
    """What is compared of a run: {name: value}."""
    losses = np.asarray(run["train_loss"], np.float64)
    found = {
        f"loss, steps {begin + 1}-{begin + _WINDOW}":
            float(losses[begin:begin + _WINDOW].mean())
        for begin in range(0, len(losses) - _WINDOW + 1, _WINDOW)}
    for step, value in run["accuracy_test"].items():
        found[f"test accuracy after {step}"] = value
    found[f"test loss after {len(losses)}"] = run["final_test_loss"]
    if "moved" in run:
        found["distance of the weights from the start"] = run["moved"]
    return found


def welch(ours, theirs):
    """(difference of the means, p of Welch's t-test) of two lists of numbers.

    Of one number alone: whether it could be one more of the others.
    """
    difference = float(np.mean(ours) - np.mean(theirs))
    if len(theirs) > 1:
        return difference, float(stats.ttest_ind(ours, theirs,
                                                 equal_var=False).pvalue)
    n, spread = len(ours), np.std(ours, ddof=1)
    t = abs(difference) / (spread * math.sqrt(1 + 1 / n))
    return difference, float(2 * stats.t.sf(t, n - 1))


def compare(ours, theirs):
    """[(name, our values, theirs, difference, p)] of two lists of runs."""
    ours, theirs = (list(map(figures, runs)) for runs in (ours, theirs))
    rows = []
    for name in dict.fromkeys(name for run in theirs for name in run):
        pair = [[run[name] for run in runs if name in run]
                for runs in (ours, theirs)]
        rows.append((name, *pair, *welch(*pair)))
    return rows


def table(kind, rows):
    """Yields the lines of a Markdown table of one kind of run."""
    sizes = [len(values) for values in rows[0][1:3]]
    yield (f"| {kind} | " + " | ".join(
        f"{name} ({size} seed{'s' * (size > 1)})"
        for name, size in zip(_COLUMNS[1:3], sizes)) +
        f" | {' | '.join(_COLUMNS[3:])} |")
    yield "|---" * len(_COLUMNS) + "|"
    for name, ours, theirs, difference, p in rows:
        yield (f"| {name} | {_spread(ours)} | {_spread(theirs)} | "
               f"{difference:+.4f} | {p:.2f} |")


def _spread(values):
    text = f"{np.mean(values):.4f}"
    return text if len(values) == 1 else (
        f"{text} ± {np.std(values, ddof=1):.4f}")


def verdict(rows):
    """One sentence on all rows."""
    low = [(name, p) for name, *_, p in rows if p < _UNLIKELY]
    text = (f"Of {len(rows)} comparisons {len(low)} have p below {_UNLIKELY}; "
            f"chance alone gives {len(rows) * _UNLIKELY:.1f}.")
    return " ".join([text, *(f"{name}: p {p:.4f}." for name, p in low)])


def checks(found, run, lr):
    """Yields [what, ours, the original's] of what chance has no part in.

    Args:
      found: what Ours.judge gives of the final weights of a recorded run.
      run: that one.
      lr: our learning rate as a function of the step.
    """
    yield ("logits of its final weights, largest difference",
           f"{found['logits']:.1e}", "0")
    yield ("its evaluation images, largest difference",
           f"{found['images']:.1e}", "0")
    yield ("test loss of its final weights", f"{found['loss']:.7f}",
           f"{run['final_test_loss']:.7f}")
    yield ("test accuracy of its final weights", f"{found['accuracy']:.4f}",
           f"{run['final_accuracy_sorted']:.4f}")
    for step, value in run["lr_logged"].items():
        yield (f"learning rate after {step}", f"{float(lr(int(step))):.6g}",
               f"{value:.6g}")


def kept(path, wanted):
    """Our runs of earlier calls, {(kind, seed): run}.

    Args:
      path: of the file that keeps them, or None.
      wanted: {kind: config as text} of the runs to come.

    Raises:
      ValueError: they are no such runs, or of other settings.
    """
    if not path or not os.path.exists(path):
        return {}
    try:
        with open(path, encoding="utf-8") as f:
            found = json.load(f)
        runs = {(run["kind"], run["seed"]): run for run in found["runs"]}
        before = found["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"--out={path} is there and holds no runs of this "
                         "tool: name another file.") from error
    if before != wanted:
        raise ValueError(f"--out={path} keeps runs of other settings: name "
                         "another file.")
    return runs


def _keep(path, settings, runs):
    if path:
        with files.replacing(path) as f:
            f.write(json.dumps({"settings": settings, "runs": list(
                runs.values())}, indent=1).encode())


def _kinds(recordings):
    """The kinds of --kinds.

    Raises:
      ValueError: one is not recorded.
    """
    there = recordings.runs
    for kind in _KINDS.value or ():
        if kind not in there:
            raise ValueError(f"--kinds={kind} is not recorded: there are "
                             f"{', '.join(there)}." +
                             spelling.did_you_mean(kind, there))
    return _KINDS.value or list(there)


def main():
    settings = [_ORIGINAL_INPUT.value, *map(list, launch.overrides())]
    recordings = recordings_lib.Recordings(os.path.expanduser(
        _RECORDINGS.value))
    kinds = _kinds(recordings)
    runs = kept(_OUT.value, settings)
    lines, every, exact = [], [], []
    with recordings.unpacked():
        path, recorded, wanted = recordings.final()
        for kind in kinds:
            ours = recordings_lib.Ours(recordings, kind, launch.overrides(),
                                       _ORIGINAL_INPUT.value)
            theirs = recordings.runs[kind]
            for seed in range(_SEEDS.value):
                if (kind, seed) not in runs:
                    run = runs[kind, seed] = ours.train(seed)
                    logging.info("%s, seed %d: accuracies %s", kind, seed, list(
                        run["accuracy_test"].values()))
                    _keep(_OUT.value, settings, runs)
            if kind == recorded:
                found = ours.judge(path, wanted)
                theirs[0]["moved"] = found["moved"]
                exact += ["| what chance has no part in | tfvit | original |",
                          "|---|---|---|"]
                exact += [f"| {' | '.join(row)} |" for row in checks(
                    found, theirs[0], ours.run.optimizer.lr)] + [""]
            rows = compare([runs[kind, seed] for seed in range(_SEEDS.value)],
                           theirs)
            lines += [*table(kind, rows), ""]
            every += [(f"{kind}, {name}", *rest) for name, *rest in rows]
    text = "\n".join([*lines, *exact, verdict(every)])
    print(text)
    if _TABLE.value:
        with files.replacing(_TABLE.value) as f:
            f.write(f"{text}\n".encode())


if __name__ == "__main__":
    launch.run_alone(main)
