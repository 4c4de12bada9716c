"""CSV files as text, cell by cell; nothing is shifted, filled up or left out without a note.

Every line must have as many fields as the header, or an error names the line. Four things are accepted and reported:
blank lines, blanks before quoted fields, a separator after the last field of every line, and empty columns without a
name.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from collapsar.cases.tables.numerals import Signs
from collapsar.errors import UsageError, printable

LONGEST_FIELD = 2**31 - 1  # characters, the most that the csv module can be told
SEPARATORS = (",", ";", "\t", "|")
SIGN_NAMES = {
    "comma": ",",
    "semicolon": ";",
    "tab": "\t",
    "\\t": "\t",
    "pipe": "|",
    "space": " ",
    "point": ".",
    "apostrophe": "'",
}
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class TextColumn:
    """A column's cells as text.

    Attributes:
        name: Name in the header.
        distinct: The different texts, in order of appearance.
        codes: Index into `distinct` for each row; -1 for a missing value.
        is_text: Whether the file itself declares the column as text, even if all texts are numbers.
    """

    name: str
    distinct: Sequence[str]
    codes: np.ndarray
    is_text: bool = False

    @classmethod
    def of(cls, name: str, cells: Sequence[str | None], *, is_text: bool = False) -> "TextColumn":
        """The column of these cells; None is a missing value."""
        codes, distinct = pd.factorize(np.array([*cells, None], dtype=object)[:-1])
        return cls(name, distinct.tolist(), codes, is_text)

    def take(self, chosen: np.ndarray) -> "TextColumn":
        """The rows at these positions."""
        used, codes = np.unique(self.codes[chosen], return_inverse=True)
        num_missing = int(used.min(initial=0) < 0)
        distinct = [self.distinct[code] for code in used[num_missing:].tolist()]
        return TextColumn(self.name, distinct, codes - num_missing, self.is_text)

    @property
    def texts(self) -> "pd.Series[object]":
        """The cells; None if missing."""
        return pd.Series(np.array([*self.distinct, None], dtype=object)[self.codes], dtype=object)

    def with_values(self, values: np.ndarray) -> "pd.Series[object]":
        """A number for each cell, NaN if missing, from one number for each distinct text."""
        return pd.Series(np.append(values, np.nan)[self.codes])

    @cached_property
    def counts(self) -> np.ndarray:
        """Number of rows with each distinct text."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.distinct))

    def is_read(self, signs: Signs) -> bool:
        """Whether all texts are numbers in these signs."""
        return all(map(signs.read, self.distinct))

    def without(self, is_missing: Sequence[bool]) -> "TextColumn":
        """The column with some of its distinct texts turned into missing values."""
        kept = np.flatnonzero(~np.array([*is_missing, True], dtype=bool))
        places = np.full(len(self.distinct) + 1, -1)
        places[kept] = np.arange(len(kept))
        distinct = [self.distinct[place] for place in kept.tolist()]
        return TextColumn(self.name, distinct, places[self.codes], self.is_text)


@dataclass(frozen=True)
class Cells:
    """A CSV file as text.

    Attributes:
        columns: In the file's order; no text counts as missing yet.
        num_rows: Rows without the header.
        separator: Sign between fields.
        encoding: Encoding of the file.
        left_out: Contents of the file that are in no column, in words.
    """

    columns: tuple[TextColumn, ...]
    num_rows: int
    separator: str
    encoding: str
    left_out: tuple[str, ...]


def sign(setting: str, value: str | None) -> str | None:
    """The character that a setting gives as itself or by its name, such as comma; UsageError for anything else."""
    if value is None:
        return None
    one = SIGN_NAMES.get(value, value)
    if len(one) != 1 or one in '"\r\n' or one.isalnum():
        names = ", ".join(name for name in SIGN_NAMES if name.isalpha())
        raise UsageError(f"{setting} must be one character, or one of {names}: got {printable(repr(value))}")
    return one


def sign_name(one: str) -> str:
    """A sign as users type and read it: `comma` for a comma."""
    return next((name for name, known in SIGN_NAMES.items() if known == one), one)


def read_cells(content: bytes, *, separator: str | None, encoding: str | None) -> Cells:
    """The cells of a CSV file.

    None as separator: it is detected. None as encoding: the byte order mark decides, else UTF-8.

    Raises:
        UsageError: with the number of the line, without the file's name.
    """
    text, encoding = decoded(content, encoding)
    separator = separator or find_separator(text)
    try:
        lines = list(parsed(text, separator))
    except csv.Error as error:
        raise UsageError(str(error)) from error
    records = [(line, fields) for line, fields in lines if not is_blank(fields)]
    if not records:
        raise UsageError("the file is empty")
    left_out = []
    if len(lines) > len(records):
        left_out.append(counted(len(lines) - len(records), "blank line"))
    if has_blanks_before_quotes(text, separator):
        left_out.append("blanks after separators, because quoted fields stand there")
    (_, header), rows = records[0], records[1:]
    if rows and all(len(fields) == len(header) + 1 and not fields[-1].strip() for _, fields in rows):
        left_out.append("what follows the last separator of each line, which is empty everywhere")
        rows = [(line, fields[:-1]) for line, fields in rows]
    check_widths(rows, width=len(header), separator=separator)
    cells = zip(*(fields for _, fields in rows), strict=True) if rows else [()] * len(header)
    columns = [TextColumn.of(name, column) for name, column in zip(names_of(header), cells, strict=True)]
    kept = [
        column for name, column in zip(header, columns, strict=True) if name.strip() or not is_blank(column.distinct)
    ]
    if len(kept) < len(columns):
        left_out.append(f"{counted(len(columns) - len(kept), 'column')} without a name and without a value")
    return Cells(tuple(kept), len(rows), separator, encoding, tuple(left_out))


def is_blank(fields: Sequence[str]) -> bool:
    """Whether a line, or the texts of a column, are blank: at most one field, which holds only blanks."""
    return len(fields) < 2 and not "".join(fields).strip()


def decoded(content: bytes, encoding: str | None) -> tuple[str, str]:
    """The text of a file, and the encoding that it was read in."""
    marked = next((name for mark, name in BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8")
    chosen = encoding or marked
    try:
        text = content.decode(chosen).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UsageError(
            f"line {line} holds a byte that is not {chosen} (0x{content[error.start]:02x}): set data.encoding, as in "
            "data.encoding=cp1252"
        ) from error
    except (LookupError, UnicodeError, ValueError) as error:
        raise UsageError(f"data.encoding must be an encoding that Python knows: got {printable(chosen)}") from error
    if "\0" in text:
        raise UsageError("the file holds NUL characters: it is no text, or data.encoding must be set, as in utf-16")
    return text, chosen


def parsed(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The fields of each record, none for a blank line, with the number of its last line.

    If any quoted field follows blanks, blanks after all separators are skipped; otherwise they belong to the field.
    """
    skips = has_blanks_before_quotes(text, separator)
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=skips)
    try:
        for fields in reader:
            yield reader.line_num, fields
    except csv.Error as error:
        raise csv.Error(
            f"line {reader.line_num}: {error}; a quote is opened and not closed, or text follows it"
        ) from error


def has_blanks_before_quotes(text: str, separator: str) -> bool:
    """Whether blanks precede any quoted field."""
    if separator == " " or not re.search(f'{re.escape(separator)} +"', text):
        return False
    try:
        fields = (
            field for fields in csv.reader(io.StringIO(text, newline=""), delimiter=separator) for field in fields
        )
        return any(field.startswith(" ") and field.lstrip(" ").startswith('"') for field in fields)
    except csv.Error:
        return False


def find_separator(text: str) -> str:
    """The one sign that gives all lines as many fields as the header; a comma if there is only one column."""
    widths = {one: header_width(text, one) for one in SEPARATORS}
    splitting = [one for one in SEPARATORS if widths[one] > 1]
    fitting = [one for one in splitting if fits(text, one)] if len(splitting) > 1 else splitting
    if len(fitting) > 1:
        found = " or ".join(f"{sign_name(one)} ({widths[one]} columns)" for one in fitting)
        raise UsageError(f"the file may be separated by {found}: set data.separator")
    return (fitting or splitting or [","])[0]


def header_width(text: str, separator: str) -> int:
    """Number of fields in the first line that is not blank."""
    try:
        return next((len(fields) for _, fields in parsed(text, separator) if not is_blank(fields)), 0)
    except csv.Error:
        return 0


def fits(text: str, separator: str) -> bool:
    """Whether all lines have as many fields as the header, or all of them one more, which is empty."""
    try:
        (header, *rows) = (fields for _, fields in parsed(text, separator) if not is_blank(fields))
    except csv.Error:
        return False
    widths = {len(fields) for fields in rows}
    ends_empty = widths == {len(header) + 1} and not any(fields[-1].strip() for fields in rows)
    return widths <= {len(header)} or ends_empty


def check_widths(rows: Sequence[tuple[int, list[str]]], *, width: int, separator: str) -> None:
    """Refuse lines with more or fewer fields than the header."""
    unlike = [(line, len(fields)) for line, fields in rows if len(fields) != width]
    if not unlike:
        return
    line, found = unlike[0]
    if len(unlike) == len(rows) and {num for _, num in unlike} == {width + 1}:
        what = "name the first column too if it numbers the rows"
    else:
        what = "a value that holds the separator needs quotes"
    raise UsageError(
        f"line {line} has {counted(found, 'field')}, separated by {sign_name(separator)}, and the header names "
        f"{counted(width, 'column')} ({counted(len(unlike), 'line')} of this kind): {what}; or set data.separator"
    )


def names_of(header: Sequence[str]) -> list[str]:
    """Column names without surrounding blanks; an empty one is named by its place, equal ones are refused."""
    names = [name.strip() or f"Unnamed: {place}" for place, name in enumerate(header)]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise UsageError(
                f"columns {names.index(name) + 1} and {place + 1} are both named {printable(name)}: rename one of them"
            )
    return names


def counted(number: int, what: str) -> str:
    """A number of things in words: 1 line, 2 lines."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def some(words: Sequence[str], *, most: int = 6, between: str = ", ") -> str:
    """The first few words, and how many more there are."""
    rest = [f"{len(words) - most} more"] if len(words) > most else []
    return between.join([*words[:most], *rest])
