"""Reads tables, row by row: CSV, tabs, or JSON objects line by line."""
from collections.abc import Iterator
import csv
import io
import json

import tensorflow as tf

SUFFIXES = (".csv", ".jsonl", ".tsv")
_DELIMITERS = {";": "';'", "\t": "'\\t'", "|": "'|'", ",": "','"}


def records(path: str, delimiter: str | None, user: str,
            notes: list[str]) -> Iterator[tuple[int, dict]]:
    """Yields (line, {column: value}) of a table; see `read`.

    Args:
      path: .csv, .tsv or .jsonl.
      delimiter: between values; None for a tab in .tsv, a comma in .csv.
      user: function whose `path` it is, for errors.
      notes: what was left out is added to it.

    Raises:
      ValueError: there is no such file, or it is none of these formats.
    """
    if not path.lower().endswith(SUFFIXES):
        raise ValueError(f"{user}.path = {path!r} is none of "
                         f"{', '.join(SUFFIXES)}.")
    if not tf.io.gfile.exists(path):
        raise ValueError(f"{user}.path = {path!r} does not exist.")
    with tf.io.gfile.GFile(path, "rb") as f:
        contents = f.read()
    try:
        text = contents.decode("utf-8-sig")  # Excel begins with a mark.
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from error
    if path.lower().endswith(".jsonl"):
        return _jsonl(path, text)
    if delimiter is not None and len(delimiter) != 1:
        raise ValueError(f"{user}.delimiter = {delimiter!r} must be one sign, "
                         "such as ';' or '\\t', or None.")
    if delimiter is None:
        delimiter = "\t" if path.lower().endswith(".tsv") else ","
    return _csv(path, text, delimiter, user, notes)


def _csv(path, text, delimiter, user, notes):
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter,
                            skipinitialspace=True, strict=True)
    empty = []
    try:
        reader.fieldnames = _header(path, reader.fieldnames)
        for row in reader:
            values = row.get(None, []) + [v for k, v in row.items() if k]
            if not any(value and value.strip() for value in values):
                empty.append(reader.line_num)  # As spreadsheets leave them.
                continue
            if None in row or None in row.values():
                raise ValueError(
                    f"{path}, line {reader.line_num}: not as many values as "
                    f"the header names columns ({len(reader.fieldnames)})."
                    f"{hint(reader.fieldnames, user)}")
            yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(
            f"{path}, near line {reader.line_num}: {error}.") from error
    if empty:
        notes.append(f"Ignored {len(empty)} empty rows of {path}, such as line "
                     f"{empty[0]}.")


def _header(path, names):
    """The names of the columns, without blanks around them."""
    names = [name.strip() for name in names or []]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise ValueError(f"The header of {path} names {', '.join(twice)} "
                         "twice: which column counts?")
    return names


def check_columns(path: str, row: dict, wanted: dict[str, str]) -> None:
    """Checks that no column is meant and spelled otherwise.

    Args:
      path: of the table.
      row: of it.
      wanted: {argument that names a column: its value}.

    Raises:
      ValueError: a name differs from a wanted one in case or blanks alone.
    """
    for argument, name in wanted.items():
        for other in row:
            if name not in row and str(other).strip().lower() == name.lower():
                raise ValueError(f"{path} has the column {other!r}, not "
                                 f"{name!r}: set {argument} = {other!r}.")


def hint(columns, user: str) -> str:
    """A sentence on another delimiter, if the header looks like that."""
    (only, *others) = map(str, columns)
    found = [shown for delimiter, shown in _DELIMITERS.items()
             if delimiter in only]
    if others or not found:
        return ""
    return (f" The header looks divided by {found[0]}: set {user}.delimiter = "
            f"{found[0]}.")


def _jsonl(path, text):
    for line, record in enumerate(text.split("\n"), 1):
        if not record.strip():
            continue
        try:
            row = json.loads(record)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"{path}, line {line}: {error}.") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {line}: {record[:40]!r} is no JSON "
                             "object such as {\"image\": ..., \"label\": ...}.")
        yield line, row
