"""From the columns of a frame to the schema of a table.

The kind of a column is guessed from its values unless the user sets it. Categories come from all rows, scales and
ranges from the training rows.
"""

from collections.abc import Mapping
from numbers import Real
from typing import Any, cast, get_args

import numpy as np
import pandas as pd
import torch
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from collapsar.cases.tables.names import column_error, shown, type_override
from collapsar.cases.tables.schema import LARGEST_COUNT, Column, Kind, ScaleName, Table, fit_scale
from collapsar.errors import UsageError

KINDS: tuple[Kind, ...] = get_args(Kind)
LARGEST = 1e60  # a larger number could overflow float64 in products of sums of squares


def find_kinds(frame: pd.DataFrame, *, given: Mapping[str, str]) -> dict[str, Kind]:
    """The kind of every column, in their order.

    A guess is `category` for text, for true and false, and for numbers of at most two values; `count` for whole numbers
    from 0 up; else `continuous`. A column that does not fit its kind, or holds dates, bytes or lists, is refused.
    """
    kinds: dict[str, Kind] = {}
    for name, column in frame.items():
        values = column.dropna()
        if not len(values):
            raise column_error(name, "has no value in any row")
        if unfit := [one for one in set(map(type, values)) if not issubclass(one, str | bool | np.bool_ | Real)]:
            example = shown(next(value for value in values if isinstance(value, unfit[0])))[:60]
            what = f"holds {example}, which is neither a number nor text"
            raise column_error(name, what, "write numbers or text in the file")
        if given.get(name, KINDS[0]) not in KINDS:
            raise UsageError(f"data.types.{shown(name)} must be one of {', '.join(KINDS)}: got {given[name]}")
        kinds[name] = cast(Kind, given[name]) if name in given else guess(values)
        if kinds[name] != "category":
            check_numbers(name, values, kind=kinds[name])
    return kinds


def guess(values: pd.Series) -> Kind:
    """The kind of a column with these values, none of them missing."""
    if not is_numeric_dtype(values) or is_bool_dtype(values) or values.nunique() <= 2:
        return "category"
    return "count" if are_counts(values.to_numpy(dtype=np.float64)) else "continuous"


def are_counts(numbers: np.ndarray) -> bool:
    """Whether all are whole numbers from 0 up that float64 distinguishes from their neighbours."""
    return bool((numbers >= 0).all() and (numbers == np.rint(numbers)).all() and (numbers <= LARGEST_COUNT).all())


def check_numbers(name: str, values: pd.Series, *, kind: Kind) -> None:
    """Refuse values, none of them missing, that are no numbers of this kind."""
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if not np.isfinite(numbers).all():
        bad = shown(values[~np.isfinite(numbers)].iloc[0])
        raise column_error(name, f"must hold finite numbers to be {kind}: got {bad}", "set data.types otherwise")
    if np.abs(numbers).max() > LARGEST:
        what = f"holds {values.iloc[np.abs(numbers).argmax()]}, and numbers may be at most {LARGEST:g} in size"
        raise column_error(name, what, "write it in other units")
    if kind == "count" and not are_counts(numbers):
        what = "must hold whole numbers from 0 up to 2**53 to be a count"
        raise column_error(name, what, f"set {type_override(name, 'continuous')}")


def typed(frame: pd.DataFrame, kinds: Mapping[str, Kind]) -> pd.DataFrame:
    """The columns of these kinds, categories as strings and counts as integers: the types that a table decodes to."""
    return pd.DataFrame({name: as_kind(frame[name].reset_index(drop=True), kind) for name, kind in kinds.items()})


def as_kind(values: "pd.Series[object]", kind: Kind) -> "pd.Series[object]":
    """A column converted to its kind."""
    if kind == "category":
        name: Any = category_name
        if isinstance(values.dtype, np.dtype) and values.dtype.kind in "biuf":  # few different numbers in many rows
            name = {number: category_name(number) for number in values.dropna().unique().tolist()}
        return values.map(name, na_action="ignore").astype(object).where(values.notna(), None)
    if kind == "continuous":
        return pd.to_numeric(values).astype(np.float64)
    whole = pd.to_numeric(values).astype("Float64").round().astype("Int64")
    return whole if whole.isna().any() else whole.astype(np.int64)


def category_name(value: object) -> str:
    """A category as a string; whole floats without a point, as 0 and 1 are floats if a value is missing."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


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


def encoding_notes(frame: pd.DataFrame, values: torch.Tensor, *, table: Table, train: np.ndarray) -> list[str]:
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
