"""Says whether a run fits on a TPU slice: tfvit tpu_check --gin_file=... .

  tfvit tpu_check --gin_file=gin/b16_cifar10.gin --topology=v5e:2x4 \\
    --topology=v4-32 --gin_bindings="experiment.Experiment.accum_steps = 1"

Compiles the run's whole train step with the TPU's own compiler, which needs no
TPU, and prints the memory it takes, its arithmetic, its all-reduces, and the
images per second that the chips' published peaks allow. Needs no data, and
trains nothing. The compiler (jax and libtpu, 1.3 GB) is installed once. The exit
code is 1 where a slice is too small.
"""

import json
import os

from absl import flags

from tfvit import launch
from tfvit.tpu import chips

_TOPOLOGY = flags.DEFINE_multi_string(
    "topology", ["v5e:2x4"], "Slice: chips and how they are laid out, such as "
    "v5e:2x4 or v4:2x2x2, or the type that is sold, such as v6e-8; repeat for "
    "more.")
_JSON = flags.DEFINE_bool("json", False, "Print JSON instead of a table.")
_OUT = flags.DEFINE_string(
    "out", None, "Folder that keeps what went into the compiler, the program "
    "that came out, and the numbers.")
_PYTHON = flags.DEFINE_string(
    "python", None, "A Python that has jax and libtpu, instead of tfvit's own "
    "environment for them.")


def _known(names):
    try:
        return all(map(chips.named, names))
    except ValueError as error:
        raise flags.ValidationError(str(error)) from error


def _empty(out):
    if out and "://" in out:
        raise flags.ValidationError(f"--out={out} must be a folder of this "
                                    "machine: copy it afterwards.")
    path = os.path.expanduser(out) if out else None
    if path and os.path.isfile(path):
        raise flags.ValidationError(f"--out={out} is a file: name a folder.")
    if path and os.path.isdir(path) and os.listdir(path):
        raise flags.ValidationError(f"--out={out} is not empty: name another "
                                    "folder.")
    return True


flags.register_validator("topology", _known)
flags.register_validator("out", _empty)
launch.start(__name__, "config", required=("gin_file",))

import sys

from tfvit.tpu import check
from tfvit.tpu import environment
from tfvit.tpu import words


def main():
    slices = list(dict.fromkeys(map(chips.named, _TOPOLOGY.value)))
    out = os.path.expanduser(_OUT.value) if _OUT.value else None
    exp = launch.experiment_from_flags()
    python = environment.python(_PYTHON.value)
    found = []
    try:
        found.extend(check.check(exp, slices, python=python, out=out))
    finally:
        if found:  # Also where a later one breaks down, or is not waited for.
            print(json.dumps(found, indent=1) if _JSON.value
                  else words.table(found))
    if not all(result["fits"] for result in found):
        sys.exit(1)


if __name__ == "__main__":
    launch.run_alone(main)
