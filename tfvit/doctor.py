"""Says what of this machine would stop a run: python -m tfvit.doctor.

  tfvit doctor --workdir=gs://BUCKET/runs --json

One line for each thing that a run needs: Python, packages, processor, memory,
disks, GPUs, TPUs, XLA, workers, buckets. Whatever is a problem comes with the
way out. Trains and writes nothing, and asks nobody on the network. The exit code
is 1 where there is a problem.
"""

import dataclasses
import json
import sys

from absl import flags

from tfvit import launch

_JSON = flags.DEFINE_bool("json", False, "Print JSON instead of a table.")

launch.start(__name__, "machine")

from tfvit.checkup import accelerators
from tfvit.checkup import machine
from tfvit.checkup import packages
from tfvit.checkup import surroundings
from tfvit.checkup import words


def findings(workdir):
    """All that is found, as a list of finding.Finding."""
    found = [machine.python(), *packages.all_of_them(), machine.processor(),
             machine.memory(), *machine.folders(workdir),
             machine.compile_cache(),
             *surroundings.all_of_them([workdir])]
    probe, failures = accelerators.probed()
    found += failures
    if probe is not None:
        found += accelerators.all_of_them(probe)
    return found


def main():
    found = findings(launch.workdir_or("runs"))
    if _JSON.value:
        print(json.dumps([{**dataclasses.asdict(f), "problem": f.is_problem}
                          for f in found], indent=1))
    else:
        print(words.table(found))
    if any(f.is_problem for f in found):
        sys.exit(1)


if __name__ == "__main__":
    launch.run_alone(main)
