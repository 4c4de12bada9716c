"""The kind of each column: guessed from its values unless the user sets it."""

from collections.abc import Mapping
from typing import Any, cast, get_args

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_bool_dtype, is_numeric_dtype

from collapsar.cases.tables.names import column_error, identifier_override, shown, type_override
from collapsar.cases.tables.schema import LARGEST_COUNT, Kind
from collapsar.errors import UsageError, printable

KINDS: tuple[Kind, ...] = get_args(Kind)
LARGEST = 1e60  # a larger number could overflow float64 in products of sums of squares
UNFIT_CONTENT = {  # contents that are neither numbers nor text, by their names in pandas.api.types.infer_dtype
    "bytes": "bytes",
    "complex": "complex numbers",
    "interval": "intervals",
    "period": "periods of time",
    "time": "times",
    **dict.fromkeys(("date", "datetime", "datetime64"), "dates"),
    **dict.fromkeys(("timedelta", "timedelta64"), "durations"),
}
UNFIT_TYPES: dict[str, Any] = {"lists": (list, tuple, set, np.ndarray), "nested values": dict, "bytes": bytes}


def find_kinds(frame: pd.DataFrame, *, given: Mapping[str, str]) -> dict[str, Kind]:
    """The kind of every column, in their order.

    A guess is `category` for text, for true and false, and for numbers of at most two values; `count` for whole numbers
    from 0 up; else `continuous`.

    Args:
        frame: All rows, without identifiers.
        given: Kinds that the user sets, by column.

    Raises:
        UsageError: a kind is unknown, or a column does not fit its kind, or any.
    """
    kinds: dict[str, Kind] = {}
    for name, column in frame.items():
        values = column.dropna()
        if not len(values):
            raise column_error(name, f"has no value in any row: set {identifier_override(name)}")
        check_content(name, values)
        if given.get(name, KINDS[0]) not in KINDS:
            raise UsageError(f"data.types.{shown(name)} must be one of {', '.join(KINDS)}: got {given[name]}")
        kinds[name] = cast(Kind, given[name]) if name in given else guess(values)
        if kinds[name] != "category":
            check_numbers(name, values, kind=kinds[name])
    return kinds


def check_content(name: str, values: pd.Series) -> None:
    """Refuse values that are neither numbers nor texts: dates, bytes, lists."""
    content = infer_dtype(values, skipna=True)
    held = UNFIT_CONTENT.get(content)
    if content in ("mixed", "unknown-array"):
        found = (what for what, types in UNFIT_TYPES.items() if any(isinstance(value, types) for value in values))
        held = next(found, None)
    if held is not None:
        raise column_error(
            name, f"holds {held}: set {identifier_override(name)} to leave it out, or write numbers or text in the file"
        )


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
        bad = printable(str(values[~np.isfinite(numbers)].iloc[0]))
        otherwise = f"set data.types otherwise, or {identifier_override(name)}"
        raise column_error(name, f"must hold finite numbers to be {kind}: got {bad}; {otherwise}")
    if np.abs(numbers).max() > LARGEST:
        raise column_error(
            name,
            f"holds {values.iloc[np.abs(numbers).argmax()]}, and numbers may be at most {LARGEST:g} in size: write it "
            f"in other units, or set {identifier_override(name)}",
        )
    if kind == "count" and not are_counts(numbers):
        continuous = type_override(name, "continuous")
        raise column_error(name, f"must hold whole numbers from 0 up to 2**53 to be a count: set {continuous}")
