"""Files of users as text, cell by cell; nothing is shifted, filled up or left out without a note.

Every line of a CSV file must have as many fields as the header, or an error names the line. Four things are accepted
and reported: blank lines, blanks before quoted fields, a separator after the last field of every line, and empty
columns without a name.
"""

import codecs
import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_float_dtype

from collapsar.cases.tables.names import shown
from collapsar.cases.tables.numerals import Signs, sign_name
from collapsar.data.sources.pictures import listed
from collapsar.foundations.errors import UsageError, printable
from collapsar.foundations.words import counted

SEPARATORS = (",", ";", "\t", "|")
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class FileRows:
    """The columns of a file, before their kinds are known."""

    frame: pd.DataFrame  # text, even of numbers, is categorical, in order of appearance; stored numbers are as they are
    form: str  # how the file was read
    missing: Mapping[str, Mapping[str, int]]  # for each word that counts as missing, its cells in each column
    left_out: tuple[str, ...] = ()  # contents of the file that are in no column, in words
    texts: Collection[str] = ()  # columns that the file declares as text, even if all texts are numbers

    def used(self, *, target: str, identifiers: Collection[str]) -> "FileRows":
        """The rows that have a value of the target, without the identifier columns."""
        frame = self.frame[self.frame[target].notna()].drop(columns=identifiers).reset_index(drop=True)
        for name in frame.select_dtypes("category"):
            frame[name] = frame[name].cat.remove_unused_categories()
        left_out = list(self.left_out)
        if num_without := len(self.frame) - len(frame):
            left_out.append(f"{counted(num_without, 'row')} without a value of the target {shown(target)}")
        if identifiers:
            left_out.append(f"identifiers {listed(identifiers, most=6)}")
        return replace(self, frame=frame, left_out=tuple(left_out))

    def lines(self) -> Iterator[str]:
        """Lines for the log: how the file was read, what counts as missing, what was left out."""
        yield self.form
        words = [
            f"{printable(word) or 'empty'} {sum(counts.values()):,} ({listed(counts, most=4)})"
            for word, counts in sorted(self.missing.items(), key=lambda item: -sum(item[1].values()))
        ]
        if words:
            yield f"taken for missing values: {listed(words, most=6)}; data.missing lists the words"
        if self.left_out:
            yield f"left out: {'; '.join(self.left_out)}"


def read_file(path: str | None, **csv_settings: Any) -> FileRows:
    """All rows of a CSV or Parquet file; it must have some."""
    if path is None:
        raise UsageError("data=table needs a file: set data.path=FILE.csv or FILE.parquet, and data.target=COLUMN")
    file, shown_path = Path(path).expanduser(), printable(path)
    suffix = file.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise UsageError(f"data.path must end in .csv or .parquet: got {shown_path}")
    try:
        if suffix == ".csv":
            rows = read_csv(file, **csv_settings)
        else:
            rows = from_frame(pd.read_parquet(file, dtype_backend="numpy_nullable"))
    except FileNotFoundError as error:
        raise UsageError(f"data.path must be a file: there is no {shown_path}") from error
    except ImportError as error:
        problem = f"data.path={shown_path} needs pyarrow"
        raise UsageError(f"{problem}: run pip install 'collapsar[parquet]', or set data.path to a CSV") from error
    except (OSError, ValueError) as error:
        reason = printable(str(error).partition("\n")[0])
        raise UsageError(f"data.path={shown_path} cannot be read as {suffix[1:]}: {reason}") from error
    if rows.frame.empty:
        raise UsageError(f"data.path={shown_path} has no rows: set data.path to a file that has some")
    return rows


def read_csv(
    path: Path, *, separator: str | None, encoding: str | None, missing: Sequence[str | int | float]
) -> FileRows:
    """The columns of a CSV file, all of them text; a number among the words for `missing` values is all equal ones."""
    text, encoding = decoded(path.read_bytes(), encoding)
    separator = separator or find_separator(text)
    header, rows, left_out = read_lines(text, separator)
    words = {"", *(word.strip() for word in missing if isinstance(word, str))}
    numbers = {float(word) for word in missing if not isinstance(word, str)}
    columns, counts = {}, defaultdict[str, Counter[str]](Counter)
    names = distinct([title.strip() or f"Unnamed: {place}" for place, title in enumerate(header)])
    for title, name, values in zip(header, names, zip(*rows, strict=True) if rows else [()] * len(header), strict=True):
        column = text_column(values)
        texts = column.cat.categories.tolist()
        if not title.strip() and is_blank(texts):
            continue
        gaps = [
            one for one in texts if one.strip() in words or (numbers and Signs().read(one) and float(one) in numbers)
        ]
        for one, count in column.value_counts()[gaps].items() if gaps else ():
            counts[one.strip()][name] += int(count)
        columns[name] = column.cat.remove_categories(gaps)
    if len(columns) < len(header):
        left_out.append(f"{counted(len(header) - len(columns), 'column')} without a name and without a value")
    sign = sign_name(separator)
    shown_sign = f"{separator} ({sign})" if separator.isprintable() and separator not in (" ", sign) else sign
    form = f"{_size_of(rows, columns)}, separated by {shown_sign}, encoding {encoding}"
    return FileRows(pd.DataFrame(columns), form, counts, tuple(left_out))


def decoded(content: bytes, encoding: str | None) -> tuple[str, str]:
    """The text of a file, and the encoding it was read in; None: UTF-16 if its byte order mark says so, else UTF-8."""
    chosen = encoding or ("utf-16" if content.startswith(UTF_16) else "utf-8")
    try:
        text = content.decode(chosen).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        problem = f"line {line} holds a byte that is not {chosen} (0x{content[error.start]:02x})"
        raise UsageError(f"{problem}: set data.encoding, as in data.encoding=cp1252") from error
    except (LookupError, ValueError) as error:
        raise UsageError(f"data.encoding must be an encoding that Python knows: got {printable(chosen)}") from error
    if "\0" in text:
        raise UsageError("the file holds NUL characters: it is no text, or data.encoding must be set, as in utf-16")
    return text, chosen


def find_separator(text: str) -> str:
    """The one sign that gives all lines as many fields as the header; a comma if there is only one column."""
    headers = {one: csv.reader(io.StringIO(text, newline=""), delimiter=one) for one in SEPARATORS}
    widths = {one: next((len(fields) for fields in rows if not is_blank(fields)), 0) for one, rows in headers.items()}
    splitting = [one for one in SEPARATORS if widths[one] > 1]
    fitting = []
    for one in splitting if len(splitting) > 1 else ():
        with suppress(UsageError):
            read_lines(text, one)
            fitting.append(one)
    if len(fitting) > 1:
        found = " or ".join(f"{sign_name(one)} ({widths[one]} columns)" for one in fitting)
        raise UsageError(f"the file may be separated by {found}: set data.separator")
    return (fitting or splitting or [","])[0]


def read_lines(text: str, separator: str) -> tuple[list[str], list[list[str]], list[str]]:
    """The header, the fields of each other line, and what is left out, in words; lines of other widths are refused."""
    csv.field_size_limit(2**31 - 1)  # characters, the most that the csv module takes
    # If any quoted field follows blanks, blanks after all separators are skipped; otherwise they belong to the field.
    skips = separator != " " and re.search(f'{re.escape(separator)} +"', text) is not None
    if skips:  # unless this stands within a quoted field
        fields_as_they_are = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        skips = any(re.match(' +"', field) for fields in fields_as_they_are for field in fields)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=skips)
    try:
        lines = [(reader.line_num, fields) for fields in reader]
    except csv.Error as error:
        problem = f"line {reader.line_num}"
        raise UsageError(f"{problem}: {error}; a quote is opened and not closed, or text follows it") from error
    records = [(line, fields) for line, fields in lines if not is_blank(fields)]
    if not records:
        raise UsageError("the file is empty")
    left_out = []
    if num_blank := len(lines) - len(records):
        left_out.append(counted(num_blank, "blank line"))
    if skips:
        left_out.append("blanks after separators, because quoted fields stand there")
    (_, header), *rows = records
    if rows and all(len(fields) == len(header) + 1 and not fields[-1].strip() for _, fields in rows):
        left_out.append("what follows the last separator of each line, which is empty everywhere")
        rows = [(line, fields[:-1]) for line, fields in rows]
    _check_widths(rows, width=len(header), separator=separator)
    return header, [fields for _, fields in rows], left_out


def _check_widths(rows: Sequence[tuple[int, list[str]]], *, width: int, separator: str) -> None:
    if unlike := [(line, len(fields)) for line, fields in rows if len(fields) != width]:
        line, found = unlike[0]
        has_row_names = len(unlike) == len(rows) and {num for _, num in unlike} == {width + 1}
        quotes = "a value that holds the separator needs quotes"
        what = "name the first column too if it numbers the rows" if has_row_names else quotes
        names = f"the header names {counted(width, 'column')} ({counted(len(unlike), 'line')} of this kind)"
        problem = f"line {line} has {counted(found, 'field')}, separated by {sign_name(separator)}, and {names}"
        raise UsageError(f"{problem}: {what}; or set data.separator")


def is_blank(fields: Sequence[str]) -> bool:
    """Whether a line, or the texts of a column, are blank: at most one field, which holds only blanks."""
    return len(fields) < 2 and not "".join(fields).strip()


def distinct(names: list[str]) -> list[str]:
    """The names of columns, which must differ."""
    for place, name in enumerate(names):
        if (first := names.index(name)) < place:
            raise UsageError(f"columns {first + 1} and {place + 1} are both named {shown(name)}: rename one of them")
    return names


def text_column(cells: Iterable[object]) -> pd.Series:
    """A categorical column of these texts; what pandas takes for missing is missing."""
    codes, texts = pd.factorize(np.array([*cells], dtype=object))
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(texts, dtype=object)))


def from_frame(frame: pd.DataFrame) -> FileRows:
    """The columns of a Parquet file's frame and of its named index."""
    named = [name for name in frame.index.names if name is not None]
    left_out = () if named or isinstance(frame.index, pd.RangeIndex) else ("the index, which has no name",)
    frame = frame.reset_index(level=named) if named else frame.reset_index(drop=True)
    frame = frame.set_axis(names := distinct([str(name) for name in frame.columns]), axis=1)
    texts = {name for name in names if infer_dtype(frame[name], skipna=True) in ("string", "categorical")}
    read = pd.DataFrame({name: text_or_numbers(values) for name, values in frame.items()}, columns=pd.Index(names))
    missing = {name: int(number) for name, number in read.isna().sum().items() if number}
    return FileRows(read, f"{_size_of(read, names)}, Parquet", {"null": missing} if missing else {}, left_out, texts)


def text_or_numbers(values: pd.Series) -> pd.Series:
    """A column of a frame: strings, categoricals and decimals become text; other types stay as they are."""
    if is_float_dtype(values):
        return pd.Series(values.to_numpy(dtype=np.float64, na_value=np.nan))
    if infer_dtype(values, skipna=True) in ("string", "categorical", "decimal", "empty"):
        return text_column(values.astype(object).map(str, na_action="ignore"))
    return values


def _size_of(rows: Sequence[Any] | pd.DataFrame, columns: Collection[str]) -> str:
    return f"{counted(f'{len(rows):,}', 'row')} of {counted(len(columns), 'column')}"
