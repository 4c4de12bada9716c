"""Progress of a running chain on a terminal: where it is, how long it takes, and its metrics so far.

Each generation leaves a log line; on a terminal it stands above a live view.
"""

import logging
import math
from collections.abc import Sequence
from statistics import median

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from collapsar.foundations.record import GenerationRecord
from collapsar.foundations.words import duration_text
from collapsar.journal.alarm import Fired
from collapsar.journal.rows import headline
from collapsar.journal.tracking import ChainTitle
from collapsar.judging.metric_keys import MAIN, bounds_of

logger = logging.getLogger(__name__)

SPARKS = "▁▂▃▄▅▆▇█"
SHOWN_GENERATIONS = 40  # in a sparkline


class ChainProgress:
    """The progress of a chain with its stored records; `position` says in words which job of a multirun it is."""

    def __init__(
        self,
        console: Console,
        *,
        title: ChainTitle,
        position: str,
        steps_per_generation: int,
        records: Sequence[GenerationRecord],
    ) -> None:
        self.num_generations = title.num_generations
        self.title = Text.assemble((title.shown, "bold"), f"  {position}" if position else "")
        self.steps_per_generation = max(steps_per_generation, 1)
        self.records, self.last_alarm = list(records), list[Text]()
        self._num_untrained = len(records)  # generations that this run does not train
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn(), TextColumn("left"),
            TimeRemainingColumn(), console=console,
        )  # fmt: skip
        total = self._num_steps(self.num_generations)
        self._task = self._bar.add_task("reading data and fitting the feature spaces", total=total)

    def trained(self, epoch: int, steps: int) -> None:
        note = f"generation {len(self.records)}/{self.num_generations - 1}, epoch {epoch}, step {steps}"
        done = self._num_steps(len(self.records)) + min(steps, self.steps_per_generation)
        self._bar.update(self._task, completed=done, description=note)

    def finished(self, record: GenerationRecord) -> None:
        self.records.append(record)
        self._num_untrained += bool(record.shared_seconds)  # or the estimate would count it as a quick training
        done, total = (self._num_steps(number) for number in (len(self.records), self.num_generations))
        self._bar.update(self._task, total=total, completed=done)
        seconds, num_left = f"{sum(record.seconds.values()):.1f} s", self.num_generations - len(self.records)
        if record.shared_seconds:
            seconds += ", trained already"
        elif num_left:  # generations, each of which may take as long as those of this chain
            trained = [sum(each.seconds.values(), 0.0) for each in self.records if not each.shared_seconds]
            seconds += f", about {duration_text(num_left * median(trained))} left"
        last = self.num_generations - 1
        logger.info("generation %d/%d: %s (%s)", record.generation, last, headline(record), seconds)

    def alarmed(self, fired: Fired) -> None:
        self.last_alarm = [Text(str(fired), style="bold red")]
        logger.warning("%s", fired)

    def _num_steps(self, num_generations: int) -> int:
        return (num_generations - self._num_untrained) * self.steps_per_generation

    def view(self) -> RenderableType:
        """Each metric's last value, and a bar for each generation, up to its upper bound or else its largest value."""
        table = Table.grid(padding=(0, 2))
        for name, values in courses(self.records[-SHOWN_GENERATIONS:]).items():
            highest = bounds_of(name)[1]
            top = highest if math.isfinite(highest) else max(values)
            table.add_row(name, f"{values[-1]:.3g}", sparkline(values, top=top))
        return Group(self.title, self._bar, table, *self.last_alarm)


def courses(records: Sequence[GenerationRecord]) -> dict[str, list[float]]:
    """The measured values of the headline metrics, by name; classes are counted that are alive."""
    names = (name for name in MAIN if name != "classes_dropped")
    found = {name: [record.metrics[name] for record in records if name in record.metrics] for name in names}
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
