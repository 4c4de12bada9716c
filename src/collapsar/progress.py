"""One live line a chain: generation, epoch, time left, and the last recall; plain log lines without a terminal."""

import logging
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from collapsar.records import GenerationRecord

logger = logging.getLogger(__name__)

SPARKS = "▁▂▃▄▅▆▇█"
HEADLINE_METRICS = ("fid", "precision", "recall", "classes_dropped")


class ChainProgress:
    """The live line of one chain.

    Args:
        console: Where it is drawn.
        chain: The chain's name.
        num_generations: How many there will be.
        steps_per_generation: Training steps in each; 0 where a generation has none.
        finished: Generations that are in the store already.
    """

    def __init__(
        self, console: Console, *, chain: str, num_generations: int, steps_per_generation: int, finished: int
    ) -> None:
        self.num_generations, self.steps_per_generation = num_generations, max(steps_per_generation, 1)
        self.is_live = console.is_terminal
        self.recalls: list[float] = []
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not self.is_live,
        )
        self._task = self._progress.add_task(
            chain,
            total=(num_generations - finished) * self.steps_per_generation,
            note="reading data and fitting the feature spaces",
        )
        self._finished = self._first = finished

    def __enter__(self) -> "ChainProgress":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def trained(self, epoch: int, steps: int) -> None:
        """Training has come this far in the present generation."""
        done = (self._finished - self._first) * self.steps_per_generation
        note = f"generation {self._finished}/{self.num_generations - 1}, epoch {epoch}"
        if self.recalls:
            note += f"  recall {sparkline(self.recalls)} {self.recalls[-1]:.2f}"
        self._progress.update(self._task, completed=done + min(steps, self.steps_per_generation), note=note)

    def finished(self, record: GenerationRecord) -> None:
        """A generation is stored."""
        self._finished = record.generation + 1
        self.recalls += [record.metrics["recall"]] if "recall" in record.metrics else []
        values = ", ".join(f"{key} {record.metrics[key]:.3g}" for key in HEADLINE_METRICS if key in record.metrics)
        seconds = sum(record.seconds.values())
        if not self.is_live:
            logger.info("generation %d/%d: %s (%.1f s)", record.generation, self.num_generations - 1, values, seconds)


def sparkline(values: list[float]) -> str:
    """Values in [0, 1] as a row of little bars."""
    return "".join(SPARKS[min(int(value * len(SPARKS)), len(SPARKS) - 1)] for value in values)
