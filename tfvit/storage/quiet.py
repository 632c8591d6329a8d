"""Keeps lines from the log that would say nothing to a user."""

from collections.abc import Iterator
import contextlib
import logging as python_logging

from absl import logging


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Inside, tfvit and TensorFlow log warnings alone, unless it is --verbose.
    """
    # The loggers' own levels: set_verbosity would leave one where none was.
    before = {logger: logger.level for logger in (
        logging.get_absl_logger(), python_logging.getLogger("tensorflow"))}
    try:
        if logging.get_verbosity() < logging.DEBUG:
            for logger in before:
                logger.setLevel(max(logger.level, python_logging.WARNING))
        yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)
