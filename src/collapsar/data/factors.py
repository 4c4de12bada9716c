"""Data that are drawn from known factors: which there are, and how likely each combination of their levels is.

A combination is a class: its number is the mixed-radix number of its levels, the first factor's being the highest
digit. So labels carry all factors, and whatever knows classes (conditions, judges, sticks) knows combinations.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from collapsar.errors import UsageError

Rarity: TypeAlias = Literal["common", "uncommon", "rare"]
COMMON_FROM, RARE_BELOW = 0.5, 0.1  # parts of the share that every combination would have if all were equally likely


@dataclass(frozen=True)
class Factor:
    """One thing that differs from sample to sample.

    Attributes:
        name: What it is about.
        levels: The values that it takes, each named once in a world. Of two levels the first is the absence of the
            second.
        shares: How likely each level is, summing to 1.
    """

    name: str
    levels: tuple[str, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        assert len(self.levels) == len(self.shares) > 1, "a share for each of two levels or more"
        if not all(0 <= share <= 1 for share in self.shares) or not math.isclose(sum(self.shares), 1.0):
            raise UsageError(f"the shares of {self.name} must lie in [0, 1] and sum to 1: got {list(self.shares)}")


@dataclass(frozen=True)
class Level:
    """A value of a factor that is told of by name.

    Attributes:
        name: Its name.
        factor: The place of its factor.
        index: Its place among the factor's levels.
        share: How likely it is.
    """

    name: str
    factor: int
    index: int
    share: float


@dataclass(frozen=True)
class Factors:
    """Independent factors, which a sample's label is the combination of.

    Attributes:
        factors: In the order of the label's digits.
        hazard: The factor of two levels that somebody who trains on the samples must find; None where there is none.
    """

    factors: tuple[Factor, ...]
    hazard: str | None = None

    @property
    def num_levels(self) -> tuple[int, ...]:
        """Of each factor."""
        return tuple(len(factor.levels) for factor in self.factors)

    @property
    def num_combinations(self) -> int:
        """Labels run from 0 to this number less 1."""
        return math.prod(self.num_levels)

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """Those that are told of: the second of two, and all of more."""
        return tuple(
            Level(name, place, index, share)
            for place, factor in enumerate(self.factors)
            for index, (name, share) in enumerate(zip(factor.levels, factor.shares, strict=True))
            if index or len(factor.levels) > 2
        )

    def values(self, labels: Int64[Tensor, " sample"]) -> Int64[Tensor, "sample factor"]:
        """The level of each factor, by its place."""
        return torch.stack(torch.unravel_index(labels, self.num_levels), dim=1)

    def labels(self, values: Int64[Tensor, "sample factor"]) -> Int64[Tensor, " sample"]:
        """The combination of the levels of each sample."""
        labels = torch.zeros_like(values[:, 0])
        for place, size in enumerate(self.num_levels):
            labels = labels * size + values[:, place]
        return labels

    def has(self, level: Level, labels: Int64[Tensor, " sample"]) -> Tensor:
        """Whether each sample has the level: a mask."""
        return self.values(labels)[:, level.factor] == level.index

    @cached_property
    def shares(self) -> Float64[Tensor, " combination"]:
        """How likely each combination is, exactly."""
        shares = torch.ones(1, dtype=torch.float64)
        for factor in self.factors:
            shares = torch.outer(shares, torch.tensor(factor.shares, dtype=torch.float64)).flatten()
        return shares

    @cached_property
    def rarities(self) -> dict[Rarity, Tensor]:
        """By rarity, which combinations are so rare: a mask; rarities of none are left out.

        Common ones have at least half of the share that each would have were all equally likely, rare ones less than
        a tenth of it. What never occurs has no rarity.
        """
        parts = self.shares * self.num_combinations
        is_common, is_rare = parts >= COMMON_FROM, (parts > 0) & (parts < RARE_BELOW)
        masks: dict[Rarity, Tensor] = {
            "common": is_common,
            "uncommon": (parts >= RARE_BELOW) & ~is_common,
            "rare": is_rare,
        }
        return {rarity: mask for rarity, mask in masks.items() if bool(mask.any())}

    def draw(self, num_samples: int, *, generator: torch.Generator) -> Int64[Tensor, "sample factor"]:
        """The level of each factor of independent samples."""
        draws = torch.rand(num_samples, len(self.factors), generator=generator, dtype=torch.float64)
        columns = [
            torch.bucketize(draws[:, place].contiguous(), _bounds(factor.shares), right=True)
            for place, factor in enumerate(self.factors)
        ]
        return torch.stack(columns, dim=1)


def _bounds(shares: Sequence[float]) -> Float64[Tensor, " bound"]:
    """Where, in [0, 1], one level ends and the next begins."""
    return torch.tensor(shares, dtype=torch.float64).cumsum(0)[:-1]
