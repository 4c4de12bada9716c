"""Jobs that run side by side, and the terminal's view of them: which run, wait, are done or failed, and the time left.

The progress of a chain is read from its run folder, which all processes see. On a terminal the view is live; elsewhere
each start and end of a job logs one line.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from rich.console import Console, Group, RenderableType
from rich.text import Text

from collapsar.foundations.words import duration_text
from collapsar.jobs.failures import Outcome
from collapsar.jobs.multirun import LOG, make_console
from collapsar.jobs.processes import Job
from collapsar.journal.live import live_view

logger = logging.getLogger(__name__)

GLANCE_SECONDS = 0.2  # between two polls of the jobs
FRAME_LINES = 3  # of the terminal, kept free above and below the jobs
State: TypeAlias = Literal["failed", "running", "waiting", "done"]
# In the order shown.
STYLES: dict[State, str] = {"failed": "bold red", "running": "bold", "waiting": "dim", "done": "green"}


@runtime_checkable
class Handle(Protocol):
    """A submitted job: the future of joblib, submitit or Ray."""

    def done(self) -> bool: ...

    def result(self) -> Outcome:
        """How it ended; raises an exception if its process died."""


class Watched:
    """A job as the view knows it; it runs once the log in its folder has grown."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.state: State = "waiting"
        self.reason = ""  # why it failed
        self.num_before = self.num_finished = self.count()  # generations before this multirun
        self.log_bytes_before = self.log_bytes()

    def log_bytes(self) -> int:
        log = self.job.folder / LOG
        return log.stat().st_size if log.exists() else 0

    def count(self) -> int:
        """Finished generations in the run folder, at most as many as the chain wants."""
        records = self.job.folder / "records.jsonl"
        return min(records.read_bytes().count(b"\n"), self.job.num_generations) if records.exists() else 0


class MultirunView:
    """A view of all jobs that a launcher got at once, in their order; drawn live if the console is a terminal."""

    def __init__(self, jobs: Sequence[Watched], *, console: Console) -> None:
        self.jobs, self.console, self.start = jobs, console, time.monotonic()

    def look(self) -> None:
        """Update which jobs have started, and the progress of those that run."""
        for each in self.jobs:
            if each.state == "waiting" and each.log_bytes() > each.log_bytes_before:
                each.state = "running"
                self._say("runs", each)
            if each.state == "running":
                each.num_finished = each.count()

    def ended(self, each: Watched, *, reason: str) -> None:
        """Mark a job as over; if there is a reason, it failed."""
        each.num_finished, each.reason = each.count(), reason
        each.state = "failed" if reason else "done"
        self._say(f"failed: {reason}" if reason else "is done", each)

    def _say(self, what: str, each: Watched) -> None:
        if not self.console.is_terminal:
            logger.info("job %d (%s) %s; %s", each.job.number, each.job.title, what, self.summary())

    def summary(self) -> str:
        words = [f"{num} {state}" for state in STYLES if (num := sum(each.state == state for each in self.jobs))]
        left = seconds_left(self.jobs, elapsed=time.monotonic() - self.start)
        return ", ".join(words) + (f", about {duration_text(left)} left" if left else "")

    def view(self) -> RenderableType:
        """As many jobs as the terminal has room for: failed and running ones before waiting and done ones."""
        room = max(self.console.height - FRAME_LINES, 1)
        shown = sorted(self.jobs, key=lambda each: list(STYLES).index(each.state))
        hidden = [f"     and {len(shown) - room} more"] if len(shown) > room else []
        lines = []
        for each in shown[:room]:
            what = f"{each.job.title}: {each.reason}" if each.reason else each.job.title
            line = f"{each.job.number:>4} {each.state:<7} {each.num_finished}/{each.job.num_generations}  {what}"
            lines.append(Text(line, style=STYLES[each.state], overflow="ellipsis", no_wrap=True))
        return Group(*lines, *hidden, Text(self.summary(), style="bold"))


def seconds_left(jobs: Sequence[Watched], *, elapsed: float) -> float | None:
    """The time that all jobs of a multirun still need at their speed so far; None before any generation is finished."""
    num_finished = sum(each.num_finished - each.num_before for each in jobs)
    left = [each for each in jobs if each.state in ("running", "waiting")]
    num_left = sum(each.job.num_generations - each.num_finished for each in left)
    if num_left == 0:
        return 0.0
    return elapsed * num_left / num_finished if num_finished else None


def run_all(
    jobs: Sequence[Job], *, num_places: int, start: Callable[[Sequence[tuple[int, Job]]], list[Handle]]
) -> list[Outcome]:
    """Run each job as soon as a place is free, and show the progress; returns how each job ended."""
    watched = [Watched(job) for job in jobs]
    waiting, free = list(range(len(jobs))), list(range(num_places))
    running: dict[int, tuple[int, Handle]] = {}  # place and handle by the index of the job
    outcomes: dict[int, Outcome] = {}
    view = MultirunView(watched, console=make_console())
    with live_view(view.console, view.view):
        while waiting or running:
            in_use, starting = {jobs[index].folder for index in running}, dict[int, int]()
            for index in waiting:
                if free and jobs[index].folder not in in_use:  # jobs of one chain run in turn, each continuing the last
                    in_use.add(jobs[index].folder)
                    starting[index] = free.pop(0)
            waiting = [index for index in waiting if index not in starting]
            if starting:
                handles = start([(place, jobs[index]) for index, place in starting.items()])
                running |= dict(zip(starting, zip(starting.values(), handles, strict=True), strict=True))
            for index, (place, handle) in list(running.items()):
                if handle.done():
                    del running[index]
                    free.append(place)
                    outcomes[index] = outcome_of(handle, job=jobs[index])
                    view.ended(watched[index], reason=outcomes[index].reason)
            view.look()
            time.sleep(GLANCE_SECONDS if running else 0)
    return [outcomes[index] for index in range(len(jobs))]


def outcome_of(handle: Handle, *, job: Job) -> Outcome:
    """How a job ended, even if its process died."""
    try:
        return handle.result()
    except Exception as error:  # whatever joblib, submitit or Ray raises for a process that died
        cause = getattr(error, "cause", None) or error  # Ray wraps what its worker raised before the job began
        what = str(cause).strip().partition("\n")[0] or type(cause).__name__
        log = job.folder / LOG
        return Outcome(reason=f"its process died ({what})" + (f"; its output is in {log}" if log.exists() else ""))
