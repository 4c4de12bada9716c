"""Tracking: a run folder is mirrored elsewhere while it grows, to W&B (`wandb_tracking`) or to files (`file_tracking`).

A mirror is made from the records alone. A chain that continues after a kill is mirrored anew from its start, so that no
step stands there twice.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collapsar.foundations.chosen import Chosen
from collapsar.foundations.record import GenerationRecord, is_loss
from collapsar.journal.rows import TRAINING_AXIS
from collapsar.journal.store import RunFolder


@dataclass(frozen=True, kw_only=True)
class ChainTitle:
    """The names of a chain, and of its data source, model and regime."""

    name: str  # also of its artifacts
    study: str  # by which runs are grouped
    data: str
    model: str
    regime: str
    num_generations: int
    seed: int
    command: str = ""  # that runs the chain
    chosen: Chosen | None = None  # the name of its arm and what it is made of; None without a command

    @property
    def shown(self) -> str:
        """The chain as people read it: its arm and its seed."""
        return f"{self.chosen.arm}, seed {self.seed}" if self.chosen else self.name


class Tracking(ABC):
    """Mirrors a chain's run folder elsewhere; from `start` to `finish` it gets each reading and generation once."""

    _is_on = False
    _steps_before: float = 0  # the present generation, in all trainings of the chain
    _step_read: float = 0  # of the present generation, while it trains

    @abstractmethod
    def begin(self, store: RunFolder, *, title: ChainTitle, config: dict[str, Any]) -> bool:
        """Make an empty mirror of one chain; return False if it is switched off."""

    def caught_up(self) -> None:  # noqa: B027  a mirror overrides what it takes
        """Act after the finished generations are mirrored."""

    def write_reading(self, row: dict[str, int | float]) -> None:  # noqa: B027
        """Add a reading of the losses, on one axis of steps for all trainings."""

    def write_generation(self, store: RunFolder, record: GenerationRecord) -> None:  # noqa: B027
        """Add a finished generation, without the readings of its training."""

    def alert(self, title: str, text: str) -> None:  # noqa: B027
        """Notify the people who watch the run."""

    def add_page(self, write: Callable[[], Path]) -> None:  # noqa: B027
        """Mirror the page of the finished chain; only a mirror that takes pages calls `write` for its path."""

    def finish(self, *, has_failed: bool) -> None:  # noqa: B027
        """End the run, so that the next job of a multirun starts its own."""

    def add_study(self, folder: Path, *, name: str, page: Path, answer: str, is_alert: bool) -> None:  # noqa: B027
        """Mirror a finished study: its page and its answer in a sentence, which is also an alert if `is_alert`."""

    def start(
        self, store: RunFolder, *, title: ChainTitle, config: dict[str, Any], records: Sequence[GenerationRecord]
    ) -> None:
        """Start or continue the run of one chain, and mirror its finished generations, given by their records."""
        self._is_on, self._steps_before, self._step_read = self.begin(store, title=title, config=config), 0, 0
        if self._is_on:
            for record in records:
                self.log(store, record)
            self.caught_up()

    def trained(self, generation: int, reading: Mapping[str, int | float]) -> None:
        """Mirror a reading of the generation in training: its step and epoch, losses, rates, norms of gradients."""
        if self._is_on:
            self._step_read = reading["step"]
            values = {f"{'training' if is_loss(name) else 'steps'}/{name}": each for name, each in reading.items()}
            at = {TRAINING_AXIS: self._steps_before + reading["step"], "steps/generation": generation}
            self.write_reading(values | at)

    def log(self, store: RunFolder, record: GenerationRecord) -> None:
        """Mirror the next generation, which the store already holds, with the readings that were not mirrored yet."""
        if self._is_on:
            for reading in store.curve(record.generation):
                if reading["step"] > self._step_read:
                    self.trained(record.generation, reading)
            self._steps_before += record.training.get("steps", 0)
            self._step_read = 0
            self.write_generation(store, record)


class NoTracking(Tracking):
    """Mirrors nothing: records stay in the run folder."""

    def begin(self, *_: Any, **__: Any) -> bool:
        return False
