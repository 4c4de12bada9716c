"""Known factors that samples are drawn from, and how likely each combination of their levels is.

Each combination is a class. Its label is the mixed-radix number of its levels; the first factor is the highest digit.
So labels carry all factors, and everything that uses classes (conditions, judges, sticks) uses combinations.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from collapsar.errors import UsageError

Rarity: TypeAlias = Literal["common", "uncommon", "rare"]
COMMON_FROM, RARE_BELOW = 0.5, 0.1  # in units of the share that a combination would have if all were equally likely


@dataclass(frozen=True)
class Factor:
    """One property that differs from sample to sample; if it has two levels, the first is the absence of the second."""

    name: str
    levels: tuple[str, ...]  # names of its values; no other factor uses them
    shares: tuple[float, ...]  # probability of each level, summing to 1

    def __post_init__(self) -> None:
        assert len(self.levels) == len(self.shares) > 1, "a share for each of two levels or more"
        if not all(0 <= share <= 1 for share in self.shares) or not math.isclose(sum(self.shares), 1.0):
            raise UsageError(f"the shares of {self.name} must lie in [0, 1] and sum to 1: got {list(self.shares)}")


@dataclass(frozen=True)
class Level:
    """A value of a factor that is reported by name."""

    name: str
    factor: int  # index of its factor
    index: int  # among the factor's levels
    share: float  # its probability


@dataclass(frozen=True)
class Factors:
    """Independent factors; a sample's label is the combination of their levels."""

    factors: tuple[Factor, ...]  # in the order of the label's digits
    hazard: str | None = None  # second level of the two-level factor that a detector trained on the samples must find

    @property
    def num_levels(self) -> tuple[int, ...]:
        return tuple(len(factor.levels) for factor in self.factors)

    @property
    def num_combinations(self) -> int:
        return math.prod(self.num_levels)

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """The levels that are reported: the second of two, or all if there are more."""
        return tuple(
            Level(name, place, index, share)
            for place, factor in enumerate(self.factors)
            for index, (name, share) in enumerate(zip(factor.levels, factor.shares, strict=True))
            if index or len(factor.levels) > 2
        )

    def values(self, labels: Int64[Tensor, " sample"]) -> Int64[Tensor, "sample factor"]:
        """Index of the level of each factor."""
        return torch.stack(torch.unravel_index(labels, self.num_levels), dim=1)

    def labels(self, values: Int64[Tensor, "sample factor"]) -> Int64[Tensor, " sample"]:
        """The label of each sample from its levels; the inverse of `values`."""
        labels = torch.zeros_like(values[:, 0])
        for place, size in enumerate(self.num_levels):
            labels = labels * size + values[:, place]
        return labels

    def has(self, level: Level, labels: Int64[Tensor, " sample"]) -> Tensor:
        """Mask of the samples that have the level."""
        return self.values(labels)[:, level.factor] == level.index

    @cached_property
    def shares(self) -> Float64[Tensor, " combination"]:
        """Exact probability of each combination."""
        shares = torch.ones(1, dtype=torch.float64)
        for factor in self.factors:
            shares = torch.outer(shares, torch.tensor(factor.shares, dtype=torch.float64)).flatten()
        return shares

    @cached_property
    def rarities(self) -> dict[Rarity, Tensor]:
        """Mask of the combinations of each rarity; one without combinations is left out, as is what never occurs."""
        parts = self.shares * self.num_combinations
        masks: dict[Rarity, Tensor] = {
            "common": parts >= COMMON_FROM,
            "uncommon": (parts >= RARE_BELOW) & (parts < COMMON_FROM),
            "rare": (parts > 0) & (parts < RARE_BELOW),
        }
        return {rarity: mask for rarity, mask in masks.items() if bool(mask.any())}

    def draw(self, num_samples: int, *, generator: torch.Generator) -> Int64[Tensor, "sample factor"]:
        """Levels of independent samples."""
        draws = torch.rand(num_samples, len(self.factors), generator=generator, dtype=torch.float64)
        edges = [torch.tensor(factor.shares, dtype=torch.float64).cumsum(0)[:-1] for factor in self.factors]
        levels = [
            torch.bucketize(each.contiguous(), edge, right=True) for each, edge in zip(draws.T, edges, strict=True)
        ]
        return torch.stack(levels, dim=1)
