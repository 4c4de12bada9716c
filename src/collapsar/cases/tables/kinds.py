"""Which kind each column is of: guessed from its values where the user does not say."""

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_numeric_dtype

from collapsar.cases.tables.schema import Kind
from collapsar.errors import UsageError, printable

KINDS: tuple[Kind, ...] = ("continuous", "count", "category")


def find_kinds(
    frame: pd.DataFrame, *, given: Mapping[str, str], identifiers: Collection[str], max_categories: int
) -> dict[str, Kind]:
    """The kind of every column that is no identifier, in their order.

    A guess is `category` for text, for true and false, and for numbers of two values; `count` for whole numbers from 0
    up; else `continuous`.

    Args:
        frame: All rows.
        given: Kinds that the user says, by column.
        identifiers: Columns that are left out: no model ever sees them.
        max_categories: Text of more different values is refused, unless it is given as a category.

    Raises:
        UsageError: a column or kind that there is not, or a column that is not of its kind, or of none.
    """
    for setting, names in (("data.types", given), ("data.identifiers", identifiers)):
        if unknown := [name for name in names if name not in frame.columns]:
            columns = printable(", ".join(map(str, frame.columns)))
            raise UsageError(f"{setting} must name columns of the table: got {printable(unknown[0])}; it has {columns}")
    kinds: dict[str, Kind] = {}
    for name in frame.columns:
        if name in identifiers:
            continue
        values = frame[name].dropna()
        if not len(values):
            raise UsageError(f"column {shown(name)} has no value in any row: set data.identifiers=[{shown(name)}]")
        kind = as_kind_name(name, given[name]) if name in given else guess(values)
        check_kind(name, values, kind=kind, max_categories=None if name in given else max_categories)
        kinds[name] = kind
    return kinds


def guess(values: "pd.Series[object]") -> Kind:
    """The kind of a column with these values, none of them missing."""
    if not is_numeric_dtype(values) or is_bool_dtype(values) or values.nunique() <= 2:
        return "category"
    return "count" if are_counts(values) else "continuous"


def are_counts(values: "pd.Series[object]") -> bool:
    """Whether all are whole numbers from 0 up."""
    numbers = values.to_numpy(dtype=np.float64)
    return bool((numbers >= 0).all() and (numbers == np.rint(numbers)).all())


def as_kind_name(name: str, kind: str) -> Kind:
    """A kind that the user gave.

    Raises:
        UsageError: there is none of this name.
    """
    for known in KINDS:
        if kind == known:
            return known
    raise UsageError(f"data.types.{shown(name)} must be one of {', '.join(KINDS)}: got {kind}")


def check_kind(name: str, values: "pd.Series[object]", *, kind: Kind, max_categories: int | None) -> None:
    """Refuse values that are not of a kind.

    Args:
        name: Of the column.
        values: Those that are not missing.
        kind: The column's.
        max_categories: So many different texts may be categories; None: any number.

    Raises:
        UsageError: with what to set instead.
    """
    column = shown(name)
    if is_datetime64_any_dtype(values):
        raise UsageError(f"column {column} holds dates: set data.identifiers=[{column}], or write them as numbers")
    if kind == "category":
        num_categories = values.nunique()
        if max_categories is not None and num_categories > max_categories:
            raise UsageError(
                f"column {column} holds text of {num_categories} different values, more than "
                f"data.max_categories={max_categories}: set data.identifiers=[{column}] to leave it out, or "
                f"data.types={{{column}: category}}"
            )
        return
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if not np.isfinite(numbers).all():
        bad = printable(str(values[~np.isfinite(numbers)].iloc[0]))
        raise UsageError(f"column {column} must hold finite numbers to be {kind}: got {bad}; set data.types otherwise")
    if kind == "count" and not are_counts(pd.Series(numbers)):
        raise UsageError(
            f"column {column} must hold whole numbers from 0 up to be a count: set data.types={{{column}: continuous}}"
        )


def shown(name: object) -> str:
    """A column's name on one line."""
    return printable(str(name))
