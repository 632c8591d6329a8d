"""Installs tfvit into a virtual environment and says how far it is.

For venv.sh, which calls main(); pip alone is silent for minutes.
"""

import glob
import os
import queue
import re
import subprocess
import sys
import threading
import time

_QUIET = 5.0  # Seconds without a word of pip after which this says something.
_LARGE = 10.0  # Megabytes of a download that gets a line.
_UNITS = {"kB": 1e-3, "MB": 1.0, "GB": 1e3}


class Progress:
    """What pip has said so far.

    Attributes:
      megabytes: downloaded, or about to be.
      packages: how many are to be installed; None before that is known.
      doing: what goes on, in a few words.
    """

    def __init__(self):
        self.megabytes = 0.0
        self.packages = None
        self.doing = "finding out what is needed"

    def count(self, done):
        """How many packages are there, of how many; "" before that is known."""
        if not self.packages:
            return ""
        there = done()
        # tfvit itself is built when all others are there.
        return (f" {there} of {self.packages}" if there < self.packages else
                f" the last of {self.packages}")

    def take(self, line):
        """Takes a line of pip's; returns what is to be printed, or ""."""
        found = re.match(r"\s*Downloading (?:\S*/)?([\w.]+?)-\d\S* "
                         r"\(([\d.]+) ?([kMG]B)\)", line)
        if found:
            name, size = found[1].replace("_", "-"), float(found[2])
            size *= _UNITS[found[3]]
            self.megabytes += size
            self.doing = f"downloading {name}"
            return f"  {name}, {size:,.0f} MB" if size >= _LARGE else ""
        found = re.match(r"Installing collected packages: (.*)", line)
        if found:
            self.packages = len(found[1].split(","))
            self.doing = "installing"
            return (f"  {self.packages} packages, {self.megabytes:,.0f} MB "
                    "downloaded; unpacking them")
        return ""


def run(words, done, out=print):
    """Runs pip, whose words these are; returns its exit code and all it said.

    Args:
      words: the command.
      done: () -> number of packages that are there.
      out: prints a line.
    """
    start = time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
    lines = queue.Queue()

    def read():
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    progress, said, spoke = Progress(), [], start
    while True:
        try:
            line = lines.get(timeout=_QUIET / 5)
        except queue.Empty:
            line = ""
        if line is None:
            return process.wait(), said
        if line:
            said.append(line)
        text = progress.take(line)
        now = time.monotonic()
        if not text and now - spoke > _QUIET:
            text = (f"  {now - start:3.0f} s: {progress.doing}"
                    f"{progress.count(done)}")
        if text:
            out(text)
            spoke = now


def main():
    """python -c "from tools import installing; installing.main()" VENV EXTRAS
    """
    venv, extras = sys.argv[1:]
    python = os.path.join(venv, "bin", "python")
    if not os.path.exists(python):
        print(f"  making {venv}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    before = _packages(venv)
    # Without compiling: most of what there is is never imported.
    code, said = run(
        [python, "-m", "pip", "install", "--disable-pip-version-check",
         "--no-input", "--progress-bar=off", "--no-compile", "-e",
         f".[{extras}]"], lambda: _packages(venv) - before,
        lambda line: print(line, flush=True))
    if code:
        sys.stderr.writelines(said[-20:])
        sys.exit("pip could not install tfvit; its last lines above say why. "
                 "The same command tries again.")


def _packages(venv):
    return len(glob.glob(os.path.join(venv, "lib", "python*", "site-packages",
                                      "*.dist-info")))
