"""What the environment asks of a run: workers, TPUs by name, buckets."""

import json
import os

from tfvit.checkup import finding
from tfvit.distribute import cluster
from tfvit.storage import paths

_KEYS = "GOOGLE_APPLICATION_CREDENTIALS"
_GCLOUD = "~/.config/gcloud/application_default_credentials.json"


def all_of_them(folders, root="/"):
    """Findings on TF_CONFIG, TPU_NAME and what opens buckets.

    Args:
      folders: where runs and data lie; buckets among them need credentials.
      root: of the file system.
    """
    return [workers(), tpu_name(), credentials(folders, root)]


def workers():
    """Whether TF_CONFIG can be meant so."""
    text = os.environ.get("TF_CONFIG")
    if not text:
        return finding.Finding("TF_CONFIG", "not set", note="one machine")
    try:
        own, others = cluster.tasks(text)
    except ValueError as error:
        return finding.Finding("TF_CONFIG", repr(text)[:100],
                               str(error).partition("; here it is")[0] + ".")
    found = f"this is {own} of {len(others) + 1}"
    hosts = [address.rpartition(":")[0] for address in (own, *others.values())]
    if len(others) and any(host in ("localhost", "127.0.0.1") for host in hosts
                           ) and len(set(hosts)) > 1:
        return finding.Finding("TF_CONFIG", found, "localhost is another "
                               "machine on each: give all of them addresses "
                               "that the others reach.")
    return finding.Finding("TF_CONFIG", found)


def tpu_name():
    """Whether TPU_NAME goes with the rest."""
    name = os.environ.get("TPU_NAME")
    if not name:
        return finding.Finding("TPU_NAME", "not set")
    if os.environ.get("TF_CONFIG"):
        return finding.Finding("TPU_NAME", f"{name!r}, and TF_CONFIG, too",
                               "strategies.auto takes the TPU: unset one of "
                               "them.")
    if name != "local" and os.environ.get("TPU_LOAD_LIBRARY") != "0":
        return finding.Finding(
            "TPU_NAME", repr(name), "For a slice by its name set "
            "TPU_LOAD_LIBRARY=0, too, or this process takes this host's chips "
            "for itself; on a single TPU VM TPU_NAME=local.")
    return finding.Finding("TPU_NAME", repr(name))


def credentials(folders, root="/"):
    """Whether gs:// can be opened; the network is not asked."""
    buckets = [f for f in folders if f and f.startswith("gs://")]
    named = os.environ.get(_KEYS)
    if named:
        why = _unusable(paths.home(named))
        return finding.Finding(
            "credentials", f"{_KEYS}={named}" + (f": {why}" if why else ""),
            "Let it name the JSON file of a service account, or unset it and "
            "run: gcloud auth application-default login." if why else "")
    own = paths.home(_GCLOUD)
    if os.path.exists(own):
        why = _unusable(own)
        return finding.Finding(
            "credentials", own + (f": {why}" if why else ""),
            "Run: gcloud auth application-default login." if why else "")
    product = os.path.join(root, "sys/class/dmi/id/product_name")
    try:
        with open(product, encoding="utf-8", errors="replace") as f:
            if "Google" in f.read():
                return finding.Finding("credentials",
                                       "those of this Google Cloud machine")
    except OSError:
        pass  # No such file in a container: nothing is known by it.
    return finding.Finding(
        "credentials", "none", f"{buckets[0]} needs some: gcloud auth "
        f"application-default login, or {_KEYS}=KEY.json." if buckets else "",
        "" if buckets else "only public buckets can be read")


def _unusable(path):
    """Why a file of credentials is none, or None."""
    try:
        with open(path, encoding="utf-8") as f:
            kind = json.load(f).get("type")
    except OSError as error:
        return error.strerror
    except (ValueError, AttributeError):
        return "no JSON of credentials"
    return None if kind else "no JSON of credentials"
