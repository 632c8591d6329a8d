"""Packages of npm that an export copies in, fetched once and checked.

The file of a package goes to $TFVIT_CACHE/npm (default ~/.cache/tfvit/npm),
where it may be put by hand as well. npm itself downloads it, from the registry
and through the proxy that its settings name; where there is no npm, the
registry that the variable npm_config_registry names is asked.
"""

import base64
import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile

from absl import logging

from tfvit.storage import paths
from tfvit.weights import fetch

_SECONDS = 600  # For a download.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Package:
    """One version of a package.

    Attributes:
      name: such as "@litertjs/core".
      version: such as "2.5.3".
      integrity: "sha512-..." of its file, as `npm view NAME dist.integrity`
        says.
    """
    name: str
    version: str
    integrity: str

    @property
    def file(self):
        """What npm calls the package's file."""
        return (f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz")

    def read(self, wanted):
        """{path in the package: bytes} of the files that wanted(path) chooses.

        Raises:
          ConnectionError: it is neither in the cache nor can be downloaded.
          ValueError: it is another file than expected.
        """
        with tarfile.open(self.fetch()) as tar:
            members = {member.name.partition("/")[2]: member
                       for member in tar.getmembers() if member.isfile()}
            return {path: tar.extractfile(member).read()
                    for path, member in members.items() if wanted(path)}

    def fetch(self):
        """The package's file on this machine, downloaded where necessary."""
        path = os.path.join(paths.cache(), "npm", self.file)
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._download(path)
        found = _integrity(path)
        if found != self.integrity:
            raise ValueError(
                f"{path} is not {self.name} {self.version} (it has {found}, "
                f"expected {self.integrity}): remove it.")
        return path

    def _download(self, path):
        registry = os.environ.get("npm_config_registry") or os.environ.get(
            "NPM_CONFIG_REGISTRY")
        try:
            if program := _npm():
                self._by_npm(program, path)
            elif registry:
                name = self.name.rpartition("/")[2]
                shutil.copyfile(fetch.resolve(
                    f"{registry.rstrip('/')}/{self.name}/-/"
                    f"{name}-{self.version}.tgz"), path)
            else:
                raise OSError("there is no npm, and npm_config_registry is not "
                              "set")
        except (OSError, subprocess.SubprocessError) as error:
            raise ConnectionError(
                f"{self.name} {self.version}, which is not in the cache, "
                f"could not be downloaded: {_reason(error)}. Install npm (pip "
                "install tfvit[demo] does), or set npm_config_registry to the "
                f"registry's address, or put the file at {path}.") from error
        logging.info("Downloaded %s %s.", self.name, self.version)

    def _by_npm(self, program, path):
        # Of its own, so that two processes do not write one file.
        folder = f"{path}.{os.getpid()}"
        os.makedirs(folder, exist_ok=True)
        try:
            subprocess.run(
                [program, "pack", f"{self.name}@{self.version}", "--silent",
                 "--ignore-scripts", f"--pack-destination={folder}"],
                check=True, capture_output=True, text=True, timeout=_SECONDS,
                cwd=folder, stdin=subprocess.DEVNULL)
            os.replace(os.path.join(folder, self.file), path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _npm():
    """The program, also where only this Python's environment has it; or None.
    """
    return shutil.which("npm") or shutil.which(
        "npm", path=os.path.dirname(sys.executable))


def _integrity(path):
    with open(path, "rb") as f:
        digest = hashlib.sha512(f.read())
    return f"sha512-{base64.b64encode(digest.digest()).decode()}"


def _reason(error):
    said = getattr(error, "stderr", None) or str(error)
    lines = [line for line in said.strip().splitlines() if line.strip()]
    return lines[-1].removeprefix("npm error ").rstrip(".") if lines else (
        f"npm ended with {getattr(error, 'returncode', error)}")
