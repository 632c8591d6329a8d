"""What the lists have in common: words that choose, and how they are shown.

Nothing here imports TensorFlow, whose import alone takes seconds.
"""

import json
import re

from tfvit.storage import spelling

_FEW = 50  # Names that fit into a sentence.


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
