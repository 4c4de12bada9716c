"""The schema of a table: its columns, each with a block of the encoded vector, and the encoding in both directions.

A number is scaled. If its column has missing values, a flag follows, 1 for a missing number, which is encoded as 0. A
category is one-hot; missing values are an extra category, the last. The encoding loses only float32 rounding:
categories, missing values and, under normal scores, each number seen in training come back exactly.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from scipy.special import ndtr, ndtri
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from collapsar.cases.tables.names import column_error, shown
from collapsar.data.real_data import RowFormat

Kind = Literal["continuous", "count", "category"]
Vectors = Float[Tensor, "sample dimension"]
Labels = Int64[Tensor, " sample"]
LARGEST_ENCODED = 1e18  # float32 holds its square
LARGEST_COUNT = 2**53  # beyond it float64 skips whole numbers
MARGIN = 0.01  # of a rank; float32 rounds by less up to some 500,000 numbers
NARROWEST = 1e-30  # a smaller spread counts as none: in its units, other numbers would overflow float32
ScaleName = Literal["quantile", "standardise"]


class NormalScores:
    """The normal quantile of (rank - 1/2) / n (Blom 1958), linear between two seen numbers and beyond all.

    Equal numbers share their middle rank, and all of their ranks map back to them, so a column keeps its many zeros.
    scikit-learn's QuantileTransformer sends the ends, zeros among them, to -5.2 and 5.2, and cuts off.
    """

    def __init__(self, numbers: np.ndarray) -> None:
        self.seen, counts = np.unique(numbers, return_counts=True)  # sorted
        ends = counts.cumsum()
        lowest, highest = (ends - counts + 0.5 - MARGIN) / len(numbers), (ends - 0.5 + MARGIN) / len(numbers)
        self.middles = 0.5 * (lowest + highest)  # of the ranks of each number, as shares of all
        self.corners = np.repeat(self.seen, 2), np.stack([lowest, highest], axis=1).ravel()  # numbers, and their ranks
        self.low, self.high = float(ndtri(lowest[0])), float(ndtri(highest[-1]))  # scores of the outer ranks
        self.slope = float(numbers.std()) if has_spread(numbers) else 1.0  # of the lines beyond what was seen

    def transform(self, numbers: np.ndarray) -> np.ndarray:
        after = np.searchsorted(self.seen, numbers).clip(max=len(self.seen) - 1)  # the first that is not smaller
        is_seen = self.seen[after] == numbers
        scores = ndtri(np.where(is_seen, self.middles[after], np.interp(numbers, *self.corners)))
        first, last = self.seen[0], self.seen[-1]
        scores = np.where(numbers < first, self.low + (numbers - first) / self.slope, scores)
        return np.where(numbers > last, self.high + (numbers - last) / self.slope, scores)

    def inverse_transform(self, scaled: np.ndarray) -> np.ndarray:
        seen, ranks = self.corners
        numbers = np.interp(ndtr(scaled), ranks, seen)
        return numbers + self.slope * (np.minimum(scaled - self.low, 0) + np.maximum(scaled - self.high, 0))


Scale: TypeAlias = NormalScores | StandardScaler
"""Scales float64 columns [row, 1] without NaN to about standard normal numbers, and back."""


def has_spread(numbers: np.ndarray) -> bool:
    """Whether the standard deviation can serve as a unit; that of equal numbers is only rounding."""
    return bool(np.ptp(numbers) > NARROWEST)


def fit_scale(name: ScaleName, numbers: np.ndarray) -> Scale:
    """The scale of this name, fitted to these numbers."""
    if name == "quantile":
        return NormalScores(numbers)
    return StandardScaler(with_std=has_spread(numbers)).fit(numbers[:, None])


@dataclass(frozen=True)
class Column:
    """A column of a table, and its place in the encoded vector."""

    name: str
    kind: Kind  # continuous and count are numbers, counts whole ones
    start: int  # of its block in the encoded vector
    stop: int
    categories: tuple[str, ...] = ()  # sorted; empty for numbers
    minimum: float | None = None  # of the training set's numbers; None for categories
    maximum: float | None = None
    may_be_missing: bool = False  # whether any value in the table is missing; the block then marks missing values

    @property
    def is_number(self) -> bool:
        return self.kind != "category"

    @property
    def block(self) -> slice:
        return slice(self.start, self.stop)

    def codes(self, values: pd.Series) -> np.ndarray:
        """The index of each value among the categories; -1 if it is missing or unknown."""
        return pd.Index(self.categories, dtype=object).get_indexer(values.astype(object).where(values.notna(), None))


@dataclass(frozen=True)
class Table(RowFormat):
    """The schema and encoder of one source, as `fit_table` makes them."""

    columns: tuple[Column, ...]  # in the order of the encoded vector
    target: str  # the column to predict, never missing; its classes are the labels of rows
    scales: Mapping[str, Scale]  # of each column of numbers, fitted on the training set
    threshold: float | None = None  # of a target of numbers: class 1 is above it, class 0 not; None: no classes

    @property
    def fingerprint(self) -> str:
        return f"{self.target} {self.columns}"

    @cached_property
    def target_column(self) -> Column:
        return next(column for column in self.columns if column.name == self.target)

    @property
    def class_names(self) -> tuple[str, ...]:
        if not self.target_column.is_number:
            return self.target_column.categories
        return () if self.threshold is None else (f"at most {self.threshold:g}", f"above {self.threshold:g}")

    def encode(self, frame: pd.DataFrame, *, largest: float = LARGEST_ENCODED) -> Vectors:
        """Rows as vectors; a number too far from those of the training rows to be encoded is refused."""
        blocks = [self._encoded(column, frame[column.name], largest=largest) for column in self.columns]
        return torch.from_numpy(np.concatenate(blocks, axis=1, dtype=np.float32))

    def decode(self, values: Vectors) -> pd.DataFrame:
        """Vectors as rows: categories as strings, counts as integers, missing values as NaN, None or NA."""
        return pd.DataFrame({each.name: self._decoded(each, values[:, each.block]) for each in self.columns})

    def valid(self, values: Vectors) -> Vectors:
        """The vectors with one category each, whole counts, values missing or not, and one scaling for one number."""
        return self.encode(self.decode(values), largest=np.inf)

    def classes(self, values: Vectors) -> Labels | None:
        target = self.target_column
        block = values[:, target.block]
        if not target.is_number:
            return block.argmax(1)
        if self.threshold is None:
            return None
        return torch.from_numpy(self._numbers(target, block[:, 0]) > self.threshold).long()

    def with_classes(self, values: Vectors, labels: Labels) -> Vectors:
        """The same rows with their targets set to these classes; the target must be a category."""
        target = self.target_column
        assert not target.is_number, "no number stands for a class"
        rows = values.clone()
        rows[:, target.block] = F.one_hot(labels, target.stop - target.start).float()
        return rows

    def blocks(self) -> Iterator[tuple[str, int, int]]:
        """The parts of the vector in order: `number`, `flag` (1 if missing) or `choice`, with start and stop."""
        for column in self.columns:
            if not column.is_number:
                yield "choice", column.start, column.stop
                continue
            yield "number", column.start, column.start + 1
            if column.may_be_missing:
                yield "flag", column.stop - 1, column.stop

    def _encoded(self, column: Column, values: "pd.Series[object]", *, largest: float) -> np.ndarray:
        is_missing = values.isna().to_numpy()
        if not column.is_number:
            codes = column.codes(values)
            assert (codes[~is_missing] >= 0).all(), f"a category of {column.name} that the table does not know"
            one_hot = np.eye(column.stop - column.start, dtype=np.float32)
            return one_hot[codes]  # the last, -1, is that of missing values
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        filled = np.where(is_missing, 0.0, numbers)[:, None]
        scaled = np.where(is_missing, 0.0, self.scales[column.name].transform(filled)[:, 0])
        is_far = np.abs(scaled) > largest
        if is_far.any():
            what = f"holds {numbers[is_far][0]!s}, too far from the numbers of the training rows"
            raise column_error(column.name, what, "write it in other units")
        return np.stack([scaled, is_missing], axis=1)[:, : column.stop - column.start]

    def _decoded(self, column: Column, block: Tensor) -> "pd.Series[object]":
        if not column.is_number:
            names = np.array([*column.categories, None], dtype=object)
            return pd.Series(names[block.argmax(1).numpy()], dtype=object)
        is_missing = (block[:, -1] > 0.5).numpy() & column.may_be_missing
        numbers = self._numbers(column, block[:, 0])
        if column.kind == "count":
            whole = pd.Series(numbers.astype(np.int64))
            return whole.astype("Int64").mask(is_missing) if column.may_be_missing else whole
        return pd.Series(np.where(is_missing, np.nan, numbers))

    def _numbers(self, column: Column, scaled: Float[Tensor, " sample"]) -> np.ndarray:
        numbers = self.scales[column.name].inverse_transform(scaled[:, None].numpy().astype(np.float64))[:, 0]
        return np.rint(numbers).clip(-LARGEST_COUNT, LARGEST_COUNT) if column.kind == "count" else numbers


def fit_table(
    frame: pd.DataFrame,
    *,
    train: np.ndarray,
    kinds: Mapping[str, Kind],
    target: str,
    scale: ScaleName,
    threshold: float | None = None,
) -> Table:
    """The schema and encoder of a frame, which holds all rows, its categories as strings (`typed`).

    `train` are the positions of the training rows, which set scales and ranges. Categories, and which columns may have
    missing values, come from all rows. The columns are encoded in the order of `kinds`.
    """
    columns, scales, start = [], {}, 0
    for name, kind in kinds.items():
        is_missing = bool(frame[name].isna().any())
        ends: tuple[float | None, float | None] = (None, None)
        categories = tuple(sorted(frame[name].dropna().unique())) if kind == "category" else ()
        if kind != "category":
            numbers = frame[name].iloc[train].dropna().to_numpy(dtype=np.float64)
            if not len(numbers):
                raise column_error(name, f"has no value in the {len(train)} training rows", "set data.test_fraction")
            scales[name], ends = fit_scale(scale, numbers), (float(numbers.min()), float(numbers.max()))
        stop = start + (len(categories) or 1) + is_missing
        columns.append(Column(name, kind, start, stop, categories, *ends, may_be_missing=is_missing))
        start = stop
    return Table(tuple(columns), target, scales, threshold)


def encoding_notes(frame: pd.DataFrame, values: Vectors, *, table: Table, train: np.ndarray) -> list[str]:
    """Notes on numbers that are encoded alike, and on columns without a value in one part; `values` are the rows."""
    notes, rows = [], table.decode(values)
    is_train = np.isin(np.arange(len(frame)), train)
    for column in table.columns:
        name, own = shown(column.name), frame[column.name]
        for part, chosen in {"training": is_train, "held-out": ~is_train}.items():
            if own[chosen].isna().all():
                notes.append(f"{name} has no value in the {part} rows")
        if column.is_number and (num_merged := own.nunique() - rows[column.name].nunique()):
            notes.append(f"{name}: {num_merged} of {own.nunique()} different numbers are encoded like another one")
    return notes
