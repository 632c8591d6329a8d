"""Gin files as texts, read without gin: what they bind, use and import."""

import dataclasses
import io
import os
import re
import tokenize

from tfvit.bindings import former_names
from tfvit.bindings import settable

# A quoted text, or a comment up to the end of its line.
_QUOTED = r"'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\""
_COMMENT = re.compile(rf"({_QUOTED})|#.*")
_STRING = re.compile(_QUOTED)
_NAME = r"(?:[\w.\-]+/)*[\w.]+"
_STATEMENT = re.compile(rf"^({_NAME})\s*=(?!=)\s*(.*)$", re.DOTALL)


@dataclasses.dataclass
class Texts:
    """What gin files, with what they include, say.

    Attributes:
      complete: whether all of them could be read here.
      statements: [(name, value as text)], in order.
      imports: {name: import path} of what they import.
      comments: their texts, comments included.
    """
    complete: bool = True
    statements: list = dataclasses.field(default_factory=list)
    imports: dict = dataclasses.field(default_factory=dict)
    comments: list = dataclasses.field(default_factory=list)

    def used(self):
        """Names of macros that some value refers to."""
        return {name for _, value in self.statements
                for name in re.findall(r"%(\w+)", without_strings(value))}

    def references(self):
        """Names, with their scopes, of what some value refers to: @name."""
        return {name for _, value in self.statements for name in re.findall(
            rf"@({_NAME})", without_strings(value))}


def without_strings(text):
    return _STRING.sub("''", text)


def tokens(text, path):
    """Python's tokens of a text, which are gin's.

    Raises:
      ValueError: it has none, as a file that was cut; the text names `path`.
    """
    try:
        return list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (SyntaxError, tokenize.TokenError) as error:
        raise damaged(path, str(error.args[0])) from error


def damaged(path, why):
    """A ValueError for a config.gin that cannot be what a run has written."""
    return ValueError(f"{path} is damaged, or is not the config of a run of "
                      f"tfvit.train: {why.rstrip('.')}.")


def check_whole(text, path):
    """Raises ValueError where a config.gin is empty, cut or no gin at all."""
    tokens(text, path)
    texts = Texts()
    for line in split(former_names.updated(text)):
        if line.endswith("=") or not line.startswith("include") and (
                not add(line, texts)):
            raise damaged(path, f"it says {line[:60]!r}")
    names = {name for name, _ in texts.statements}
    required = settable.functions("experiment")["Experiment"].items()
    for name, default in required:
        if default is None and not any(
                set_.endswith(f"Experiment.{name}") for set_ in names):
            raise damaged(path, f"it has no experiment.Experiment.{name}")


def unbalanced(value):
    """The first bracket of a value that has no other half, or ""."""
    open_ = []
    for sign in re.findall(r"[(){}\[\]]", without_strings(value)):
        if sign in "([{":
            open_.append(sign)
        elif not open_ or open_.pop() + sign not in ("()", "[]", "{}"):
            return sign
    return open_[0] if open_ else ""


def find(file):
    """Where a gin file is: as it is called, else among tfvit's; or None."""
    for path in (file, os.path.join(settable.ROOT, file)):
        if os.path.isfile(path):
            return path
    return None


def read(files):
    """The Texts of gin files; what is not on a local disk is left out."""
    texts, seen = Texts(), set()
    for file in files:
        _read(os.path.expanduser(file), texts, seen)
    return texts


def _read(file, texts, seen):
    path = find(file)
    if path is None:
        texts.complete = False
        return
    if path in seen:  # Of includes in a circle.
        return
    try:
        with open(path, encoding="utf-8") as f:
            text = former_names.updated(f.read())
    except (OSError, ValueError):
        texts.complete = False
        return
    texts.comments.append(text)
    for line in split(text):
        if included := re.match(r"include\s+['\"](.*)['\"]", line):
            _read(included[1], texts, seen | {path})
        else:
            add(line, texts)


def add(line, texts):
    """Adds a statement to what `texts` say; False if it is none that we know.
    """
    imported = re.match(r"(?:from\s+([\w.]+)\s+)?import\s+([\w.]+)"
                        r"(?:\s+as\s+(\w+))?$", line)
    if imported:
        package, name, alias = imported.groups()
        path = f"{package}.{name}" if package else name
        texts.imports[alias or (name if package else name.split(".")[0])] = path
        return True
    if statement := _STATEMENT.match(line):
        texts.statements.append((statement[1], statement[2].strip()))
        return True
    return False


def split(text):
    """The statements of a gin text, without comments, each in one line."""
    text = _COMMENT.sub(lambda found: found[1] or "", text)
    text = re.sub(r"\\\n\s*", " ", text)
    lines, depth = [], 0
    for line in text.splitlines():
        if depth > 0 or (line[:1] in (" ", "\t") and lines and line.strip()):
            lines[-1] += " " + line.strip()
        elif line.strip():
            lines.append(line.strip())
        bare = without_strings(line)
        depth = max(0, depth + sum(map(bare.count, "([{")) -
                    sum(map(bare.count, ")]}")))
    return lines


def bound_first(names, texts):
    """module.function.parameter names in the order of what they matter to.

    The experiment's own, then those of functions that the texts mention.
    """
    used = {".".join(name.rsplit("/", 1)[-1].split(".")[:2])
            for name in (*texts.references(),
                         *(name for name, _ in texts.statements))}
    return sorted(names, key=lambda name: (
        not name.startswith("experiment."),
        name.rpartition(".")[0] not in used))
