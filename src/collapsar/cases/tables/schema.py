"""The schema of a table: its columns, each with a block of the encoded vector, and the encoding in both directions.

A row is a float32 vector. A number is scaled (`scales.py`). If its column has missing values, a flag follows, 1 for a
missing number and 0 for others, and a missing number is encoded as 0. A category is one-hot; if its column has
missing values, they are an extra category, the last. The encoding loses nothing but float32 rounding (`scales.py`):
categories, missing values and, under normal scores, each number seen in training come back exactly.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from collapsar.cases.tables.names import column_error, identifier_override
from collapsar.cases.tables.scales import Scale
from collapsar.data.real_data import RowFormat

Kind = Literal["continuous", "count", "category"]
LARGEST_ENCODED = 1e18  # float32 holds its square
LARGEST_COUNT = 2**53  # beyond it float64 skips whole numbers


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


@dataclass(frozen=True)
class Table(RowFormat):
    """The schema and encoder of one source, as `fit_table` makes them."""

    columns: tuple[Column, ...]  # in the order of the encoded vector
    target: str  # the column to predict, never missing; its classes are the labels of rows
    scales: Mapping[str, Scale]  # of each column of numbers, fitted on the training set
    threshold: float | None = None  # of a target of numbers: class 1 is above it, class 0 not; None: no classes

    @property
    def width(self) -> int:
        """Dimensions of an encoded row."""
        return self.columns[-1].stop

    @property
    def fingerprint(self) -> str:
        return f"{self.target} {self.columns}"

    @cached_property
    def target_column(self) -> Column:
        return next(column for column in self.columns if column.name == self.target)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the rows' labels, in order; empty if rows have no labels."""
        if not self.target_column.is_number:
            return self.target_column.categories
        return () if self.threshold is None else (f"at most {self.threshold:g}", f"above {self.threshold:g}")

    def encode(self, frame: pd.DataFrame, *, largest: float = LARGEST_ENCODED) -> Float[Tensor, "sample dimension"]:
        """Rows as vectors; a number too far from those of the training rows to be encoded is refused."""
        values = np.zeros((len(frame), self.width), dtype=np.float32)
        for column in self.columns:
            values[:, column.block] = self._encoded(column, frame[column.name], largest=largest)
        return torch.from_numpy(values)

    def decode(self, values: Float[Tensor, "sample dimension"]) -> pd.DataFrame:
        """Vectors as rows: categories as strings, counts as integers, missing values as NaN, None or NA."""
        blocks = {column.name: self._decoded(column, values[:, column.block]) for column in self.columns}
        return pd.DataFrame(blocks)

    def valid(self, values: Float[Tensor, "sample dimension"]) -> Float[Tensor, "sample dimension"]:
        """The vectors made valid: one category each, whole counts, values missing or not, one scaling for one number.

        Vectors of rows stay as they are.
        """
        return self.encode(self.decode(values), largest=np.inf)

    def classes(self, values: Float[Tensor, "sample dimension"]) -> Int64[Tensor, " sample"] | None:
        """The class of each row's target; None if there are no classes."""
        target = self.target_column
        block = values[:, target.block]
        if not target.is_number:
            return block.argmax(1)
        if self.threshold is None:
            return None
        return torch.from_numpy(self._numbers(target, block[:, 0]) > self.threshold).long()

    def with_classes(
        self, values: Float[Tensor, "sample dimension"], labels: Int64[Tensor, " sample"]
    ) -> Float[Tensor, "sample dimension"]:
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
            codes = pd.Index(column.categories).get_indexer(values.astype(object).where(~is_missing, None))
            assert (codes[~is_missing] >= 0).all(), f"a category of {column.name} that the table does not know"
            return np.eye(column.stop - column.start, dtype=np.float32)[
                codes
            ]  # the last, -1, is that of missing values
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        scaled = np.zeros(len(numbers))
        scaled[~is_missing] = self.scales[column.name].transform(numbers[~is_missing])
        is_far = np.abs(scaled) > largest
        if is_far.any():
            raise column_error(
                column.name,
                f"holds {numbers[is_far][0]!s}, too far from the numbers of the training rows: write it in other "
                f"units, or set {identifier_override(column.name)}",
            )
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
        """The numbers behind scaled ones; counts are rounded."""
        numbers = self.scales[column.name].inverse_transform(scaled.numpy().astype(np.float64))
        return np.rint(numbers).clip(-LARGEST_COUNT, LARGEST_COUNT) if column.kind == "count" else numbers
