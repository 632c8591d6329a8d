"""Runs the notebooks of tools/notebooks, and writes them with their outputs:

    python -m tools.run_notebooks            # all of them
    python -m tools.run_notebooks lit

Their text is NAME.py, which jupytext reads; NAME.ipynb is what came of it, to be
looked at without running anything. Needs tfvit[notebooks].
"""

import os
import tempfile
import time

from absl import logging

from tfvit import launch

launch.start(__name__)

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "notebooks")
_TIMEOUT = 1200  # Seconds a cell.


def names():
    """The notebooks, such as "lit"."""
    return sorted(file.removesuffix(".py") for file in os.listdir(FOLDER)
                  if file.endswith(".py"))


def read(name):
    """The notebook without outputs.

    Raises:
      ImportError: what reads and runs notebooks is not installed.
    """
    try:
        import jupytext
    except ImportError as error:
        raise ImportError("Notebooks need more packages: pip install "
                          "tfvit[notebooks]") from error
    notebook = jupytext.read(os.path.join(FOLDER, f"{name}.py"))
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"{name}-{number}"  # Else they are drawn anew each time.
    return notebook


def run(name, path=None):
    """Runs a notebook in a process of its own; returns it with its outputs.

    Args:
      name: one of `names`.
      path: PYTHONPATH for it; None for what this process has.

    Raises:
      nbclient.exceptions.CellExecutionError: a cell fails.
    """
    notebook = read(name)
    import nbclient
    with tempfile.TemporaryDirectory() as folder:
        nbclient.NotebookClient(
            notebook, timeout=_TIMEOUT, kernel_name="python3",
            resources={"metadata": {"path": folder}}, record_timing=False,
        ).execute(**({"env": {**os.environ, "PYTHONPATH": path}}
                     if path else {}))
    return notebook


def texts(notebook):
    """All that the cells of a notebook printed, as one text."""
    parts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            parts.append(output.get("text", ""))
            parts.append(output.get("data", {}).get("text/plain", ""))
    return "\n".join(parts)


def main(words):
    for name in words or names():
        if name not in names():
            raise ValueError(f"There is no notebook {name!r}, only "
                             f"{', '.join(names())}.")
    import nbformat
    for name in words or names():
        begin = time.monotonic()
        notebook = run(name, os.path.dirname(os.path.dirname(FOLDER)))
        nbformat.write(notebook, os.path.join(FOLDER, f"{name}.ipynb"))
        logging.info("%s: %.0f s", name, time.monotonic() - begin)


if __name__ == "__main__":
    launch.run_words(main)
