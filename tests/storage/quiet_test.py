"""Quiet parts of a command."""

import logging as python_logging

from absl import logging
import pytest

from tfvit.storage import quiet


@pytest.mark.parametrize("verbose", [False, True])
def test_inside_warnings_alone_are_said_and_afterwards_all(verbose, caplog,
                                                          monkeypatch):
    others = python_logging.getLogger("tensorflow")
    monkeypatch.setattr(others, "level", python_logging.ERROR)
    before = logging.get_verbosity()
    logging.set_verbosity(logging.DEBUG if verbose else logging.INFO)
    try:
        with pytest.raises(ValueError), quiet.quietly():
            assert others.level == python_logging.ERROR
            logging.info("left out")
            logging.warning("said")
            raise ValueError
        logging.info("again")
    finally:
        logging.set_verbosity(before)
    assert [record.getMessage() for record in caplog.records] == [
        *["left out"] * verbose, "said", "again"]
