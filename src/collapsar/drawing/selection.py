"""Selection: which of the drawn samples are let into the pool.

A selection draws candidates from the model until it has kept as many samples as were asked for, and says how many it
drew. It judges them by what the experiment hands over as a `Judge`. It knows no model and no metric.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Literal, final

import torch
from jaxtyping import Int64
from torch import Tensor

from collapsar.drawing.judge import Judge, JudgedBy
from collapsar.errors import UsageError
from collapsar.samples import Samples, concatenate

LabelsFrom = Literal["condition", "judge", "row"]


@dataclass(frozen=True)
class Drawn:
    """What was let in.

    Attributes:
        judged_by: What a record says of the one who judged them; empty where nobody did.
        labels_from: Whose their labels are; None where they have none.
        corrected_by: What a record says of what moved them; empty where nothing did.
    """

    samples: Samples
    num_drawn: int
    judged_by: dict[str, Any] = field(default_factory=dict)
    labels_from: LabelsFrom | None = None
    corrected_by: dict[str, Any] = field(default_factory=dict)


class Selection(ABC):
    """A rule that keeps some of the candidates."""

    name: str  # as in conf/selection
    judged_by: JudgedBy = "space"

    @abstractmethod
    def num_candidates(self, num_wanted: int) -> int:
        """How many to draw for the next choice while so many samples are missing."""

    @abstractmethod
    def choose(
        self, candidates: Samples, *, num_wanted: int, judge: Judge, generator: torch.Generator
    ) -> Int64[Tensor, " kept"]:
        """Indices of the candidates to keep, `num_wanted` at most."""

    @property
    @abstractmethod
    def max_draws_per_sample(self) -> float:
        """Where to give up: this many times the samples wanted."""

    def check(self, *, num_classes: int, has_critic: bool) -> None:  # noqa: B027
        """Refuse a judge that lacks what the rule looks at.

        Args:
            num_classes: Classes that the judge gives probabilities of; 0 without a classifier.
            has_critic: Whether the judge says what it takes for real.

        Raises:
            UsageError: with what to choose instead.
        """

    def select(
        self, draw: Callable[[int], Samples], *, num_samples: int, judge: Judge, generator: torch.Generator
    ) -> Drawn:
        """Draw until `num_samples` are kept.

        Raises:
            UsageError: too few candidates are good enough.
        """
        kept: list[Samples] = []
        num_kept = num_drawn = 0
        while num_kept < num_samples:
            num_candidates = self.num_candidates(num_samples - num_kept)
            if num_drawn + num_candidates > ceil(self.max_draws_per_sample * num_samples):
                raise UsageError(
                    f"selection={self.name} kept {num_kept} of {num_drawn} samples drawn and needs {num_samples}: "
                    "make the selection less strict, or train the model longer"
                )
            candidates = draw(num_candidates)
            chosen = self.choose(candidates, num_wanted=num_samples - num_kept, judge=judge, generator=generator)
            kept.append(candidates[chosen])
            num_kept += len(chosen)
            num_drawn += num_candidates
        return Drawn(concatenate(kept), num_drawn, judge.describe(self.judged_by))


@final
class KeepAll(Selection):
    """Every sample, in the order drawn."""

    name = "none"
    judged_by = "nobody"
    max_draws_per_sample = 1.0

    def num_candidates(self, num_wanted: int) -> int:
        return num_wanted

    def choose(
        self, candidates: Samples, *, num_wanted: int, judge: Judge, generator: torch.Generator
    ) -> Int64[Tensor, " kept"]:
        return torch.arange(len(candidates))
