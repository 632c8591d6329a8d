"""What was measured, a line of JSON for each time: reproduce.jsonl."""

import json
import os

from tfvit.reproduction import commands
from tfvit.reproduction import verdicts

NAME = "reproduce.jsonl"
_KEYS = ("id", "metric", "expected", "tolerance", "verdict", "command")


def made(row, out, options, *, measured=None, failed=None):
    """The record of a row.

    Args:
      row: a ledger.Row.
      out: folder of everything.
      options: see commands.overrides.
      measured: as measure.apart returns it; or
      failed: a measure.Failed.
    """
    record = {"id": row.id, "task": row.task, "checkpoint": row.checkpoint,
              "metric": row.metric, "expected": row.expected,
              "tolerance": row.tolerance, "source": row.source,
              "second": row.second,
              "images": commands.part_of(row, options.get("images")),
              "command": commands.text(row, out, **options)}
    if failed:
        return {**record, "verdict": failed.verdict, "why": failed.why}
    metrics = measured["metrics"]
    share = metrics[row.metric]
    count = int(metrics.get(
        "captions" if row.metric.startswith("txt2img") else "examples", 0))
    verdict, why = verdicts.of(row, share, count, record["images"],
                               metrics.get("examples"))
    low, high = verdicts.wilson(share, count) if count else (None, None)
    return {**record, "measured": share, "low": low, "high": high,
            "examples": count, "difference": share - row.expected,
            "verdict": verdict, "why": why, "seconds": measured["seconds"],
            "device": measured["device"], "metrics": metrics}


def read(path):
    """{id: the last record of it}; {} where there is no file.

    A line that was being written when its process was killed is none.

    Raises:
      ValueError: a line is no record.
      OSError: the file cannot be read.
    """
    if not os.path.exists(path):
        return {}
    try:
        with open(path, "rb") as f:
            lines = f.readlines()
    except OSError as error:
        raise OSError(f"{path} cannot be read: {error.strerror}. Choose "
                      "another --out.") from error
    found = {}
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            continue
        try:
            record = _checked(json.loads(line))
        except ValueError as error:
            raise ValueError(
                f"{path}, line {number}, is no record of a row ({error}): "
                "delete the line, or choose another --out.") from error
        found[record["id"]] = record
    return found


def _checked(record):
    """A record that has what is asked of one; else a ValueError says what not.
    """
    if not isinstance(record, dict):
        raise ValueError("it is no object")
    for key in _KEYS:
        if key not in record:
            raise ValueError(f"it has no {key!r}")
    if record["verdict"] not in verdicts.ALL:
        raise ValueError(f"{record['verdict']!r} is no verdict")
    return record


def append(path, record):
    """Adds a line, in one piece; what a killed process left of one goes."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    line = (json.dumps(record, ensure_ascii=False) + "\n").encode()
    with open(path, "ab+") as f:
        f.seek(0)
        there = f.read()
        if there and not there.endswith(b"\n"):
            f.truncate(there.rfind(b"\n") + 1)
        f.write(line)
        f.flush()
        os.fsync(f.fileno())


def done(record, row, out, options):
    """Whether a record is of this very question, and has an answer."""
    return (record is not None and record["verdict"] in verdicts.MEASURED and
            all(record[key] == getattr(row, key) for key in (
                "expected", "tolerance", "metric")) and
            record["command"] == commands.text(row, out, **options))


def same_evaluation(found, row, out, options):
    """What a record of the same command measured, of another metric, or None.
    """
    command = commands.text(row, out, **options)
    for record in found.values():
        if (record["command"] == command and
                row.metric in record.get("metrics", {})):
            return {"metrics": record["metrics"], "seconds": 0.0,
                    "device": record["device"]}
    return None
