"""A user's own table, a CSV or Parquet file: the kinds of its columns are guessed, and the guess is logged."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from collapsar.cases.tables.cells import some
from collapsar.cases.tables.file_rows import FileRows, Reading, read_csv, read_parquet, understand
from collapsar.cases.tables.fitting import encoding_notes, typed
from collapsar.cases.tables.kinds import KINDS, find_kinds
from collapsar.cases.tables.names import (
    Typed,
    advice,
    find_name,
    find_names,
    listed,
    shown,
    type_override,
)
from collapsar.cases.tables.scales import ScaleName
from collapsar.cases.tables.schema import Kind
from collapsar.cases.tables.sources import TableSource
from collapsar.errors import UsageError, check_fraction, check_positive, printable

logger = logging.getLogger(__name__)


class TableFile(TableSource):
    """Rows of a file that have a target; up to five log lines say how the file was read.

    Args:
        sample_shape: null, or the number of values that encode a row, as a list of one.
        path: A file that ends in .csv or .parquet.
        checksum: Of the file's content; it distinguishes chains of different files.
        target: The column to predict.
        threshold: Of a target of numbers: rows above it are of class 1, the others of class 0; null: no classes.
        types: Kinds by column, for wrong guesses, or a list of `COLUMN: KIND`; null: all are guessed.
        identifiers: Columns that no model may see.
        max_categories: Text with more different values is refused, unless its type is given.
        test_fraction: Share of the rows that is held out.
        num_train: Size of a stratified subset of the training rows, or below 1 its share; null takes all of them.
        scale: How numbers are scaled.
        separator: Between fields of a CSV file, as itself or by its name (comma, tab); null: detected.
        decimal: Decimal sign of numbers; null: a point, or a comma if the file uses one.
        thousands: Sign between groups of three digits; null: none.
        encoding: Of a CSV file; null: by its byte order mark, else UTF-8.
        missing: Words in a CSV file that stand for a missing value, as an empty cell does.

    Raises:
        UsageError: the file, a column or a setting cannot be used.
    """

    name = "table"

    def __init__(
        self,
        *,
        sample_shape: list[int] | None,
        path: str | None,
        checksum: str | None,
        target: Typed | None,
        threshold: int | float | None,
        types: Mapping[Typed, str] | Sequence[str] | None,
        identifiers: Sequence[Typed],
        max_categories: int,
        test_fraction: float,
        num_train: int | float | None,
        scale: ScaleName,
        separator: str | None,
        decimal: str | None,
        thousands: str | None,
        encoding: str | None,
        missing: Sequence[str | int | float],
    ) -> None:
        check_fraction(**{"data.test_fraction": test_fraction})
        check_positive(**{"data.max_categories": max_categories})
        reading = Reading(separator=separator, decimal=decimal, thousands=thousands, encoding=encoding, missing=missing)
        rows = read_file(path, reading)
        left_out = find_names("data.identifiers", identifiers, rows.columns)
        given = find_types(types, rows.columns)
        self.target = find_target(target, rows=rows, identifiers=left_out)
        rows = rows.with_target(self.target).without(left_out)
        columns = understand(rows, reading=reading, given=given, max_categories=max_categories)
        kinds = find_kinds(columns.frame(), given=given, max_categories=max_categories)
        self._rows = typed(columns.frame(kinds, given=given), kinds), kinds
        num_classes = count_classes(self._rows[0][self.target], kind=kinds[self.target], threshold=threshold)
        num_test = round(test_fraction * len(rows))
        if not max(1, num_classes) <= num_test <= len(rows) - max(2, num_classes):
            raise UsageError(
                f"data.test_fraction must leave a row of each class for training and for tests: got {test_fraction} of "
                f"{len(rows)} rows"
            )
        super().__init__(
            sample_shape=sample_shape or [],
            num_train=num_train,
            num_available=len(rows) - num_test,
            num_test=num_test,
            num_classes=num_classes,
            scale=scale,
            threshold=None if threshold is None else float(threshold),
        )
        table, everything, train, _ = self.fitted
        self.sample_shape = [table.width]
        if sample_shape not in (None, self.sample_shape):
            raise UsageError(f"data.sample_shape must be {self.sample_shape}, or null: got {sample_shape}")
        notes = [*columns.notes, *encoding_notes(self._rows[0], everything.values, table=table, train=train)]
        for line in (
            *rows.lines(),
            *sentences(notes),
            describe(kinds, target=self.target, num_classes=num_classes),
        ):
            logger.info("%s: %s", printable(str(path)), line)

    def rows(self) -> tuple[pd.DataFrame, dict[str, Kind]]:
        return self._rows


def read_file(path: str | None, reading: Reading) -> FileRows:
    """All rows of a CSV or Parquet file; it must have some."""
    if path is None:
        raise UsageError("data=table needs a file: set data.path=FILE.csv or FILE.parquet, and data.target=COLUMN")
    file, shown_path = Path(path).expanduser(), printable(path)
    suffix = file.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise UsageError(f"data.path must end in .csv or .parquet: got {shown_path}")
    try:
        rows = read_csv(file, reading) if suffix == ".csv" else read_parquet(file)
    except FileNotFoundError as error:
        raise UsageError(f"data.path must be a file: there is no {shown_path}") from error
    except ImportError as error:
        raise UsageError(
            f"data.path={shown_path} needs pyarrow: run pip install 'collapsar[parquet]', or set data.path to a CSV"
        ) from error
    except (OSError, ValueError) as error:
        reason = printable(str(error).partition("\n")[0])
        raise UsageError(f"data.path={shown_path} cannot be read as {suffix[1:]}: {reason}") from error
    if not rows.columns or not len(rows):
        raise UsageError(f"data.path={shown_path} has no rows: set data.path to a file that has some")
    return rows


def find_target(target: Typed | None, *, rows: FileRows, identifiers: Sequence[str]) -> str:
    """The column that the user means as the target."""
    allowed = [name for name in rows.columns if name not in identifiers]
    found = None if target is None else find_name(target, allowed)
    if found is None:
        got = "nothing" if target is None else shown(target)
        more = "; the file has one column: set data.separator if it should have more" if len(rows.columns) == 1 else ""
        raise UsageError(
            f"data.target must be a column that is no identifier: got {got}; set one of {listed(allowed)}"
            f"{advice('data.target', target)}{more}"
        )
    if rows.num_missing(found) == len(rows):
        raise UsageError(f"data.target={shown(found)} has no value in any row: set another column")
    return found


def find_types(types: Mapping[Typed, str] | Sequence[str] | None, columns: Iterable[str]) -> dict[str, str]:
    """The kinds that the user gives, by column."""
    entries = types if isinstance(types, Mapping) else dict(map(split_type, types or ()))
    return dict(zip(find_names("data.types", entries, columns), entries.values(), strict=True))


def split_type(entry: str) -> tuple[str, str]:
    """Column and kind of `COLUMN: KIND`."""
    name, colon, kind = entry.rpartition(":")
    if not colon:
        raise UsageError(f"data.types must be {{COLUMN: KIND}} or a list of 'COLUMN: KIND': got {printable(entry)}")
    return name.strip(), kind.strip()


def sentences(notes: Sequence[str]) -> list[str]:
    """The notes in one line; an empty list if there are none."""
    return [some(notes, most=8, between="; ")] if notes else []


def count_classes(target: "pd.Series[object]", *, kind: Kind, threshold: int | float | None) -> int:
    """Number of classes of a target; 0 for numbers without a threshold.

    There must be at least two classes, each with at least two rows.
    """
    name = shown(target.name)
    if kind == "category" and threshold is not None:
        raise UsageError(f"data.threshold is of numbers, and data.target={name} is a category: set data.threshold=null")
    if kind != "category" and threshold is None:
        return 0
    sizes = (target if kind == "category" else target > threshold).value_counts()
    if len(sizes) < 2:
        setting = f"data.target={name}" if kind == "category" else f"data.threshold={threshold}"
        raise UsageError(f"{setting} must give at least two classes: got one; set another")
    if sizes.min() < 2:
        raise UsageError(
            f"data.target={name} must have at least two rows of each class: got one of {shown(sizes.idxmin())}; leave "
            "it out of the file, or set another target"
        )
    return len(sizes)


def describe(kinds: Mapping[str, Kind], *, target: str, num_classes: int) -> str:
    """The kinds of all columns in one line, and what is not scored if the target has no classes."""
    by_kind = {kind: [shown(name) for name, own in kinds.items() if own == kind] for kind in KINDS}
    parts = [f"{kind} {', '.join(names)}" for kind, names in by_kind.items() if names]
    classes = (
        ""
        if num_classes
        else (
            f", which is a number and has no classes, so that nothing is scored by class or downstream: set "
            f"{type_override(target, 'category')} or data.threshold=NUMBER for classes"
        )
    )
    return (
        f"{'; '.join(parts)}. Target: {shown(target)}{classes}. Set data.types={{COLUMN: KIND}} where a guess is wrong"
    )
