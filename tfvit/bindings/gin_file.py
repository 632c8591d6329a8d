"""Gin files as text: what they bind, include, and say in their comment.

Nothing here imports TensorFlow, whose import alone takes seconds.
"""

import dataclasses
import os
import re

from tfvit.bindings import settable

ROOT = settable.ROOT


@dataclasses.dataclass(frozen=True)
class Expected:
    """What the comment of a run says of its result.

    Attributes:
      metric: such as test/accuracy.
      text: of the value, such as 0.9902.
      source: where it is from, the first clause of what is in brackets.
      about: whether it is "about" that.
      late: whether it is that of the last step.
    """
    metric: str
    text: str
    source: str
    about: bool
    late: bool


class GinFile:
    """A gin file as text, and those that it includes.

    Attributes:
      path: from the root, such as gin/data/digits.gin.
      name: of the file, such as digits.
      comment: the lines that it begins with, without #.
      own: what is bound here, {name: text}.
      bindings: the same with what the included files bind; the last one wins.
      includes: paths of all files that it includes, at any depth.
    """

    def __init__(self, path):
        self.path = path
        self.name = os.path.splitext(os.path.basename(path))[0]
        with open(os.path.join(ROOT, path), encoding="utf-8") as f:
            text = f.read()
        comment = re.match(r"(?:#.*\n)*", text)[0]
        self.comment = [line[1:].removeprefix(" ")
                        for line in comment.splitlines()]
        # A value goes on where a line is indented or closes a bracket.
        joined = re.sub(r"\n(?:[ \t]+|(?=[\])}]))", " ", text[len(comment):])
        self.own = {
            name: re.sub(r"\s+#.*", "", value).strip() for name, value in
            re.findall(r"^([\w./]+) = (.*)$", joined, re.MULTILINE)}
        included = [GinFile(other) for other in re.findall(
            r"""^include ['"](.*)['"]""", text, re.MULTILINE)]
        self.includes, self.bindings = [], {}
        for other in included:
            self.includes += [other.path, *other.includes]
            self.bindings |= other.bindings
        self.bindings |= self.own

    def says(self, word):
        """What follows "Word: " in the comment, to the end of its paragraph."""
        text = "\n".join(self.comment)
        # It ends before a command, which is indented.
        found = re.search(rf"^{word}: ((?:.|\n(?!  |[A-Z][\w-]*: ))*)", text,
                          re.MULTILINE)
        return " ".join(found[1].split()) if found else ""

    def about(self):
        """The comment before any command and any "Word: ", as one line."""
        text = "\n".join(self.comment)
        text = re.split(r"^(?:  |[A-Z]\w*: )", text, maxsplit=1,
                        flags=re.MULTILINE)[0]
        return " ".join(text.split())

    def expected(self):
        """The first number of its "Expected: ", an Expected; else None."""
        found = re.match(r"(\w+/[\w@]+) (about )?([01]\.\d+)([^(]*)(.*)",
                         self.says("Expected"))
        if not found:
            return None
        metric, about, text, more, rest = found.groups()
        source = re.match(r"\((.*?)(?:; .*|, which .*)?\)", rest)
        return Expected(metric, text, source[1] if source else "", bool(about),
                        " after " not in more)


def gin_files(folder):
    """The files of a folder, such as gin/data, sorted by name."""
    return [GinFile(f"{folder}/{file}")
            for file in sorted(os.listdir(os.path.join(ROOT, folder)))
            if file.endswith(".gin")]
