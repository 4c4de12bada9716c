"""The real sets of a source, and facts about them beyond their samples."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from collapsar.data.factors import Factors
from collapsar.samples import Samples
from collapsar.seeding import make_generator


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
