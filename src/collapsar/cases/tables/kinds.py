"""The kind of each column: guessed from its values unless the user sets it."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_bool_dtype, is_numeric_dtype

from collapsar.cases.tables.names import identifier_override, shown, type_override
from collapsar.cases.tables.schema import LARGEST_COUNT, Kind
from collapsar.errors import UsageError, printable

KINDS: tuple[Kind, ...] = ("continuous", "count", "category")
LARGEST = 1e60  # a larger number could overflow float64 in products of sums of squares
UNFIT_CONTENT = {  # contents that are neither numbers nor text, by their names in pandas.api.types.infer_dtype
    "bytes": "bytes",
    "complex": "complex numbers",
    "date": "dates",
    "datetime": "dates",
    "datetime64": "dates",
    "interval": "intervals",
    "period": "periods of time",
    "time": "times",
    "timedelta": "durations",
    "timedelta64": "durations",
}


def find_kinds(frame: pd.DataFrame, *, given: Mapping[str, str], max_categories: int) -> dict[str, Kind]:
    """The kind of every column, in their order.

    A guess is `category` for text, for true and false, and for numbers of at most two values; `count` for whole numbers
    from 0 up; else `continuous`.

    Args:
        frame: All rows, without identifiers.
        given: Kinds that the user sets, by column.
        max_categories: Most distinct texts of a column whose kind is not given.

    Raises:
        UsageError: a kind is unknown, or a column does not fit its kind, or any.
    """
    kinds: dict[str, Kind] = {}
    for name in frame.columns:
        values = frame[name].dropna()
        if not len(values):
            raise UsageError(f"column {shown(name)} has no value in any row: set {identifier_override(name)}")
        check_content(name, values)
        kind = as_kind_name(name, given[name]) if name in given else guess(values)
        check_kind(name, values, kind=kind, max_categories=None if name in given else max_categories)
        kinds[name] = kind
    return kinds


def check_content(name: str, values: "pd.Series[object]") -> None:
    """Refuse values that are neither numbers nor texts: dates, bytes, lists."""
    if is_numeric_dtype(values):
        return
    content = infer_dtype(values, skipna=True)
    held = UNFIT_CONTENT.get(content)
    if held is None and content in ("mixed", "unknown-array"):
        held = next(
            (what for kind, what in NESTED if values.map(lambda value, kind=kind: isinstance(value, kind)).any()), None
        )
    if held is not None:
        raise UsageError(
            f"column {shown(name)} holds {held}: set {identifier_override(name)} to leave it out, or write numbers or "
            "text in the file"
        )


NESTED: tuple[tuple[type | tuple[type, ...], str], ...] = (
    ((list, tuple, set, np.ndarray), "lists"),
    (dict, "nested values"),
    (bytes, "bytes"),
)


def guess(values: "pd.Series[object]") -> Kind:
    """The kind of a column with these values, none of them missing."""
    if not is_numeric_dtype(values) or is_bool_dtype(values) or values.nunique() <= 2:
        return "category"
    return "count" if are_counts(values) else "continuous"


def are_counts(values: "pd.Series[object]") -> bool:
    """Whether all are whole numbers from 0 up that float64 distinguishes from their neighbours."""
    numbers = values.to_numpy(dtype=np.float64)
    return bool((numbers >= 0).all() and (numbers == np.rint(numbers)).all() and (numbers <= LARGEST_COUNT).all())


def as_kind_name(name: str, kind: str) -> Kind:
    """A kind that the user gave; unknown ones are refused."""
    for known in KINDS:
        if kind == known:
            return known
    raise UsageError(f"data.types.{shown(name)} must be one of {', '.join(KINDS)}: got {kind}")


def check_kind(name: str, values: "pd.Series[object]", *, kind: Kind, max_categories: int | None) -> None:
    """Refuse values that do not fit a kind.

    None of them is missing. With max_categories None, any number of categories fits.
    """
    column = shown(name)
    if kind == "category":
        num_categories = values.nunique()
        if max_categories is not None and num_categories > max_categories:
            raise UsageError(
                f"column {column} holds text of {num_categories} different values, more than "
                f"data.max_categories={max_categories}: set {identifier_override(name)} to leave it out, or "
                f"{type_override(name, 'category')}"
            )
        return
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if not np.isfinite(numbers).all():
        bad = printable(str(values[~np.isfinite(numbers)].iloc[0]))
        raise UsageError(
            f"column {column} must hold finite numbers to be {kind}: got {bad}; set data.types otherwise, or "
            f"{identifier_override(name)}"
        )
    if np.abs(numbers).max() > LARGEST:
        raise UsageError(
            f"column {column} holds {values.iloc[np.abs(numbers).argmax()]}, and numbers may be at most {LARGEST:g} in "
            f"size: write it in other units, or set {identifier_override(name)}"
        )
    if kind == "count" and not are_counts(pd.Series(numbers)):
        raise UsageError(
            f"column {column} must hold whole numbers from 0 up to 2**53 to be a count: set "
            f"{type_override(name, 'continuous')}"
        )
