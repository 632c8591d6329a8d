"""Goes through folders of images; remembers what it leaves out, and why."""
import collections
from collections.abc import Iterable, Iterator
import os

import tensorflow as tf

from tfvit.storage import paths

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp")
# Of images that TensorFlow does not decode.
FOREIGN = (".heic", ".heif", ".avif", ".tif", ".tiff", ".jxl", ".jp2", ".psd",
           ".svg", ".dng", ".cr2", ".cr3", ".nef", ".arw")
# What systems and archives put beside people's files.
_JUNK = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information",
         "lost+found", "__pycache__")

# Why something is left out.
OTHER = "files that are not " + ", ".join(SUFFIXES)
HIDDEN = "hidden image files (their names begin with a dot)"
JUNK = "folders that a system made"
LOOP = "links to folders that are walked anyway"
LOOSE = "images that lie in no class folder"
STRAY = "folders without images, taken for neither class nor split"


def left_out(files: Iterable[str]) -> str:
    """Says which files are images of formats that are not read; else ""."""
    suffixes = (os.path.splitext(file)[1].lower() for file in files)
    counts = collections.Counter(s for s in suffixes if s in FOREIGN)
    if not counts:
        return ""
    found = ", ".join(f"{count} {suffix}"
                      for suffix, count in counts.most_common())
    return (f"{found}: images of formats that TensorFlow does not read. "
            "Convert them to JPEG or PNG.")


class Walk:
    """Lists what lies in folders, where none is entered twice.

    A link is followed to where other folders lie, but not back: one to a parent
    would show all images again, under the names of other classes.

    Attributes:
      left_out: {why: {path: None}}.
      encoded: {path: None} of images whose names are not UTF-8.
    """

    def __init__(self):
        self.left_out = {}
        self.encoded = {}

    def leave_out(self, why: str, path: str) -> None:
        self.left_out.setdefault(why, {})[path] = None

    def folders(self, path: str, *, aliases: bool = False,
                loose: bool = False) -> list[str]:
        """Names of the folders in a folder, sorted.

        Args:
          path: the folder.
          aliases: whether links to others of these folders count, too.
          loose: whether images beside them are left out.
        """
        found = []
        for name, full in self._entries(path):
            if not _is_folder(full):
                if loose and name.lower().endswith(SUFFIXES):
                    self.leave_out(LOOSE, full)
            elif self._may_enter(full, [path], aliases=aliases):
                found.append(name)
        return sorted(found)

    def images(self, path: str, root: str | None = None) -> Iterator[str]:
        """Yields image files at any depth, in no order.

        Args:
          path: the folder, in which all links are resolved against it and
          root: the folder of which it is a part.
        """
        yield from self._images(path, [root or path, path], set())

    def holds_other_files(self, path: str) -> bool:
        """Whether `images` met files there, and none of them an image."""
        files = [file for file in self.left_out.get(OTHER, ())
                 if file.startswith(os.path.join(path, ""))]
        return bool(files) and not left_out(files)

    def notes(self, path: str) -> Iterator[str]:
        """Yields sentences on what was left out of `path`."""
        for why, files in self.left_out.items():
            text = (f"Ignored {len(files)} {why} in {path}, such as "
                    f"{paths.shown(min(files))}. {left_out(files)}")
            yield text.rstrip()
        if self.encoded:
            yield (f"{len(self.encoded)} names of images in {path} are not "
                   "UTF-8, which other programs may not read, such as "
                   f"{paths.shown(min(self.encoded))}.")

    def _images(self, path, within, entered):
        for name, full in self._entries(path):
            # Suffix first: asking a bucket what an entry is takes a request.
            if name.lower().endswith(SUFFIXES):
                if paths.shown(full) != full:
                    self.encoded[full] = None
                yield full
            elif not _is_folder(full):
                self.leave_out(OTHER, full)
            elif self._may_enter(full, within, entered):
                below = [*within, full] if _is_link(full) else within
                yield from self._images(full, below, entered)

    def _entries(self, path):
        """Yields (name, path) of what is visible and nobody's rubbish.

        Buckets mark folders by a slash at the end.
        """
        if paths.is_local(path):
            names = os.listdir(path)  # TensorFlow's takes UTF-8 alone.
        else:
            names = (n.rstrip("/") for n in tf.io.gfile.listdir(path))
        for name in names:
            full = os.path.join(path, name)
            if name.startswith("."):
                if name.lower().endswith(SUFFIXES):
                    self.leave_out(HIDDEN, full)
            elif name in _JUNK:
                self.leave_out(JUNK, full)
            elif name:
                yield name, full

    def _may_enter(self, path, within, entered=None, aliases=False):
        """Whether a folder shows images that nothing else shows."""
        if not _is_link(path):
            return True
        real = os.path.realpath(path)
        # With an end, so that /a/bc is not below /a/b.
        ends = os.path.join(real, "")
        known = [os.path.join(os.path.realpath(w), "") for w in within]
        if (entered is not None and real in entered) or any(
                k.startswith(ends) or (ends.startswith(k) and not aliases)
                for k in known):
            self.leave_out(LOOP, path)
            return False
        if entered is not None:
            entered.add(real)
        return True


def _is_folder(path):
    return (os.path.isdir(path) if paths.is_local(path) else
            tf.io.gfile.isdir(path))


def _is_link(path):
    return paths.is_local(path) and os.path.islink(path)
