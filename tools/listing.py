"""What the lists have in common: gin files as text, and words that choose.

Nothing here imports TensorFlow, whose import alone takes seconds.
"""

import json
import os
import re

from tfvit.bindings import settable
from tfvit.storage import spelling

ROOT = settable.ROOT
_FEW = 50  # Names that fit into a sentence.


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


def gin_files(folder):
    """The files of a folder, such as gin/data, sorted by name."""
    return [GinFile(f"{folder}/{file}")
            for file in sorted(os.listdir(os.path.join(ROOT, folder)))
            if file.endswith(".gin")]


def sentence(text):
    """The first sentence of a text."""
    return re.split(r"(?<=[^.A-Z]\.)\s", text.strip() + " ", maxsplit=1)[0]


def choose(rows, words, text):
    """The rows of exactly those names, or else those with all words in their
    names, or else those with all words in their texts.

    Args:
      rows: dicts with a "name".
      words: what the user asks for; all rows without any.
      text: row -> what more to look in.

    Raises:
      ValueError: there is none; says what is called alike, or what there is.
    """
    called = [row for row in rows if row["name"] in words]
    if len(called) < len(words):  # Not all of them are names.
        called = []
    for where in (lambda row: row["name"], text):
        called = called or [row for row in rows if all(
            word.lower() in where(row).lower() for word in words)]
    if not called:
        names = {row["name"].rsplit(".", 1)[-1]: row["name"] for row in rows}
        names |= {row["name"]: row["name"] for row in rows}
        near = dict.fromkeys(names[name] for name in
                             spelling.near(" ".join(words), names))
        raise ValueError(f"Nothing here is called {' '.join(words)!r}. " + (
            f"Did you mean {' or '.join(near)}?" if near else
            f"There are {', '.join(row['name'] for row in rows)}."
            if len(rows) <= _FEW else
            "The same command without a word lists all that there is."))
    return called


def show(rows, words, *, as_json, text, table, details):
    """Prints rows, or those that words choose, or all about a single one.

    Args:
      rows: dicts, each with a "name".
      words: see choose.
      as_json: whether to print JSON, which holds everything.
      text: see choose.
      table: rows -> lines of a table of them.
      details: row -> lines about one.
    """
    found = choose(rows, words, text)
    if as_json:
        print(json.dumps(found, indent=1))
    elif len(found) == 1 and words:
        print("\n".join(details(found[0])))
    else:
        print("\n".join(table(found)))
