"""Whether a run's step compiles and fits on TPU slices, and how fast at best.

The TPU's own compiler says so, on any machine.
"""

import json
import math
import os
import re
import subprocess
import tempfile

from absl import logging

from tfvit.engine import build
from tfvit.engine import lowering
from tfvit.tpu import advice

_SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                       "compile_step.py")
_OUTSIDE = ("PYTHONPATH", "PYTHONHOME", "LD_PRELOAD")  # Of tfvit's Python.
_GIB = 2**30
_UNIT = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def check(exp, slices, *, python, out=None):
    """Lowers an experiment's step, and compiles it for each of several slices.

    Args:
      exp: an experiment.Experiment.
      slices: [chips.Slice].
      python: path of a Python with the compiler, see environment.python.
      out: folder that keeps what went into the compiler and what came out, or
        None.

    Yields:
      {what: number or text} of each slice, those of equally many replicas one
      after the other: "fits", see `_result`.

    Raises:
      ValueError: the experiment cannot work, or not on so many replicas.
      RuntimeError: the compiler broke down.
    """
    for place in slices:  # All of them, before minutes go by.
        try:
            build.check_replicas(exp, place.replicas)
        except ValueError as error:
            raise ValueError(f"On {place.name}: {error}") from error
    with tempfile.TemporaryDirectory() as folder:
        folder = out or folder
        os.makedirs(folder, exist_ok=True)
        for replicas in dict.fromkeys(s.replicas for s in slices):
            lowered = lowering.lower(exp, replicas)
            name = f"step_of_{replicas}"
            path = os.path.join(folder, f"{name}.hlo.pb")
            with open(path, "wb") as f:
                f.write(lowered.hlo)
            for place in slices:
                if place.replicas == replicas:
                    yield _one(exp, place, lowered, path, python, out)


def _one(exp, place, lowered, path, python, out):
    stem = place.name.replace(":", "_")
    text = ["--text", os.path.join(out, f"{stem}.hlo.txt")] if out else []
    logging.info("Compiling for %s: minutes, for a large model.", place.name)
    found = compile_step(python, [path, f"--topology={place.name}",
                                  f"--replicas={place.replicas}", *text])
    result = _result(exp, place, lowered, found)
    if out:
        with open(os.path.join(out, f"{stem}.json"), "w",
                  encoding="utf-8") as f:
            json.dump({**result, "compiler": found}, f, indent=1)
    return result


def compile_step(python, words):
    """Runs the script compile_step.py; returns what it found.

    Raises:
      RuntimeError: it broke down.
    """
    environment = {name: value for name, value in os.environ.items()
                   if name not in _OUTSIDE and not name.startswith("TPU_")}
    done = subprocess.run([python, "-P", _SCRIPT, *words], env=environment,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["without a word"]
        if done.returncode < 0:
            said.append(f"it was ended by signal {-done.returncode}, which for "
                        "want of memory is 9")
        raise RuntimeError("The TPU's compiler broke down: " +
                           said[-1].removeprefix("jax.errors."))
    return json.loads(done.stdout)


def _result(exp, place, lowered, found):
    """What people want to know of it; memory is that of one device.

    Returns:
      {"topology", "device", "replicas", "batch", "fits": bool, "limit GiB",
      "arguments GiB" (weights, slots, the batch), and, where it fits, "peak
      GiB", ..., "bound": "compute", "memory" or "network", the milliseconds of
      each, "img/s" that the bound allows, "seconds": {...}}; else "over GiB" or
      the "error", and "advice".
    """
    chip = place.chip
    arguments = arguments_bytes(lowered)
    result = {
        "topology": place.name, "device": found["device"],
        "replicas": place.replicas, "batch": exp.batch_size,
        "batch per device": exp.batch_size // place.replicas,
        "precision": exp.precision, "fits": "error" not in found,
        "limit GiB": chip.gib,
        "seconds": {**lowered.seconds, "compile": found.get("compile_s")},
    }
    if "error" in found:
        needed = needed_bytes(found["error"])
        result["arguments GiB"] = arguments / _GIB
        if needed is None:
            result["error"] = " ".join(found["error"].split())
        else:
            result["needs GiB"] = needed / _GIB
            result["over GiB"] = needed / _GIB - chip.gib
            result["advice"] = advice.of(exp, place, _bytes(
                v for slot in lowered.run.state.slots.values()
                for v in slot.values()), arguments)
        return result
    sizes = {"peak": "peak", "arguments": "argument", "outputs": "output",
             "shared by both": "alias", "temporaries": "temp",
             "program": "generated_code"}
    result |= {f"{name} GiB": found[f"{kind}_bytes"] / _GIB
               for name, kind in sizes.items()}
    collectives = found["collectives"]
    sent = sent_bytes(collectives, place.replicas)
    times = {"compute": 1e-9 * found["flops"] / chip.tflops,
             "memory": 1e-6 * found["accessed_bytes"] / chip.gbps,
             "network": 1e-6 * sent / chip.ici_gbps}
    bound = max(times, key=times.get)
    return result | {
        "TFLOP": found["flops"] / 1e12,
        "GB": found["accessed_bytes"] / 1e9,
        "all-reduces": collectives.get("all-reduce", {}).get("count", 0),
        "collectives": collectives,
        "sent GB": sent / 1e9,
        **{f"{name} ms": value for name, value in times.items()},
        "bound": bound, "img/s": 1e3 * exp.batch_size / times[bound],
        "img/s per device":
            1e3 * exp.batch_size / times[bound] / place.replicas,
    }


def arguments_bytes(lowered):
    """Bytes of weights, slots and batch on a device, without padding."""
    return _bytes([*lowered.step.graph.variables, *lowered.batch.values()])


def _bytes(tensors):
    return sum(math.prod(t.shape) * t.dtype.size for t in tensors)


def sent_bytes(collectives, replicas):
    """Bytes that a device sends, in a ring, which is the least there can be.

    Args:
      collectives: as compile_step.py finds them.
      replicas: how many take part.
    """
    share = (replicas - 1) / replicas
    factor = {"all-reduce": 2 * share, "all-gather": share,
              "reduce-scatter": share * replicas,  # Its result is a part.
              "all-to-all": share, "collective-permute": 1}
    return sum(factor[kind] * found["bytes"]
               for kind, found in collectives.items())


def needed_bytes(error):
    """Bytes a program needs that the compiler's error says do not fit, or None.
    """
    number = r"([\d.]+)([KMGT]?)"
    for pattern in (rf"Used {number}i?B? of {number}i?B? hbm",
                    rf"required for HLO temporaries \({number}i?B?\)",
                    rf"Total hbm usage >= {number}"):
        if found := re.search(pattern, error):
            return float(found[1]) * _UNIT[found[2]]
    return None
