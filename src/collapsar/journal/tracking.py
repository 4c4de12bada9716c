"""What tracking is: a run folder mirrored elsewhere, generation by generation. `wandb_tracking` mirrors it to W&B."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from collapsar.journal.store import RunFolder
from collapsar.records.record import GenerationRecord


@dataclass(frozen=True, kw_only=True)
class ChainTitle:
    """What a chain and its parts are called.

    Attributes:
        name: Its own name, and the artifacts'.
        study: What runs are grouped by.
        data: The data source's name.
        model: The model's name.
        regime: The regime's name.
        num_generations: How many there will be.
    """

    name: str
    study: str
    data: str
    model: str
    regime: str
    num_generations: int


class Tracking(ABC):
    """Where a chain's run folder is mirrored to."""

    @abstractmethod
    def start(
        self,
        store: RunFolder,
        *,
        title: ChainTitle,
        config: dict[str, Any],
        records: Sequence[GenerationRecord],
    ) -> None:
        """Begin, or go on with, the run of one chain, and mirror its finished generations, whose records are given."""

    @abstractmethod
    def log(self, store: RunFolder, record: GenerationRecord) -> None:
        """Mirror the generation that follows; the store holds it already."""

    @abstractmethod
    def alert(self, title: str, text: str) -> None:
        """Notify whoever watches the run."""

    @abstractmethod
    def finish(self, *, has_failed: bool) -> None:
        """End the run, so that the next job of a multirun starts its own."""


class NoTracking(Tracking):
    """Records stay in the run folder."""

    def start(
        self,
        store: RunFolder,
        *,
        title: ChainTitle,
        config: dict[str, Any],
        records: Sequence[GenerationRecord],
    ) -> None:
        pass

    def log(self, store: RunFolder, record: GenerationRecord) -> None:
        pass

    def alert(self, title: str, text: str) -> None:
        pass

    def finish(self, *, has_failed: bool) -> None:
        pass
