"""Rows of a known table that somebody else's file holds, such as the output of another generator."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from collapsar.cases.tables.csv_file import Reading
from collapsar.cases.tables.file_rows import some
from collapsar.cases.tables.fitting import check_numbers, typed
from collapsar.cases.tables.names import shown
from collapsar.cases.tables.numerals import find_numbers
from collapsar.cases.tables.schema import Column, Kind, Table
from collapsar.cases.tables.table_file import read_file
from collapsar.errors import UsageError, printable
from collapsar.samples import Samples

logger = logging.getLogger(__name__)


def read_rows(path: Path, *, table: Table, kinds: Mapping[str, Kind], reading: Reading) -> Samples:
    """The rows of a CSV or Parquet file, encoded as the table's own; the columns may stand in any order.

    Raises:
        UsageError: a column is missing, or holds a value that the table cannot encode.
    """
    file = printable(str(path))
    rows = read_file(str(path), reading)
    if lacking := [shown(name) for name in kinds if name not in rows.frame]:
        raise UsageError(f"{file} lacks the columns {some(lacking)}: it must have those of the real table")
    if others := [shown(name) for name in rows.frame if name not in kinds]:
        logger.info("%s: columns left out that the real table does not use: %s", file, some(others))
    rows = replace(rows, frame=rows.frame[list(kinds)])
    signs = {"decimal": reading.decimal, "thousands": reading.thousands}
    frame, _ = find_numbers(rows, **signs, given=kinds, max_categories=len(rows.frame))
    for name, kind in kinds.items():
        if kind == "category":
            frame[name] = rows.frame[name]
        else:
            check_numbers(name, frame[name].dropna(), kind=kind)
    frame = typed(frame, kinds)
    for column in table.columns:
        check_known(column, frame[column.name], file=file)
    values = table.encode(frame)
    return Samples(values, table.classes(values))


def check_known(column: Column, values: "pd.Series[object]", *, file: str) -> None:
    """Refuse missing values and categories that the real column does not have."""
    if num_missing := int(values.isna().sum()) * (not column.may_be_missing):
        raise UsageError(
            f"column {shown(column.name)} of {file} has {num_missing} missing values, and the real one none: fill them "
            "or leave these rows out"
        )
    strangers = values.dropna()[~values.dropna().isin(column.categories)] if not column.is_number else values[:0]
    if len(strangers):
        raise UsageError(
            f"column {shown(column.name)} of {file} has {len(strangers)} values that the real one lacks, such as "
            f"{shown(strangers.iloc[0])}: leave these rows out"
        )
