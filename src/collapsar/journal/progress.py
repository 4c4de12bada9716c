"""Progress of a running chain on a terminal: where it is, how long it takes, and its metrics so far.

A live view on a terminal; elsewhere plain log lines, one for each generation.
"""

import logging
import math
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from collapsar.journal.alarm import Fired
from collapsar.judging.metric_keys import MAIN
from collapsar.judging.metric_lookup import bounds_of
from collapsar.records.record import GenerationRecord

logger = logging.getLogger(__name__)

SPARKS = "▁▂▃▄▅▆▇█"
SHOWN_GENERATIONS = 40  # in a sparkline


class ChainProgress:
    """The live view of one chain.

    Args:
        console: Where it is drawn.
        chain: The chain's name.
        position: Which job of a multirun it is, in words; empty for a single chain.
        num_generations: How many there will be.
        steps_per_generation: Training steps in each; 0 if a generation has none.
        records: Generations that the store already holds.
    """

    def __init__(
        self,
        console: Console,
        *,
        chain: str,
        position: str,
        num_generations: int,
        steps_per_generation: int,
        records: Sequence[GenerationRecord],
    ) -> None:
        self.chain, self.position, self.num_generations = chain, position, num_generations
        self.steps_per_generation = max(steps_per_generation, 1)
        self.is_live = console.is_terminal
        self.records, self.alarms = list(records), list[Fired]()
        self._num_untrained = len(records)  # generations that this run does not train
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn(), TextColumn("left"),
            TimeRemainingColumn(), console=console,
        )  # fmt: skip
        self._task = self._bar.add_task(
            "reading data and fitting the feature spaces",
            total=self._num_steps(num_generations),
        )
        self._live = Live(console=console, get_renderable=self.view, transient=True) if self.is_live else None

    def __enter__(self) -> "ChainProgress":
        if self._live:
            self._plain_handlers = swap_handlers([AboveTheView(self._live.console)])
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
            swap_handlers(self._plain_handlers)

    def trained(self, epoch: int, steps: int) -> None:
        """Show how far training came in the current generation."""
        note = f"generation {len(self.records)}/{self.num_generations - 1}, epoch {epoch}, step {steps}"
        done = self._num_steps(len(self.records)) + min(steps, self.steps_per_generation)
        self._bar.update(self._task, completed=done, description=note)

    def finished(self, record: GenerationRecord) -> None:
        """Show a generation that was stored."""
        self.records.append(record)
        self._num_untrained += bool(record.shared_seconds)  # or the estimate would count it as a quick training
        done, total = (self._num_steps(number) for number in (len(self.records), self.num_generations))
        self._bar.update(self._task, total=total, completed=done)
        values = ", ".join(f"{key} {record.metrics[key]:.3g}" for key in MAIN if key in record.metrics)
        seconds = f"{sum(record.seconds.values()):.1f} s" + (", trained already" if record.shared_seconds else "")
        if not self.is_live:
            logger.info("generation %d/%d: %s (%s)", record.generation, self.num_generations - 1, values, seconds)

    def alarmed(self, fired: Fired) -> None:
        """Show a rule of the alarm that fired."""
        self.alarms.append(fired)
        logger.warning("%s", fired)

    def _num_steps(self, num_generations: int) -> int:
        """The training steps of this run by the time that so many generations are stored."""
        return (num_generations - self._num_untrained) * self.steps_per_generation

    def view(self) -> RenderableType:
        """The current content of the live view."""
        title = Text.assemble((self.chain, "bold"), f"  {self.position}" if self.position else "")
        alarms = [Text(str(fired), style="bold red") for fired in self.alarms[-1:]]
        return Group(title, self._bar, metrics_table(self.records), *alarms)


class AboveTheView(logging.Handler):
    """Writes log lines above a live view; lines that are printed past it would tear the view apart."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        self.console.print(Text(record.getMessage()))


def swap_handlers(handlers: Sequence[logging.Handler]) -> list[logging.Handler]:
    """Replace the root logger's terminal handlers by these; return the replaced ones."""
    root = logging.getLogger()
    terminal = [handler for handler in root.handlers if type(handler) in (logging.StreamHandler, AboveTheView)]
    root.handlers = [*(handler for handler in root.handlers if handler not in terminal), *handlers]
    return terminal


def metrics_table(records: Sequence[GenerationRecord]) -> Table:
    """The headline metrics of the generations so far: the last value, and a little bar for each generation.

    Bars reach to the metric's upper bound, or without one to the largest measured value.
    """
    table = Table.grid(padding=(0, 2))
    for name, values in courses(records[-SHOWN_GENERATIONS:]).items():
        highest = bounds_of(name)[1]
        top = highest if math.isfinite(highest) else max(values)
        table.add_row(name, f"{values[-1]:.3g}", sparkline(values, top=top))
    return table


def courses(records: Sequence[GenerationRecord]) -> dict[str, list[float]]:
    """The measured values of the headline metrics, by name."""
    found = {
        name: [record.metrics[name] for record in records if name in record.metrics]
        for name in MAIN
        if name != "classes_dropped"
    }
    found["classes alive"] = [
        len(record.class_shares["real"]) - record.metrics["classes_dropped"]
        for record in records
        if record.class_shares and "classes_dropped" in record.metrics
    ]
    return {name: values for name, values in found.items() if values}


def sparkline(values: Sequence[float], *, top: float) -> str:
    """Values between 0 and `top` as a row of little bars."""
    heights = (int(value / top * len(SPARKS)) if top > 0 else 0 for value in values)
    return "".join(SPARKS[min(max(height, 0), len(SPARKS) - 1)] for height in heights)
