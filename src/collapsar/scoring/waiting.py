"""Bars for what takes long: what is done, and how much longer it will take; shown from two seconds on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from collapsar.judging.progress import listening

PATIENCE_SECONDS = 2.0


@contextmanager
def waiting_shown(*, always: bool) -> Iterator[None]:
    """Show on stderr what is waited for within the context, if it is a terminal or `always`."""
    console = Console(stderr=True, force_terminal=True if always else None)
    if not console.is_terminal:
        yield
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    bars, tasks, start = Progress(*columns, console=console, transient=True), dict[str, TaskID](), time.monotonic()

    def heard(what: str, number: int, of: int) -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=of)
        elif bars.tasks[tasks[what]].finished:
            bars.reset(tasks[what], total=of)
        bars.advance(tasks[what], number)
        if time.monotonic() - start > PATIENCE_SECONDS:
            bars.start()

    try:
        with listening(heard):
            yield
    finally:
        bars.stop()
