"""Goes through rows, one after the other, and keeps the pages up to date."""

import os

from absl import logging

from tfvit.reproduction import ledger
from tfvit.reproduction import measure
from tfvit.reproduction import pages
from tfvit.reproduction import records
from tfvit.reproduction import verdicts
from tfvit.storage import files as files_lib


def go(rows, chosen, out, options, evaluate=measure.apart):
    """Measures the chosen rows that are not measured yet.

    Args:
      rows: all ledger.Rows, which the pages show.
      chosen: those to measure.
      out: folder for reproduce.{jsonl,md,html} and the runs that train.
      options: see commands.overrides.
      evaluate: see measure.apart.

    Returns:
      {id: record} of all that there is in `out`.
    """
    path = os.path.join(out, records.NAME)
    found = records.read(path)
    write(rows, found, out)  # What cannot be written is said before hours go.
    for number, row in enumerate(chosen, 1):
        where = f"{number}/{len(chosen)} {row.id}"
        if records.done(found.get(row.id), row, out, options):
            logging.info("%s: done, %s.", where, found[row.id]["verdict"])
            continue
        logging.info("%s: %s", where, row.checkpoint or row.gin)
        try:
            measured = records.same_evaluation(found, row, out, options)
            if measured is None and row.task == ledger.TRAINING:
                measured = measure.trained(row, out, options)
            elif measured is None:
                measured = evaluate(row, options)
            record = records.made(row, out, options, measured=measured)
        except measure.Failed as failed:
            record = records.made(row, out, options, failed=failed)
        found[row.id] = record
        records.append(path, record)
        write(rows, found, out)
        logging.info("%s: %s", where, _line(record))
    return found


def _line(record):
    if "measured" not in record:
        return f"{record['verdict']}: {record['why']}"
    return (f"{pages.percent(record['measured'])}, expected "
            f"{pages.percent(record['expected'])}: {record['verdict']}. "
            f"{record['why']}").rstrip()


def write(rows, found, out):
    """Writes reproduce.md and reproduce.html."""
    for suffix, page in (("md", pages.markdown), ("html", pages.html_page)):
        with files_lib.replacing(os.path.join(out, f"reproduce.{suffix}"),
                                 "Choose another --out.") as f:
            f.write(page(rows, found).encode())


def failures(found, chosen):
    """How many of the chosen rows have no measurement."""
    return sum(found[row.id]["verdict"] not in verdicts.MEASURED
               for row in chosen)
