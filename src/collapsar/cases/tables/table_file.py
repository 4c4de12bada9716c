"""A user's own table, a CSV or Parquet file: the kinds of its columns are guessed, and the guess is logged."""

import logging
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from collapsar.cases.tables.csv_file import read_file
from collapsar.cases.tables.names import Typed, column_error, find_name, shown, type_override
from collapsar.cases.tables.numerals import KINDS, find_kinds, find_numbers, sign, typed
from collapsar.cases.tables.schema import Kind, ScaleName, encoding_notes
from collapsar.cases.tables.sources import TableSource
from collapsar.data.sources.pictures import listed
from collapsar.foundations.errors import UsageError, check_fraction, check_positive, printable

logger = logging.getLogger(__name__)


class TableFile(TableSource):
    """Rows of a file that have a target; `conf/data/table.yaml` explains each setting. The log says how it was read."""

    name = "table"

    def __init__(
        self,
        *,
        sample_shape: list[int] | None,
        path: str | None,
        checksum: str | None,  # distinguishes chains of different files
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
        if not missing:
            raise UsageError("data.missing must hold a word: set data.missing=[''] to take only empty cells as missing")
        separator = sign("data.separator", separator)
        self.csv_settings = {"separator": separator, "encoding": encoding, "missing": missing}
        self.signs = sign("data.decimal", decimal), sign("data.thousands", thousands)
        rows = read_file(path, **self.csv_settings)
        left_out = [find_name("data.identifiers", one, rows.frame) for one in identifiers]
        given = find_types(types, rows.frame)
        self.target = find_name("data.target", target, (name for name in rows.frame if name not in left_out))
        if rows.frame[self.target].isna().all():
            raise UsageError(f"data.target={shown(self.target)} has no value in any row: set another column")
        rows = rows.used(target=self.target, identifiers=left_out)
        frame, notes = find_numbers(
            rows.frame, *self.signs, given=given, texts=rows.texts, max_categories=max_categories
        )
        kinds = find_kinds(frame, given=given)
        categories = [name for name, kind in kinds.items() if kind == "category"]
        for name in categories:
            num_values, is_given = frame[name].nunique(), name in given
            check_categories(name, num_values, is_target=name == self.target, is_given=is_given, most=max_categories)
            if is_given or rows.frame[name].nunique() == num_values:  # else a number that is written in several ways
                frame[name] = rows.frame[name]
        frame = typed(frame, kinds)
        self.frame, self.given_kinds = frame, kinds
        self.num_classes = count_classes(frame[self.target], kind=kinds[self.target], threshold=threshold)
        self.num_test = round(test_fraction * len(frame))
        self.num_available = len(frame) - self.num_test
        if not max(1, self.num_classes) <= self.num_test <= len(frame) - max(2, self.num_classes):
            problem = "data.test_fraction must leave a row of each class for training and for tests"
            raise UsageError(f"{problem}: got {test_fraction} of {len(frame)} rows")
        super().__init__(sample_shape=sample_shape or [], num_train=num_train, scale=scale, threshold=threshold)
        table, everything, train, _ = self.fitted
        self.sample_shape = [table.columns[-1].stop]
        if sample_shape not in (None, self.sample_shape):
            raise UsageError(f"data.sample_shape must be {self.sample_shape}, or null: got {sample_shape}")
        notes += encoding_notes(frame, everything.values, table=table, train=train)
        understood = [listed(notes, most=8, between="; ")] if notes else []
        for line in (*rows.lines(), *understood, describe(kinds, target=self.target, num_classes=self.num_classes)):
            logger.info("%s: %s", printable(str(path)), line)

    def read_frame(self) -> pd.DataFrame:
        return self.frame


def find_types(types: Mapping[Typed, str] | Sequence[str] | None, columns: Iterable[str]) -> dict[str, str]:
    """The kinds that the user gives, by column: `{COLUMN: KIND}`, or a list of `COLUMN: KIND`."""
    if not isinstance(types, Mapping):
        if unlike := [entry for entry in types or () if ":" not in entry]:
            raise UsageError(f"data.types must be {{COLUMN: KIND}} or a list of 'COLUMN: KIND': got {shown(unlike[0])}")
        types = {name.strip(): kind.strip() for name, _, kind in (entry.rpartition(":") for entry in types or ())}
    return {find_name("data.types", name, columns): kind for name, kind in types.items()}


def check_categories(name: str, num_values: int, *, is_target: bool, is_given: bool, most: int) -> None:
    """Refuse too many categories; a column whose kind the user gives may have any number, unless it is the target."""
    more = f"more than data.max_categories={most}"
    if num_values > most and is_target:
        advice = f"another target, or, for numbers, {type_override(name, 'continuous')}"
        problem = f"data.target={shown(name)} has {num_values} classes, {more}"
        raise UsageError(f"{problem}: set data.max_categories={num_values}, {advice}")
    if num_values > most and not is_given:
        what = f"holds text of {num_values} different values, {more}"
        raise column_error(name, what, type_override(name, "category"))


def count_classes(target: "pd.Series[object]", *, kind: Kind, threshold: int | float | None) -> int:
    """Number of classes of a target, which must be two or more, of two rows or more; 0: numbers without a threshold."""
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
        problem = f"data.target={name} must have at least two rows of each class: got one of {shown(sizes.idxmin())}"
        raise UsageError(f"{problem}; leave it out of the file, or set another target")
    return len(sizes)


def describe(kinds: Mapping[str, Kind], *, target: str, num_classes: int) -> str:
    """The kinds of all columns in one line, and what is not scored if the target has no classes."""
    by_kind = {kind: [shown(name) for name, own in kinds.items() if own == kind] for kind in KINDS}
    guesses = "; ".join(f"{kind} {', '.join(names)}" for kind, names in by_kind.items() if names)
    unscored = (
        ", which is a number and has no classes, so that nothing is scored by class or downstream: set "
        f"{type_override(target, 'category')} or data.threshold=NUMBER for classes"
    )
    return (
        f"{guesses}. Target: {shown(target)}{'' if num_classes else unscored}. Set data.types={{COLUMN: KIND}} where a "
        "guess is wrong"
    )
