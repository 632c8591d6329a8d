"""Tables of texts for the terminal."""

import os
import re
import shutil
import sys


def brief(text):
    """A text without the papers that it names in parentheses."""
    return re.sub(r" \(arXiv [^)]*\)", "", text)


def width():
    """Columns of the terminal; None where nobody looks, and lines may be long.
    """
    if os.environ.get("COLUMNS", "").isdigit() or sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    return None


def short(text, room):
    """A text in at most so many characters, with a mark where it was cut."""
    return text if room is None or len(text) <= room else (
        text[:max(room - 1, 0)].rstrip() + "…")


def aligned(columns, texts, room=None, left=(0,)):
    """Yields the lines of a table.

    Args:
      columns: headings.
      texts: rows of as many texts.
      room: characters of a line; the last column is cut to it. None for any.
      left: numbers of the columns that begin at their left.
    """
    widths = [max(map(len, column)) for column in zip(columns, *texts)]
    if room is not None:
        widths[-1] = max(min(widths[-1], room - sum(widths[:-1]) -
                             2 * len(widths[:-1])), min(widths[-1], 10))
    for line in [columns, *texts]:
        line = [*line[:-1], short(line[-1], widths[-1])]
        yield "  ".join(
            cell.ljust(size) if i in left else cell.rjust(size)
            for i, (cell, size) in enumerate(zip(line, widths))).rstrip()
