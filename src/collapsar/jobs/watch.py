"""The terminal's view of jobs that run side by side: which run, wait, are done or failed, and the time left.

The progress of a chain is read from its run folder, which all processes see. On a terminal the view is live; elsewhere
each start and end of a job logs one line.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from rich.console import Console, Group, RenderableType
from rich.text import Text

from collapsar.journal.live import live_view
from collapsar.records.words import duration_text

logger = logging.getLogger(__name__)

RECORDS, LOG = "records.jsonl", "job.log"
FRAME_LINES = 3  # of the terminal, kept free above and below the jobs
State: TypeAlias = Literal["failed", "runs", "waits", "done"]
STYLES: dict[State, str] = {"failed": "bold red", "runs": "bold", "waits": "dim", "done": "green"}  # in the order shown


@dataclass(kw_only=True)
class Watched:
    """A job as the view knows it; it runs once the log in its folder has grown."""

    number: int  # from 1
    title: str  # its arm and its seed
    folder: Path
    num_generations: int
    state: State = "waits"
    reason: str = ""  # why it failed

    def __post_init__(self) -> None:
        self.num_before = self.num_finished = self.count()  # generations before this multirun
        self._log_bytes_before = self._log_bytes()

    def _log_bytes(self) -> int:
        log = self.folder / LOG
        return log.stat().st_size if log.exists() else 0

    @property
    def has_started(self) -> bool:
        """Whether its log has grown since the view was made."""
        return self._log_bytes() > self._log_bytes_before

    def count(self) -> int:
        """Finished generations in the run folder, at most as many as the chain wants."""
        try:
            with (self.folder / RECORDS).open("rb") as lines:
                return min(sum(1 for _ in lines), self.num_generations)
        except FileNotFoundError:
            return 0


class MultirunView:
    """A view of all jobs that a launcher got at once, in their order; drawn live if the console is a terminal."""

    def __init__(self, jobs: Sequence[Watched], *, console: Console) -> None:
        self.jobs, self.console, self.start = jobs, console, time.monotonic()

    def shown(self) -> AbstractContextManager[None]:
        return live_view(self.console, self.view)

    def look(self) -> None:
        """Update which jobs have started, and the progress of those that run."""
        for job in self.jobs:
            if job.state == "waits" and job.has_started:
                job.state = "runs"
                self._say("runs", job)
            if job.state == "runs":
                job.num_finished = job.count()

    def ended(self, job: Watched, *, reason: str) -> None:
        """Mark a job as over; if there is a reason, it failed."""
        job.num_finished, job.reason = job.count(), reason
        job.state = "failed" if reason else "done"
        self._say(f"failed: {reason}" if reason else "is done", job)

    def _say(self, what: str, job: Watched) -> None:
        if not self.console.is_terminal:
            logger.info("job %d (%s) %s; %s", job.number, job.title, what, self.summary())

    def summary(self) -> str:
        counts = {state: sum(job.state == state for job in self.jobs) for state in STYLES}
        words = [f"{count} {state}" for state, count in counts.items() if count]
        left = seconds_left(self.jobs, elapsed=time.monotonic() - self.start)
        return ", ".join(words) + (f", about {duration_text(left)} left" if left else "")

    def view(self) -> RenderableType:
        """As many jobs as the terminal has room for: failed and running ones before waiting and done ones."""
        room = max(self.console.height - FRAME_LINES, 1)
        shown = sorted(self.jobs, key=lambda job: list(STYLES).index(job.state))
        hidden = [f"     and {len(shown) - room} more"] if len(shown) > room else []
        lines = []
        for job in shown[:room]:
            what = f"{job.title}: {job.reason}" if job.reason else job.title
            line = f"{job.number:>4} {job.state:<6} {job.num_finished}/{job.num_generations}  {what}"
            lines.append(Text(line, style=STYLES[job.state], overflow="ellipsis", no_wrap=True))
        return Group(*lines, *hidden, Text(self.summary(), style="bold"))


def seconds_left(jobs: Sequence[Watched], *, elapsed: float) -> float | None:
    """The time that all jobs of a multirun still need at their speed so far; None before any generation is finished."""
    num_finished = sum(job.num_finished - job.num_before for job in jobs)
    num_left = sum(job.num_generations - job.num_finished for job in jobs if job.state in ("runs", "waits"))
    if num_left == 0:
        return 0.0
    return elapsed * num_left / num_finished if num_finished else None
