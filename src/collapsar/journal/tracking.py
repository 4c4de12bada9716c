"""Tracking: a run folder is mirrored elsewhere while it grows, to W&B (`wandb_tracking`) or to files (`file_tracking`).

A mirror is made from the records alone. A chain that continues after a kill is mirrored anew from its start, so that no
step stands there twice.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collapsar.journal.rows import TrainingRows
from collapsar.journal.store import RunFolder
from collapsar.records.chosen import Chosen
from collapsar.records.record import GenerationRecord


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
    """Mirrors a chain's run folder elsewhere."""

    @abstractmethod
    def start(
        self, store: RunFolder, *, title: ChainTitle, config: dict[str, Any], records: Sequence[GenerationRecord]
    ) -> None:
        """Start or continue the run of one chain, and mirror its finished generations, given by their records."""

    def trained(self, generation: int, reading: Mapping[str, int | float]) -> None:  # noqa: B027  not all mirrors need it
        """Mirror a reading of the generation in training: its step and epoch, losses, rates, norms of gradients."""

    @abstractmethod
    def log(self, store: RunFolder, record: GenerationRecord) -> None:
        """Mirror the next generation; the store already holds it."""

    @abstractmethod
    def alert(self, title: str, text: str) -> None:
        """Notify the people who watch the run."""

    def add_page(self, write: Callable[[], Path]) -> None:  # noqa: B027
        """Mirror the page of the finished chain; only a mirror that takes pages calls `write` for its path."""

    @abstractmethod
    def finish(self, *, has_failed: bool) -> None:
        """End the run, so that the next job of a multirun starts its own."""

    def add_study(self, folder: Path, *, name: str, page: Path, answer: str, is_alert: bool) -> None:  # noqa: B027
        """Mirror a finished study: its page and its answer in a sentence, which is also an alert if `is_alert`."""


class RowTracking(Tracking):
    """A mirror that is made of rows; after `start`, unless it is switched off, it gets each row once."""

    _training_rows: TrainingRows | None = None  # None if the mirror is switched off

    @abstractmethod
    def begin(self, store: RunFolder, *, title: ChainTitle, config: dict[str, Any]) -> bool:
        """Make an empty mirror; return False if it is switched off."""

    def caught_up(self) -> None:
        """Act after the finished generations are mirrored."""

    @abstractmethod
    def write_reading(self, row: dict[str, int | float]) -> None:
        """Add a row of `TrainingRows`."""

    @abstractmethod
    def write_generation(self, store: RunFolder, record: GenerationRecord) -> None:
        """Add a finished generation, without the readings of its training."""

    def start(
        self, store: RunFolder, *, title: ChainTitle, config: dict[str, Any], records: Sequence[GenerationRecord]
    ) -> None:
        if not self.begin(store, title=title, config=config):
            return
        self._training_rows = TrainingRows()
        for record in records:
            self.log(store, record)
        self.caught_up()

    def trained(self, generation: int, reading: Mapping[str, int | float]) -> None:
        if self._training_rows is not None:
            self.write_reading(self._training_rows.live(generation, reading))

    def log(self, store: RunFolder, record: GenerationRecord) -> None:
        if self._training_rows is None:
            return
        for row in self._training_rows.rest(record, store.curve(record.generation)):
            self.write_reading(row)
        self.write_generation(store, record)


class NoTracking(Tracking):
    """Mirrors nothing: records stay in the run folder."""

    def start(self, *_: Any, **__: Any) -> None:
        pass

    def log(self, *_: Any) -> None:
        pass

    def alert(self, *_: Any) -> None:
        pass

    def finish(self, **_: Any) -> None:
        pass
