"""A plain multirun: its jobs run one after another in this process, and each leaves one line on the terminal.

All else that a job says goes to `job.log` in its run folder, as it does if jobs run side by side.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.types import RunMode

from collapsar.jobs.watch import LOG
from collapsar.records.record import GenerationRecord
from collapsar.records.words import counted, duration_text

logger = logging.getLogger(__name__)

QUIET = "hydra._internal.core_plugins.basic_launcher"  # its lines would stand beside ours
begun: list[float] = []  # when each job of this multirun began


def is_in_turn(hydra_config: Any) -> bool:
    """Whether a job is one of a multirun whose jobs run one after another in this process."""
    return hydra_config.mode == RunMode.MULTIRUN and hydra_config.launcher._target_.endswith("BasicLauncher")


def announce(num_jobs: int) -> None:
    """Say how many jobs will run, if it is known."""
    logging.getLogger(QUIET).setLevel(logging.WARNING)
    begun.clear()
    if num_jobs:
        logger.info("%s, one after another; details are in %s of each run folder", counted(num_jobs, "job"), LOG)


@contextmanager
def one_line(folder: Path) -> Iterator[None]:
    """Send what a job logs to its own file; only lines of this module reach the terminal."""
    begun.append(time.monotonic())
    root, file = logging.getLogger(), logging.FileHandler(folder / LOG, delay=True)
    terminal = [handler for handler in root.handlers if type(handler) is logging.StreamHandler]
    root.addHandler(file)
    for handler in terminal:
        handler.addFilter(is_of_this_module)
    try:
        yield
    finally:
        root.removeHandler(file)
        file.close()
        for handler in terminal:
            handler.removeFilter(is_of_this_module)


def is_of_this_module(record: logging.LogRecord) -> bool:
    """Whether a log record is one of ours."""
    return record.name == __name__


def say_end(number: int, *, num_jobs: int, chain: str, outcome: str) -> None:
    """Log the one line of a job: how it ended, and the time left at the speed so far."""
    now = time.monotonic()
    left, pace = num_jobs - number, (now - begun[0]) / len(begun)
    of, rest = (
        (f" of {num_jobs}" if num_jobs else ""),
        (f"; about {duration_text(left * pace)} left" if left > 0 else ""),
    )
    logger.info("job %d%s (%s) %s (%s)%s", number, of, chain, outcome, duration_text(now - begun[-1]), rest)


def done(records: Sequence[GenerationRecord]) -> str:
    """How a chain ended, in words."""
    from collapsar.journal.progress import headline  # imports scipy

    return f"is done: {headline(records[-1])}"
