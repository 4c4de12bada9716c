"""Fit a table's schema: kinds are given, categories come from all rows, scales and ranges from the training rows."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from collapsar.cases.tables.names import column_error, identifier_override, shown
from collapsar.cases.tables.scales import ScaleName, fit_scale
from collapsar.cases.tables.schema import Column, Kind, Table

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
        train: Positions of the training rows, which set scales and ranges. Categories, and which columns may have
            missing values, come from all rows.
        kinds: Kind of each column that is encoded, in this order.
        target: One of these columns.
        scale: How numbers are scaled.
        threshold: Splits a target of numbers into two classes; None: no classes.

    Raises:
        UsageError: a column of numbers has no value in the training rows.
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
                leave_out = f"set {identifier_override(name)}, or another data.test_fraction"
                raise column_error(name, f"has no value in the {len(train)} training rows: {leave_out}")
            scales[name] = fit_scale(scale, numbers)
            stop, (low, high) = start + 1 + is_missing, (float(numbers.min()), float(numbers.max()))
            columns.append(Column(name, kind, start, stop, (), low, high, may_be_missing=is_missing))
        start = stop
    return Table(tuple(columns), target, scales, threshold)


def encoding_notes(frame: pd.DataFrame, values: torch.Tensor, *, table: Table, train: np.ndarray) -> list[str]:
    """Notes on numbers that are encoded alike, and on columns without a value in one part.

    `values` are the rows of `frame`, encoded by `table`. `train` has the positions of the training rows; the others
    are held out.
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
    """The columns of these kinds, categories as strings and counts as integers: the types that a table decodes to."""
    return pd.DataFrame({name: as_kind(frame[name].reset_index(drop=True), kind) for name, kind in kinds.items()})


def as_kind(values: "pd.Series[object]", kind: Kind) -> "pd.Series[object]":
    """A column converted to its kind."""
    if kind == "category":
        return values.map(category_name, na_action="ignore").astype(object).where(values.notna(), None)
    numbers = pd.to_numeric(values).astype("Float64" if kind == "count" else np.float64)
    if kind == "continuous":
        return numbers
    whole = numbers.round().astype("Int64")
    return whole if whole.isna().any() else whole.astype(np.int64)


def category_name(value: object) -> str:
    """A category as a string; whole floats without a point, as 0 and 1 are floats if a value is missing."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
