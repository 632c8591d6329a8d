"""Which runs of gin/ fit on which TPU slices: fills tpu_fits.json and .md.

    python -m tools.tpu_fits                  # all runs: a day on two cores
    python -m tools.tpu_fits b16_cifar10 l16  # those with one of these words
    python -m tools.tpu_fits --list           # what is done and what is not

Asks `tfvit tpu_check` of each run and slice that is not in tpu_fits.json yet, at
the lowest priority, and writes both files after each answer: it can be stopped
and started again. Runs whose steps are the same are asked for once. All are
checked in bfloat16, as a TPU computes.
"""

import json
import os
import subprocess
import sys

from absl import flags
from absl import logging

from tfvit import launch

_LIST = flags.DEFINE_bool("list", False, "Only say what is done.")
_PYTHON = flags.DEFINE_string(
    "python", None, "A Python that has jax and libtpu, instead of tfvit's own "
    "environment for them.")

launch.start(__name__)

from tfvit import config
from tfvit import experiment
from tfvit.bindings import gin_file
from tfvit.tpu import chips
from tfvit.tpu import environment

_FOLDER = os.path.dirname(os.path.abspath(__file__))
# The papers' own are v3 (arXiv 2010.11929, section 4.2: "a standard cloud TPUv3
# with 8 cores").
SLICES = ("v3-8", "v4-8", "v5e-8", "v5e-32", "v6e-8")
_BINDINGS = ("experiment.Experiment.precision = 'mixed_bfloat16'",)
_SAME = ("batch_size", "accum_steps", "frozen", "layer_decay", "ema_decay",
         "clip_norm", "precision")
_STATE = ("accumulator", "first_moment", "min_size")  # Of an optimizer's memory.


def signature(exp):
    """What the step of an experiment is made of; equal ones cost the same.

    Numbers that are constants in the program are left out, and up to a thousand
    classes count as equally many.
    """
    name = lambda f: getattr(f, "__name__", str(f))
    model = {k: name(v) for k, v in config.settings(exp.model).items()}
    if str(model.get("num_classes", "")).isdigit():
        model["num_classes"] = max(int(model["num_classes"]), 1000)
    optimizer = config.settings(exp.optimizer)
    return json.dumps([
        name(exp.model), sorted(model.items(), key=str),
        name(exp.optimizer), [str(optimizer.get(k)) for k in _STATE],
        [name(f) for f in (exp.gradients, exp.mix, exp.objective, exp.loss)],
        [name(f) for f in exp.device_ops],
        [str(getattr(exp, k)) for k in _SAME]])


def groups(words):
    """[[names of runs with the same step]] of those with one of the words."""
    found = {}
    for file in gin_file.gin_files("gin"):
        if words and not any(word in file.name for word in words):
            continue
        try:
            exp, _ = experiment.from_config([file.path], _BINDINGS)
        except (TypeError, ValueError):  # A part, or for one's own data.
            continue
        if exp.train_source is not None:
            found.setdefault(signature(exp), []).append(file.name)
    if words:  # In the order in which they were asked for.
        first = lambda names: min(
            i for i, word in enumerate(words) if any(word in n for n in names))
        return sorted(found.values(), key=first)
    return list(found.values())


def ask(name, slices, python):
    """[result of tpu_check] of a run on slices of equally many replicas."""
    done = subprocess.run(
        [sys.executable, "-m", "tfvit.tpu_check", f"--gin_file=gin/{name}.gin",
         *(f"--gin_bindings={b}" for b in _BINDINGS), "--json",
         f"--python={python}", *(f"--topology={s}" for s in slices)],
        stdout=subprocess.PIPE, text=True, check=False, cwd=config.ROOT)
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        raise RuntimeError(f"tpu_check of gin/{name}.gin came to no end (exit "
                           f"code {done.returncode}).") from error


def read(path):
    """The answers so far: {first run of a group: {slice: result}}."""
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def write(path, text):
    with open(path + ".part", "w", encoding="utf-8") as f:
        f.write(text)
    os.replace(path + ".part", path)


def page(all_groups, answers):
    """tpu_fits.md."""
    lines = [
        "# Which runs fit on which TPUs", "",
        "Filled by `python -m tools.tpu_fits`: the whole train step, compiled "
        f"by the TPU's own compiler ({environment.REQUIREMENTS[-1]}), in "
        "bfloat16, with the batch and `accum_steps` of the file. A cell says "
        "how much of a device's memory it takes at its peak, what bounds it "
        "and how many images per second the published peaks then allow "
        "([tpu_check](docs/cloud.md#before-there-is-a-tpu)); **no** and by how "
        "much it is too large; or nothing, where it was not asked yet.", "",
        "| runs with the same step | " + " | ".join(
            f"{s} ({chips.named(s).chip.gib:g} GiB)" for s in SLICES) + " |",
        "|---" * (len(SLICES) + 1) + "|"]
    for names in all_groups:
        own = next((answers[n] for n in names if n in answers), {})
        cells = [_cell(own.get(s)) for s in SLICES]
        lines.append(f"| {', '.join(names)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(result):
    if result is None:
        return ""
    if result["fits"]:
        return (f"{result['peak GiB']:.1f} GiB, {result['bound']}, "
                f"{result['img/s']:,.0f} img/s")
    if "over GiB" in result:
        return f"**no**, {result['over GiB']:.1f} GiB too large"
    return f"**no**: {result['error'][:60]}"


def main(words):
    file = os.path.join(_FOLDER, "tpu_fits.json")
    table = os.path.join(_FOLDER, "tpu_fits.md")
    answers = read(file)
    every, chosen = groups(()), groups(words)
    if not chosen:
        raise ValueError(f"No run of gin/ has one of {words} in its name.")
    missing = {names[0]: [s for s in SLICES if not any(
        s in answers.get(n, {}) for n in names)] for names in chosen}
    write(table, page(every, answers))
    if _LIST.value:
        for names in chosen:
            print(f"{', '.join(names)}: "
                  f"{', '.join(missing[names[0]]) or 'nothing'} missing")
        return
    os.nice(19)
    python = environment.python(_PYTHON.value)
    for name, slices in missing.items():
        by_replicas = {}
        for s in slices:
            by_replicas.setdefault(chips.named(s).replicas, []).append(s)
        for same in by_replicas.values():
            logging.info("%s on %s.", name, ", ".join(same))
            for s, result in zip(same, ask(name, same, python)):
                answers.setdefault(name, {})[s] = result
            write(file, json.dumps(answers, indent=1) + "\n")
            write(table, page(every, answers))


if __name__ == "__main__":
    launch.run_words(main)
