"""Tracking: a run folder is mirrored elsewhere, generation by generation. `wandb_tracking` mirrors it to W&B."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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

    @abstractmethod
    def log(self, store: RunFolder, record: GenerationRecord) -> None:
        """Mirror the next generation; the store already holds it."""

    @abstractmethod
    def alert(self, title: str, text: str) -> None:
        """Notify the people who watch the run."""

    @abstractmethod
    def finish(self, *, has_failed: bool) -> None:
        """End the run, so that the next job of a multirun starts its own."""


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
