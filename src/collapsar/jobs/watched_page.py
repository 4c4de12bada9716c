"""The page of a study that still runs: written again after a generation, so that it can be watched without W&B.

One process at a time writes it, at most every few seconds and for a small share of the time; the others go on training.
"""

import logging
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from collapsar.records.words import counted

logger = logging.getLogger(__name__)

PAGE = "report.html"  # in the folder of a study, and in that of a chain
SHARE = 0.03  # of the time, at most, that the writing takes
MIN_SECONDS, FIRST_SECONDS = 3.0, 0.3  # between two pages, and what writing the first one is taken to cost


class WatchedPage:
    """The page over the folder of a study, or of a chain that runs alone; call it after each generation.

    Beside the page lie its lock, and the time when the next page is due. `num_chains` is 0 if it is unknown.
    """

    def __init__(self, folder: Path, *, num_chains: int) -> None:
        self.folder, self.page, self.num_chains = folder, folder / PAGE, num_chains
        self._due = folder / f".{PAGE}.due"
        self._has_failed = False

    def __call__(self) -> None:
        """Write the page, unless it is not due yet or another process writes it."""
        if self._has_failed or self._next() > time.time():
            return
        with suppress(Timeout, NotImplementedError, OSError), FileLock(f"{self._due}.lock", timeout=0):
            if self._next() <= time.time():
                self._write()

    def _next(self) -> float:
        """When the next page is due, in seconds since 1970."""
        if not self._due.exists():
            self._set_due(FIRST_SECONDS)
        try:
            return float(self._due.read_text())
        except (OSError, ValueError):
            return 0.0

    def _set_due(self, seconds: float) -> None:
        """Let the next page wait until a page that takes these seconds to write is a small share of the time."""
        with suppress(OSError):
            self._due.write_text(str(time.time() + max(MIN_SECONDS, seconds / SHARE)))

    def _write(self) -> None:
        from collapsar.report.page import write_page
        from collapsar.study.study import read_study

        start = time.time()
        try:
            study = read_study([self.folder])
            total = max(self.num_chains, len(study.chains))
            done = f"{sum(not chain.is_open for chain in study.chains)} of {counted(total, 'chain')}"
            if total == 1:
                done = counted(len(study.chains[0].records), "generation")
            write_page(study, self.page, notice=f"{done} done at {time.strftime('%Y-%m-%d %H:%M:%S')}")
        except Exception as error:  # a section of a plug-in may fail in any way, and no chain must end by it
            self._has_failed = True
            logger.warning("%s is written when the chains are done: %s: %s", self.page, type(error).__name__, error)
        self._set_due(time.time() - start)
