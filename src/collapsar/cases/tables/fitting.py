"""How a table's schema is fitted: kinds given, categories as a code book lists them, numbers on the training set."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from collapsar.cases.tables.names import identifier_override, shown
from collapsar.cases.tables.scales import ScaleName, fit_scale
from collapsar.cases.tables.schema import Column, Kind, Table
from collapsar.errors import UsageError

NARROW = 1e-12  # metrics of columns compare numbers to 14 decimals


def fit_table(
    frame: pd.DataFrame,
    *,
    train: np.ndarray,
    kinds: Mapping[str, Kind],
    target: str,
    scale: ScaleName,
    threshold: float | None = None,
) -> Table:
    """The schema and encoder of a frame.

    Args:
        frame: All rows, categories as strings (`typed`).
        train: Positions of the training rows: scales and ranges are theirs. Which categories there are, and where
            values may be missing, is taken from all rows.
        kinds: Of each column that is encoded, in this order.
        target: One of them.
        scale: How numbers are scaled.
        threshold: Of a target of numbers, what its classes are told apart by.

    Raises:
        UsageError: a column of numbers has none in the training rows.
    """
    columns, scales, start = [], {}, 0
    for name, kind in kinds.items():
        is_missing = bool(frame[name].isna().any())
        if kind == "category":
            categories = tuple(sorted(frame[name].dropna().unique()))
            stop = start + len(categories) + is_missing
            columns.append(Column(name, kind, start, stop, categories, may_be_missing=is_missing))
        else:
            numbers = frame[name].iloc[train].dropna().to_numpy(dtype=np.float64)
            if not len(numbers):
                raise UsageError(
                    f"column {shown(name)} has no value in the {len(train)} training rows: set "
                    f"{identifier_override(name)}, or another data.test_fraction"
                )
            scales[name] = fit_scale(scale, numbers)
            stop, (low, high) = start + 1 + is_missing, (float(numbers.min()), float(numbers.max()))
            columns.append(Column(name, kind, start, stop, (), low, high, may_be_missing=is_missing))
        start = stop
    return Table(tuple(columns), target, scales, threshold)


def encoding_notes(frame: pd.DataFrame, values: torch.Tensor, *, table: Table, train: np.ndarray) -> list[str]:
    """Notes on numbers that their encoding does not tell apart, and on columns without a value in one part.

    Args:
        frame: All rows.
        values: The same rows, encoded.
        table: That they are encoded by.
        train: Positions of the training rows; the others are held out.
    """
    notes, rows = [], table.decode(values)
    is_train = np.isin(np.arange(len(frame)), train)
    for column in table.columns:
        name, own = shown(column.name), frame[column.name]
        notes += [
            f"{name} has no value in the {part} rows"
            for part, chosen in (("training", is_train), ("held-out", ~is_train))
            if own[chosen].isna().all()
        ]
        if not column.is_number:
            continue
        if num_merged := own.nunique() - rows[column.name].nunique():
            notes.append(f"{name}: {num_merged} of {own.nunique()} different numbers are encoded like another one")
        if 0.0 < own.max() - own.min() < NARROW:
            notes.append(f"{name}: its numbers differ by less than {NARROW:g}, which no metric of columns sees")
    return notes


def typed(frame: pd.DataFrame, kinds: Mapping[str, Kind]) -> pd.DataFrame:
    """The columns of these kinds, categories as strings and counts as integers: as a table decodes them."""
    return pd.DataFrame({name: as_kind(frame[name].reset_index(drop=True), kind) for name, kind in kinds.items()})


def as_kind(values: "pd.Series[object]", kind: Kind) -> "pd.Series[object]":
    """A column's values as its kind has them."""
    if kind == "category":
        return values.map(category_name, na_action="ignore").astype(object).where(values.notna(), None)
    numbers = pd.to_numeric(values).astype("Float64" if kind == "count" else np.float64)
    if kind == "continuous":
        return numbers
    whole = numbers.round().astype("Int64")
    return whole if whole.isna().any() else whole.astype(np.int64)


def category_name(value: object) -> str:
    """A category as a string; whole numbers without a point, as in a column of 0 and 1 where one is missing."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
