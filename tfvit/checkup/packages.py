"""What is installed, by its own account: nothing of it is imported."""

import importlib.metadata

from tfvit.checkup import finding

_TENSORFLOWS = ("tensorflow", "tensorflow-tpu", "tensorflow-cpu",
                "tensorflow-gpu", "tf-nightly", "intel-tensorflow")
# They are built against one TensorFlow, and break with another.
_TOGETHER = ("tf_keras", "tensorflow-text", "tf-models-official")
_ALSO = ("tensorflow-datasets", "gin-config", "numpy", "absl-py", "scipy")
_SERIES = "2.20"  # Of TensorFlow, as setup.cfg has it.


def installed(names):
    """{name: version} of those of some packages that are there."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def all_of_them(versions=None):
    """Findings on TensorFlow and what goes with it.

    Args:
      versions: {name: version}; None for what is installed.
    """
    names = (*_TENSORFLOWS, *_TOGETHER, *_ALSO)
    versions = installed(names) if versions is None else versions
    return [_tensorflow(versions), _together(versions)]


def _tensorflow(versions):
    flavours = {name: versions[name] for name in _TENSORFLOWS
                if name in versions}
    found = ", ".join(f"{k} {v}" for k, v in flavours.items()) or "none"
    if not flavours:
        way_out = "pip install tensorflow==2.20.* (or pip install tfvit)."
    elif len(flavours) > 1:
        keep = "tensorflow-tpu" if "tensorflow-tpu" in flavours else (
            "tensorflow")
        others = " ".join(name for name in flavours if name != keep)
        way_out = (
            "All of these own the folder `tensorflow`, and who came last has "
            f"won: pip uninstall -y {others} && pip install --force-reinstall "
            f"--no-deps {keep}=={_SERIES}.*")
        if keep not in flavours:
            way_out = ("All of these own the folder `tensorflow`: pip "
                       f"uninstall -y {others} && pip install "
                       f"tensorflow=={_SERIES}.*")
    elif _series(next(iter(flavours.values()))) != _SERIES:
        name = next(iter(flavours))
        way_out = f"tfvit goes with {_SERIES}: pip install {name}=={_SERIES}.*"
    else:
        way_out = ""
    return finding.Finding("TensorFlow", found, way_out)


def _together(versions):
    flavours = [versions[name] for name in _TENSORFLOWS if name in versions]
    wanted = _series(flavours[0]) if flavours else _SERIES
    found = ", ".join(f"{name} {versions[name]}"
                      for name in (*_TOGETHER, *_ALSO) if name in versions)
    missing = [name for name in (*_TOGETHER, *_ALSO) if name not in versions]
    wrong = [name for name in _TOGETHER
             if name in versions and _series(versions[name]) != wanted]
    if missing:
        return finding.Finding("packages", f"{found}; not "
                               f"{', '.join(missing)}",
                               "pip install tfvit, or pip install -e . in a "
                               "checkout, brings what is missing.")
    if wrong:
        return finding.Finding(
            "packages", found, f"With TensorFlow {wanted} must go: pip install "
            + " ".join(f"{name}=={wanted}.*" for name in wrong))
    return finding.Finding("packages", found)


def _series(version):
    return ".".join(version.split(".")[:2])
