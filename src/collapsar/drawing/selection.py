"""Selections: they choose which drawn samples enter the pool.

A selection draws candidates from the model until it has kept enough, and counts its draws. It sees candidates through
the experiment's `Judge` and knows neither models nor metrics.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from collapsar.drawing.judge import Judge, JudgedBy
from collapsar.errors import UsageError
from collapsar.samples import Samples, concatenate

LabelsFrom = Literal["condition", "judge", "row"]
Kept = Int64[Tensor, " kept"]


@dataclass(frozen=True)
class Drawn:
    """The samples that were kept."""

    samples: Samples
    num_drawn: int  # candidates that were drawn for them
    judged_by: dict[str, Any] = field(default_factory=dict)  # the judge's entry in the record; empty if none was used
    labels_from: LabelsFrom | None = None  # None without labels
    corrected_by: dict[str, Any] = field(default_factory=dict)  # the correction's entry in the record; may be empty


class Selection(ABC):
    """A rule that keeps some of the candidates."""

    name: str  # as in conf/selection
    judged_by: JudgedBy = "space"
    needs_classes: bool = False  # whether it needs the judge's class probabilities
    max_draws_per_sample: float  # for each sample wanted; then it gives up

    def num_candidates(self, num_wanted: int) -> int:
        """Candidates to draw for the next choice while `num_wanted` samples are missing."""
        return num_wanted

    @abstractmethod
    def choose(self, candidates: Samples, *, num_wanted: int, judge: Judge, generator: torch.Generator) -> Kept:
        """Indices of the candidates to keep, at most `num_wanted`."""

    def check(self, *, num_classes: int, has_critic: bool) -> None:
        """Refuse a judge, whose classifier has `num_classes` (0: none), or a model that cannot serve this selection."""
        if self.judged_by == "critic" and not has_critic:
            raise UsageError(f"selection={self.name} needs a model with a critic: choose model=gan")
        if self.needs_classes and not num_classes:
            advice = "choose data with one, such as data=digits"
            raise UsageError(f"selection={self.name} needs a judge with classes: {advice}")

    def select(
        self, draw: Callable[[int], Samples], *, num_samples: int, judge: Judge, generator: torch.Generator
    ) -> Drawn:
        """Draw until `num_samples` are kept; raise UsageError if too few candidates pass."""
        kept: list[Samples] = []
        num_kept = num_drawn = 0
        while num_kept < num_samples:
            num_candidates = self.num_candidates(num_samples - num_kept)
            if num_drawn + num_candidates > ceil(self.max_draws_per_sample * num_samples):
                kept_so_far = f"kept {num_kept} of {num_drawn} samples drawn and needs {num_samples}"
                advice = "make the selection less strict, or train the model longer"
                raise UsageError(f"selection={self.name} {kept_so_far}: {advice}")
            candidates = draw(num_candidates)
            chosen = self.choose(candidates, num_wanted=num_samples - num_kept, judge=judge, generator=generator)
            kept.append(candidates[chosen])
            num_kept += len(chosen)
            num_drawn += num_candidates
        return Drawn(concatenate(kept), num_drawn, judge.describe(self.judged_by))


class KeepAll(Selection):
    """Every sample, in the order drawn."""

    name = "none"
    judged_by = "nobody"
    max_draws_per_sample = 1.0

    def choose(self, candidates: Samples, *, num_wanted: int, judge: Judge, generator: torch.Generator) -> Kept:
        return torch.arange(len(candidates))
