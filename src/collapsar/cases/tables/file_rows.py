"""Rows of a user's file: each column as numbers or as text, with notes on how the file was read.

Types are judged over the whole file. A category keeps the text of its cell; a number is the nearest float64, and a
column of whole numbers that would lose digits is refused.
"""

from collections.abc import Collection, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_float_dtype, is_integer_dtype

from collapsar.cases.tables.cells import TextColumn, counted, read_cells, sign, sign_name, some
from collapsar.cases.tables.names import identifier_override, shown, type_override
from collapsar.cases.tables.numerals import Signs, is_padded, possible_signs
from collapsar.cases.tables.schema import LARGEST_COUNT, Kind
from collapsar.errors import UsageError, printable

NUMBER_KINDS = ("continuous", "count")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a file is read.

    Args:
        separator: Between fields of a CSV file; None: detected.
        decimal: Decimal sign of numbers; None: a point, or a comma if the file uses one.
        thousands: Between groups of three digits; None: none.
        encoding: Of a CSV file; None: by its byte order mark, else UTF-8.
        missing: Words that stand for a missing value, as an empty cell does; a number stands for all equal ones.
    """

    separator: str | None
    decimal: str | None
    thousands: str | None
    encoding: str | None
    missing: Sequence[str | int | float]

    def __post_init__(self) -> None:
        for name in ("separator", "decimal", "thousands"):
            object.__setattr__(self, name, sign(f"data.{name}", getattr(self, name)))
        if not self.missing:
            raise UsageError(
                "data.missing must hold a word: set data.missing=[''] to take only empty cells for missing"
            )
        if self.thousands is not None and self.thousands == (self.decimal or "."):
            raise UsageError(
                f"data.thousands and data.decimal must differ: got {sign_name(self.thousands)} for both; set both"
            )

    def is_missing(self, text: str) -> bool:
        """Whether a cell's text stands for a missing value."""
        text = text.strip()
        if not text or text in self._words:
            return True
        return bool(self._numbers) and Signs().read(text) and float(text) in self._numbers

    @cached_property
    def _words(self) -> set[str]:
        return {word.strip() for word in self.missing if isinstance(word, str)}

    @cached_property
    def _numbers(self) -> set[float]:
        return {float(word) for word in self.missing if not isinstance(word, str)}


@dataclass(frozen=True)
class FileRows:
    """The columns of a file.

    Attributes:
        columns: By name, in the file's order; a Series if the file stores numbers.
        form: How the file was read.
        missing: For each word that counts as missing, the number of its cells in each column.
        left_out: Contents of the file that are in no column, in words.
    """

    columns: Mapping[str, "TextColumn | pd.Series[object]"]
    form: str
    missing: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        first = next(iter(self.columns.values()))
        return len(first.codes if isinstance(first, TextColumn) else first)

    def with_target(self, target: str) -> "FileRows":
        """The rows that have a value of the target."""
        column = self.columns[target]
        has_value = column.codes >= 0 if isinstance(column, TextColumn) else column.notna().to_numpy()
        if has_value.all():
            return self
        chosen = np.flatnonzero(has_value)
        columns = {
            name: own.take(chosen) if isinstance(own, TextColumn) else own.iloc[chosen].reset_index(drop=True)
            for name, own in self.columns.items()
        }
        left_out = f"{counted(len(has_value) - len(chosen), 'row')} without a value of the target {shown(target)}"
        return replace(self, columns=columns, left_out=(*self.left_out, left_out))

    def without(self, names: Collection[str]) -> "FileRows":
        """The table without the identifier columns of these names."""
        columns = {name: column for name, column in self.columns.items() if name not in names}
        identifiers = (f"identifiers {some([shown(name) for name in names])}",) if names else ()
        return replace(self, columns=columns, left_out=(*self.left_out, *identifiers))

    def num_missing(self, name: str) -> int:
        """Number of missing values in a column."""
        column = self.columns[name]
        return int((column.codes < 0).sum() if isinstance(column, TextColumn) else column.isna().sum())

    def lines(self) -> list[str]:
        """Lines for the log: how the file was read, what counts as missing, what was left out."""
        words = [
            f"{printable(word) or 'empty'} {sum(counts.values()):,} ({some([shown(name) for name in counts], most=4)})"
            for word, counts in sorted(self.missing.items(), key=lambda item: -sum(item[1].values()))
        ]
        return [
            self.form,
            *([f"taken for missing values: {some(words)}; data.missing lists the words"] if words else []),
            *([f"left out: {'; '.join(self.left_out)}"] if self.left_out else []),
        ]


def read_csv(path: Path, reading: Reading) -> FileRows:
    """The columns of a CSV file, all of them text."""
    cells = read_cells(path.read_bytes(), separator=reading.separator, encoding=reading.encoding)
    columns, missing = {}, dict[str, dict[str, int]]()
    for column in cells.columns:
        is_missing = [reading.is_missing(text) for text in column.distinct]
        for text, count, is_one in zip(column.distinct, column.counts, is_missing, strict=True):
            if is_one:
                counts = missing.setdefault(text.strip(), {})
                counts[column.name] = counts.get(column.name, 0) + int(count)
        columns[column.name] = column.without(is_missing)
    form = f"separated by {described(cells.separator)}, encoding {cells.encoding}"
    return FileRows(columns, f"{size(cells.num_rows, columns)}, {form}", missing, cells.left_out)


def size(num_rows: int, columns: Sized) -> str:
    """Numbers of rows and columns in words."""
    return f"{counted(num_rows, 'row')} of {counted(len(columns), 'column')}"


def described(one: str) -> str:
    """A sign and its name."""
    name = sign_name(one)
    return f"{one} ({name})" if one.isprintable() and one not in (" ", name) else name


def read_parquet(path: Path) -> FileRows:
    """The columns of a Parquet file, as it has them."""
    return from_frame(pd.read_parquet(path, dtype_backend="numpy_nullable"))


def from_frame(frame: pd.DataFrame) -> FileRows:
    """The columns of a frame and of its named index; two columns of one name are refused."""
    named = [name for name in frame.index.names if name is not None]
    is_counter = isinstance(frame.index, pd.RangeIndex)
    left_out = () if named or is_counter else ("the index, which has no name",)
    frame = frame.reset_index(level=named) if named else frame
    names = [str(name) for name in frame.columns]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"two columns are named {shown(twice[0])}: rename one of them")
    columns = {name: from_series(name, frame.iloc[:, place]) for place, name in enumerate(names)}
    rows = FileRows(columns, f"{size(len(frame), columns)}, Parquet", left_out=left_out)
    missing = {name: number for name in columns if (number := rows.num_missing(name))}
    return replace(rows, missing={"null": missing} if missing else {})


def from_series(name: str, values: "pd.Series[object]") -> "TextColumn | pd.Series[object]":
    """A column of a frame: strings, categoricals and decimals become text; other types stay as they are."""
    values = values.reset_index(drop=True)
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
        texts = values.map(str, na_action="ignore")
        return TextColumn.of(name, texts.where(values.notna(), None).tolist(), is_text=True)
    if is_float_dtype(values):
        return pd.Series(values.to_numpy(dtype=np.float64, na_value=np.nan))
    content = infer_dtype(values, skipna=True)
    if content in ("string", "decimal", "empty"):
        texts = values.map(str, na_action="ignore").astype(object)
        is_nan = values.map(lambda value: isinstance(value, Decimal) and value.is_nan()).fillna(False).astype(bool)
        return TextColumn.of(name, texts.where(values.notna() & ~is_nan, None).tolist(), is_text=content == "string")
    return values


@dataclass(frozen=True)
class Understood:
    """Columns as numbers if possible, else as text.

    Attributes:
        names: All columns, in the file's order.
        numbers: Every column that can be numbers.
        texts: Every column that the file has as text.
        notes: Notes on these columns for the user.
    """

    names: tuple[str, ...]
    numbers: Mapping[str, "pd.Series[object]"]
    texts: Mapping[str, TextColumn]
    notes: tuple[str, ...]

    def frame(self, kinds: Mapping[str, Kind] | None = None, *, given: Collection[str] = ()) -> pd.DataFrame:
        """All columns, as numbers if they can be; with kinds, categories as the file writes them.

        If a column is guessed to be a category but writes one number in several ways, that number is the category.
        """
        columns = {name: self.numbers[name] if name in self.numbers else self.texts[name].texts for name in self.names}
        for name, kind in (kinds or {}).items():
            column = self.texts.get(name)
            if kind == "category" and column and (name in given or len(column.distinct) == columns[name].nunique()):
                columns[name] = column.texts
        return pd.DataFrame(columns)


def understand(rows: FileRows, *, reading: Reading, given: Mapping[str, str], max_categories: int) -> Understood:
    """Decide which columns are numbers and which are text.

    Args:
        rows: Without identifiers.
        reading: The user's settings for signs.
        given: Kinds that the user sets, by column.
        max_categories: Most distinct texts that may be categories.

    Raises:
        UsageError: a column may be text or numbers, or its numbers would be changed.
    """
    texts = {name: column for name, column in rows.columns.items() if isinstance(column, TextColumn)}
    may_be_numbers = {
        name: column
        for name, column in texts.items()
        if given.get(name) in NUMBER_KINDS or (name not in given and not column.is_text)
    }
    signs, notes = find_signs(may_be_numbers, reading=reading)
    numbers: dict[str, pd.Series[object]] = {}
    for name, column in rows.columns.items():
        if not isinstance(column, TextColumn):
            check_whole(column, name=name, kind=given.get(name))
            numbers[name] = column
        elif name not in may_be_numbers or not column.distinct:
            notes += look_alikes(column)
        elif unread := [text for text in column.distinct if not signs.read(text)]:
            check_text(column, unread, kind=given.get(name), max_categories=max_categories)
            notes += [*look_alikes(column), *nearly_numbers(column, unread)]
        else:
            values = signs.numbers(column.distinct)
            notes += changes(column, values, signs=signs, kind=given.get(name))
            numbers[name] = column.with_values(values)
    return Understood(tuple(rows.columns), numbers, texts, tuple(notes))


def find_signs(columns: Mapping[str, TextColumn], *, reading: Reading) -> tuple[Signs, list[str]]:
    """How the file writes numbers, and a note if it uses a decimal comma that no setting announces.

    A file with a comma in one column and a point in another is refused.
    """
    point = Signs(reading.decimal or ".", reading.thousands)
    if reading.decimal is not None or reading.thousands == ",":
        return point, []
    comma, grouped = Signs(",", reading.thousands), Signs(".", ",")
    others = [column for column in columns.values() if not column.is_read(point)]
    by_comma = [column for column in others if column.is_read(comma) and not column.is_read(grouped)]
    if not by_comma:
        return point, []
    by_point = [column for column in columns.values() if column.is_read(point) and not column.is_read(comma)]
    example = first_unlike(by_comma[0], point)
    if by_point:
        raise UsageError(
            f"column {shown(by_comma[0].name)} holds {example} and column {shown(by_point[0].name)} holds "
            f"{first_unlike(by_point[0], comma)}: set data.decimal to the sign of both, and data.thousands if the "
            f"other one groups digits; or {type_override(by_comma[0].name, 'category')} if it is no number"
        )
    number = comma.numbers([example])[0]
    return comma, [f"the decimal sign is a comma: {example} in {shown(by_comma[0].name)} is read as {number!s}"]


def first_unlike(column: TextColumn, signs: Signs) -> str:
    """The first text that is not a number in these signs."""
    return printable(next(text for text in column.distinct if not signs.read(text)))


def check_text(column: TextColumn, unread: Sequence[str], *, kind: str | None, max_categories: int) -> None:
    """Refuse a text column that should be numbers, or that may be numbers with other signs."""
    name, first = shown(column.name), printable(unread[0])
    if possible := {signs.numbers([unread[0]])[0]: signs for signs in reversed(possible_signs(column.distinct))}:
        ways = " or ".join(f"{settings_of(signs)} to read it as {number!s}" for number, signs in possible.items())
        raise UsageError(
            f"column {name} holds {first}, which may be a number: set {ways}, or "
            f"{type_override(column.name, 'category')} to keep it as it stands"
        )
    if kind in NUMBER_KINDS:
        raise UsageError(
            f"column {name} must hold finite numbers to be {kind}: got {first}; add it to data.missing if it "
            "stands for nothing, or set data.types otherwise"
        )
    if len(column.distinct) > max_categories and (notes := nearly_numbers(column, unread)):
        raise UsageError(f"column {notes[0]}, or set {identifier_override(column.name)} to leave it out")


def settings_of(signs: Signs) -> str:
    """The settings for these signs, as a user types them."""
    thousands = f" data.thousands={sign_name(signs.thousands)}" if signs.thousands else ""
    return f"data.decimal={sign_name(signs.decimal)}{thousands}"


def nearly_numbers(column: TextColumn, unread: Sequence[str]) -> list[str]:
    """A note if at least half of a column's values are numbers and the rest are not."""
    num_unread = int(column.counts[[column.distinct.index(text) for text in unread]].sum())
    if 2 * num_unread > column.counts.sum():
        return []
    words = some([printable(text) for text in unread], most=3)
    return [
        f"{shown(column.name)} is text: {words} ({counted(num_unread, 'row')}) is no number; if it stands for nothing, "
        "add it to data.missing"
    ]


def look_alikes(column: TextColumn) -> list[str]:
    """A note if two categories differ only in case or in surrounding blanks."""
    seen: dict[str, str] = {}
    for text in column.distinct:
        other = seen.setdefault(text.strip().casefold(), text)
        if other != text:
            return [f"{shown(column.name)} has {other!r} and {text!r} as two categories"]
    return []


def changes(column: TextColumn, values: np.ndarray, *, signs: Signs, kind: str | None) -> list[str]:
    """Notes on numbers that float64 rounds, and on codes that are read as numbers.

    Infinite numbers are refused, and so are whole numbers that would lose digits, unless their kind is given.
    """
    name = shown(column.name)
    if not np.isfinite(values).all():
        text = printable(column.distinct[int(np.argmin(np.isfinite(values)))])
        raise UsageError(
            f"column {name} must hold finite numbers, below 1.8e308: got {text}; add it to data.missing if it "
            f"stands for nothing, or set {identifier_override(column.name)}"
        )
    lost = signs.not_held(column.distinct)
    is_beyond = bool((np.abs(signs.numbers(lost)) > LARGEST_COUNT).any())
    if is_beyond and kind is None and (values == np.rint(values)).all():
        raise UsageError(beyond_counts(column.name, lost[0].strip()))
    notes = [f"{name}: {lost[0].strip()} and {len(lost) - 1} other numbers are rounded to float64"] if lost else []
    if padded := [text.strip() for text in column.distinct if is_padded(text)]:
        number = f"{signs.numbers(padded[:1])[0]:.15g}"
        notes.append(f"{name}: {padded[0]} is read as {number}; set {type_override(column.name, 'category')} for codes")
    return notes


def check_whole(values: "pd.Series[object]", *, name: str, kind: str | None) -> None:
    """Refuse whole numbers that float64 may round, unless the user sets the column's kind."""
    if kind is None and is_integer_dtype(values):
        beyond = [value for value in values.dropna().unique().tolist() if abs(value) > LARGEST_COUNT]
        if beyond:
            raise UsageError(beyond_counts(name, str(beyond[0])))


def beyond_counts(name: str, example: str) -> str:
    """The error text for a column of whole numbers that float64 rounds, with what to set."""
    return (
        f"column {shown(name)} holds whole numbers that float64 rounds, such as {example}, beyond 2**53: set "
        f"{identifier_override(name)} to leave it out, or {type_override(name, 'category')}"
    )
