"""Rows of a known table that somebody else's file holds, such as the output of another generator."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from collapsar.cases.tables.csv_file import read_file
from collapsar.cases.tables.file_rows import some
from collapsar.cases.tables.fitting import check_numbers, typed
from collapsar.cases.tables.names import shown
from collapsar.cases.tables.numerals import find_numbers
from collapsar.cases.tables.schema import Column, Table
from collapsar.errors import UsageError, printable
from collapsar.samples import Samples

logger = logging.getLogger(__name__)


def read_rows(
    path: Path, *, table: Table, csv_settings: Mapping[str, Any], signs: tuple[str | None, str | None]
) -> Samples:
    """The rows of a CSV or Parquet file, encoded as the table's own; the columns may stand in any order.

    Raises:
        UsageError: a column is missing, or holds a value that the table cannot encode.
    """
    file = printable(str(path))
    kinds = {column.name: column.kind for column in table.columns}
    rows = read_file(str(path), **csv_settings)
    if lacking := [shown(name) for name in kinds if name not in rows.frame]:
        raise UsageError(f"{file} lacks the columns {some(lacking)}: it must have those of the real table")
    if others := [shown(name) for name in rows.frame if name not in kinds]:
        logger.info("%s: columns left out that the real table does not use: %s", file, some(others))
    rows = replace(rows, frame=rows.frame[list(kinds)])
    frame, _ = find_numbers(rows, *signs, given=kinds, max_categories=len(rows.frame))
    for column in table.columns:
        check_present(column, frame[column.name], file=file)
        if column.is_number:
            check_numbers(column.name, frame[column.name].dropna(), kind=column.kind)
        else:
            frame[column.name] = rows.frame[column.name]
    frame = typed(frame, kinds)
    for column in table.columns:
        if not column.is_number:
            frame[column.name] = as_categories(column, frame[column.name])
            check_known(column, frame[column.name], file=file)
    values = table.encode(frame)
    return Samples(values, table.classes(values))


def check_present(column: Column, values: "pd.Series[object]", *, file: str) -> None:
    """Refuse a column without any value, or with missing ones if the real column has none."""
    num_missing = int(values.isna().sum())
    if num_missing and (not column.may_be_missing or num_missing == len(values)):
        what = "none" if not column.may_be_missing else "not in every row"
        raise UsageError(
            f"column {shown(column.name)} of {file} has {num_missing} missing values, and the real one {what}: fill "
            "them or leave these rows out"
        )


def as_categories(column: Column, values: "pd.Series[object]") -> "pd.Series[object]":
    """Texts as the real categories; one that writes the number of a category otherwise, as 1.0 for 1, is that one."""
    by_number = {number: name for name in column.categories if (number := number_of(name)) is not None}
    strangers = {text: number_of(text) for text in set(values.dropna()) - set(column.categories)}
    others = {text: by_number.get(number, text) for text, number in strangers.items() if number is not None}
    return values.replace(others) if others else values


def number_of(text: object) -> float | None:
    """The number that a text writes; None if it writes none."""
    try:
        return float(str(text))
    except ValueError:
        return None


def check_known(column: Column, values: "pd.Series[object]", *, file: str) -> None:
    """Refuse categories that the real column does not have."""
    known = values.dropna()
    if len(strangers := known[~known.isin(column.categories)]):
        raise UsageError(
            f"column {shown(column.name)} of {file} has {len(strangers)} values that the real one lacks, such as "
            f"{shown(strangers.iloc[0])}: leave these rows out"
        )
