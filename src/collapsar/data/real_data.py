"""The interface of real data, its sets, and facts about them beyond their samples.

A chain can be checked against shape, sizes and classes of a source before any data are read.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import pandas as pd
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from collapsar.foundations.errors import UsageError, check_not_negative, check_positive, printable
from collapsar.foundations.samples import Samples
from collapsar.foundations.seeding import make_generator

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
        return reduce(torch.kron, [torch.tensor(factor.shares, dtype=torch.float64) for factor in self.factors])

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
        draws = torch.rand(num_samples, len(self.factors), generator=generator, dtype=torch.float64)
        edges = [torch.tensor(factor.shares, dtype=torch.float64).cumsum(0)[:-1] for factor in self.factors]
        levels = [torch.bucketize(own.contiguous(), edge, right=True) for own, edge in zip(draws.T, edges, strict=True)]
        return torch.stack(levels, dim=1)


class RowFormat(ABC):
    """How vectors that stand for rows of a table are decoded, made valid and labelled."""

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels; empty if rows have no labels."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Identifies this format in caches."""

    @abstractmethod
    def decode(self, values: Float[Tensor, "sample dimension"]) -> pd.DataFrame:
        """The rows that the vectors encode."""

    @abstractmethod
    def valid(self, values: Float[Tensor, "sample dimension"]) -> Float[Tensor, "sample dimension"]:
        """Encodings of the rows that these vectors decode to; the encoding of a row stays as it is."""

    @abstractmethod
    def classes(self, values: Float[Tensor, "sample dimension"]) -> Int64[Tensor, " sample"] | None:
        """The class of each row; None if rows have no classes."""

    def rows(self, values: Float[Tensor, "sample dimension"]) -> Samples:
        """Valid rows, labelled with their classes."""
        values = self.valid(values)
        return Samples(values, self.classes(values))

    @abstractmethod
    def with_classes(
        self, values: Float[Tensor, "sample dimension"], labels: Int64[Tensor, " sample"]
    ) -> Float[Tensor, "sample dimension"]:
        """The same rows with these classes."""


@dataclass(frozen=True)
class KnownModes:
    """Equally likely, isotropic modes: their centres and their standard deviation in each dimension."""

    centres: Float[Tensor, "mode dimension"]
    mode_sd: float


@dataclass(frozen=True)
class StickSplit:
    """An official training set in two parts: measuring sticks are trained on one and never see the other.

    Chains train on both. To the stick, the unseen part looks like the draws of a perfect generator.
    """

    official: Samples  # the full training set, even if a chain takes only a subset of it
    unseen_indices: Int64[Tensor, " unseen"]

    @property
    def unseen(self) -> Samples:
        return self.official[self.unseen_indices]

    @property
    def seen(self) -> Samples:
        is_seen = torch.ones(len(self.official), dtype=torch.bool)
        is_seen[self.unseen_indices] = False
        return self.official[is_seen]


@dataclass(frozen=True)
class RealData:
    """A source's sets; train, test and reserve share no sample."""

    train: Samples  # of generation 0
    test: Samples  # held out, for evaluation only
    num_classes: int  # labels run from 0 to num_classes - 1; 0 if the data have no classes
    reserve: Samples | None = None  # training data beyond `train`, for regimes that take fresh real samples
    known_modes: KnownModes | None = None  # of the truth, if it is a mixture of known ones
    stick_split: StickSplit | None = None  # of the training set, for measuring sticks
    table: RowFormat | None = None  # if samples are rows of a table
    factors: Factors | None = None  # if labels are combinations of the levels of known factors
    picture: Callable[..., dict[str, Any]] | None = None  # the page's picture of real and synthetic rows, as plain JSON

    def hold_out(self, num_held_out: int, *, seed: int) -> tuple["RealData", Samples | None]:
        """The sets without random training samples, kept to validate a chain's models; and these, None if 0."""
        if not num_held_out:
            return self, None
        order = torch.randperm(len(self.train), generator=make_generator(seed, 0, "held out"))
        return replace(self, train=self.train[order[num_held_out:]]), self.train[order[:num_held_out]]

    def for_sticks(self) -> "RealData":
        """The data for training sticks: `train` without the samples that sticks must not see."""
        if self.stick_split is None:
            return self
        return replace(self, train=self.stick_split.seen, reserve=None, stick_split=None)


@dataclass(frozen=True)
class Sizes:
    """Number of samples in each of a source's sets."""

    train: int
    test: int
    reserve: int


class Source(ABC):
    """A source of real data; its attributes are known before any data are read."""

    name: ClassVar[str]  # as in conf/data
    sample_shape: list[int]  # of one sample; models are sized from it
    sizes: Sizes  # of the sets that `load` gives
    num_classes: int  # labels run from 0 to num_classes - 1; 0 if samples have none
    labels_are_computed: bool = False  # whether a label follows from a number in the sample, so it cannot change alone
    known_modes: KnownModes | None = None  # of the truth, if it is a mixture of known ones
    factors: Factors | None = None  # that samples are drawn from, if labels are combinations of known ones

    def __init__(self, *, sample_shape: list[int], sizes: Sizes, num_classes: int) -> None:
        self.sample_shape, self.sizes, self.num_classes = sample_shape, sizes, num_classes

    def completed(self, recipe: Callable[..., Any]) -> Callable[..., Any]:
        """A model's recipe, with the settings filled in that it leaves null and only the data know."""
        return recipe

    @abstractmethod
    def read(self) -> RealData:
        """Read or draw all sets."""

    def read_file(self, path: Path) -> Samples:
        """Samples of this kind from a table, CSV or Parquet, that somebody else made; UsageError if it cannot be."""
        raise UsageError(f"{printable(str(path))} is a table, and the samples of {self.name} are no rows of one")

    def load(self) -> RealData:
        """All sets, checked to have the promised shape and sizes; UsageError if files are missing or damaged."""
        real = self.read()
        assert list(real.train.shape) == list(self.sample_shape), "conf/data states the shape"
        assert (len(real.train), len(real.test)) == (self.sizes.train, self.sizes.test), "sizes are known beforehand"
        return real


class DrawnSource(Source, ABC):
    """A source that draws each set from a known distribution, with a random stream of its own."""

    def __init__(self, *, sample_shape: list[int], sizes: Sizes, num_classes: int, seed: int) -> None:
        super().__init__(sample_shape=sample_shape, sizes=sizes, num_classes=num_classes)
        check_positive(**{"data.num_train": sizes.train, "data.num_test": sizes.test})
        check_not_negative(**{"data.num_reserve": sizes.reserve})
        self.seed = seed

    @abstractmethod
    def draw(self, num_samples: int, generator: torch.Generator) -> Samples:
        """Independent draws from the truth."""

    def read(self) -> RealData:
        train, test, reserve = (
            self.draw(size, make_generator(self.seed, 0, f"real {name}")) for name, size in asdict(self.sizes).items()
        )
        return RealData(
            train=train,
            test=test,
            num_classes=self.num_classes,
            reserve=reserve if len(reserve) else None,
            known_modes=self.known_modes,
            factors=self.factors,
        )
