"""Gin files and runs that are not there, and which may be meant instead."""

import os

from tfvit.bindings import gin_text
from tfvit.bindings import settable
from tfvit.storage import spelling


def check(file):
    """Raises an OSError where a local file does not exist, or is none."""
    path = os.path.expanduser(file)
    if "://" in path or gin_text.find(path):
        return
    if os.path.isdir(path):
        inside = sorted(name for name in os.listdir(path)
                        if name.endswith(".gin"))
        way = (f" Name a file in it, such as {os.path.join(file, inside[0])}."
               if inside else "")
        raise IsADirectoryError(f"--gin_file={file} is a folder.{way}")
    if os.path.exists(path):
        raise OSError(f"--gin_file={file} is a device or a pipe, not a file.")
    said = f"--gin_file={file} does not exist."
    straight = path.replace("\\", "/")
    if straight != path and gin_text.find(straight):
        raise FileNotFoundError(f"{said} Write --gin_file={straight}.")
    known = list(_shipped())
    stem = os.path.splitext(os.path.basename(straight))[0]
    same = [name for name in known
            if os.path.splitext(os.path.basename(name))[0] == stem]
    near = same[:3] or spelling.near(straight, known)[:1]
    raise FileNotFoundError(
        said + (f" Did you mean {' or '.join(near)}?" if near else
                " tfvit's own are in gin/, such as gin/digits.gin."))


def _shipped():
    """Names of the gin files of tfvit, and of those beside the user."""
    for root in dict.fromkeys((settable.ROOT, os.getcwd())):
        for folder, folders, names in os.walk(os.path.join(root, "gin")):
            folders.sort()
            for name in sorted(names):
                if name.endswith(".gin"):
                    yield os.path.relpath(os.path.join(folder, name), root)


def no_run(workdir):
    """A FileNotFoundError for a directory that has no config.gin."""
    folder, name = os.path.split(os.path.normpath(workdir))
    near = ""
    if os.path.isdir(folder or "."):
        near = spelling.did_you_mean(name, sorted(os.listdir(folder or ".")),
                                     os.path.join(folder, "{}"))
    return FileNotFoundError(
        f"--workdir={workdir} holds no config.gin: it is not the directory of "
        f"a run of tfvit.train.{near * (not os.path.isdir(workdir))}")
