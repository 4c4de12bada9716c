"""The real sets of a source, and what is known of them beyond their samples."""

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


class RowFormat(ABC):
    """What vectors stand for, if each of them is a row: how it is read, made valid and labelled."""

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """What the labels of rows stand for, in their order; empty if rows have none."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """What tells this format from others, for caches."""

    @abstractmethod
    def decode(self, values: Float[Tensor, "sample dimension"]) -> pd.DataFrame:
        """Vectors as rows."""

    @abstractmethod
    def valid(self, values: Float[Tensor, "sample dimension"]) -> Float[Tensor, "sample dimension"]:
        """The encoded rows that these vectors decode to; encoded rows stay as they are."""

    @abstractmethod
    def classes(self, values: Float[Tensor, "sample dimension"]) -> Int64[Tensor, " sample"] | None:
        """The class of each row; None if rows have no classes."""

    @abstractmethod
    def with_classes(
        self, values: Float[Tensor, "sample dimension"], labels: Int64[Tensor, " sample"]
    ) -> Float[Tensor, "sample dimension"]:
        """The same rows with these classes."""


@dataclass(frozen=True)
class KnownModes:
    """Equally likely, round modes: their centres [mode, dimension] and standard deviation in each dimension."""

    centres: Float[Tensor, "mode dimension"]
    mode_sd: float


@dataclass(frozen=True)
class StickSplit:
    """An official training set in two parts: what a measuring stick is trained on, and what it never sees.

    Chains train on both; real samples that the stick never saw are what a perfect generator would draw.

    Attributes:
        official: The training set in full, whatever part of it a chain takes.
        unseen_indices: Of the samples that no stick sees.
    """

    official: Samples
    unseen_indices: Int64[Tensor, " unseen"]

    @property
    def unseen(self) -> Samples:
        """What no stick sees, as a copy."""
        return self.official[self.unseen_indices]

    @property
    def seen(self) -> Samples:
        """What sticks are trained on, as a copy."""
        is_seen = torch.ones(len(self.official), dtype=torch.bool)
        is_seen[self.unseen_indices] = False
        return self.official[is_seen]


@dataclass(frozen=True)
class RealData:
    """A source's sets; train, test and reserve share no sample.

    Attributes:
        train: What generation 0 is trained on.
        test: Held out, for evaluation only.
        num_classes: Labels run from 0 to num_classes - 1; 0 where the data have no classes.
        reserve: Training data beyond `train`, for regimes that take fresh real samples; None if there are none.
        known_modes: Where the truth is a mixture whose modes are known.
        stick_split: Where measuring sticks are kept from a part of the training set; None where they are not.
        table: Of rows of a table, what their vectors stand for; None for all other samples.
        factors: Where labels are combinations of known factors.
        picture: Of rows of a table, makes what the page shows of real and synthetic ones, as plain JSON.
    """

    train: Samples
    test: Samples
    num_classes: int
    reserve: Samples | None = None
    known_modes: KnownModes | None = None
    stick_split: StickSplit | None = None
    table: RowFormat | None = None
    factors: Factors | None = None
    picture: Callable[..., dict[str, Any]] | None = None

    def for_sticks(self) -> "RealData":
        """The same data with what sticks are trained on as the training set."""
        if self.stick_split is None:
            return self
        return replace(self, train=self.stick_split.seen, reserve=None, stick_split=None)
