"""Numbers as text, and the kinds of columns, both judged over all values of a column.

A number is the nearest float64; a column of whole numbers that would lose digits is refused. The kind of a column is
guessed unless the user sets it.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from functools import cached_property
from numbers import Real
from typing import Any, cast, get_args

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_integer_dtype, is_numeric_dtype

from collapsar.cases.tables.names import column_error, shown, type_override
from collapsar.cases.tables.schema import LARGEST_COUNT, Kind
from collapsar.data.sources.pictures import listed
from collapsar.foundations.errors import UsageError, printable
from collapsar.foundations.words import counted

THOUSANDS_SIGNS = (",", ".", "'", " ", "\u00a0", "\u202f", "\u2009", "\u2019")
PADDED = re.compile(r"\s*[+-]?0[0-9]")  # a number that begins with an extra zero, as codes do: 007
EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])  # an exponent beyond these gives NaN
KINDS: tuple[Kind, ...] = get_args(Kind)
LARGEST = 1e60  # a larger number could overflow float64 in products of sums of squares
SIGN_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe", " ": "space", ".": "point", "'": "apostrophe"}


@dataclass(frozen=True)
class Signs:
    """How a file writes numbers."""

    decimal: str = "."  # between the whole part and the fraction
    thousands: str | None = None  # between groups of three digits; None: none

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        grouped = "" if self.thousands is None else f"[0-9]{{1,3}}(?:{re.escape(self.thousands)}[0-9]{{3}})+|"
        decimal = re.escape(self.decimal)
        number = rf"(?:(?:{grouped}[0-9]+)(?:{decimal}[0-9]*)?|{decimal}[0-9]+)(?:[eE][+-]?[0-9]+)?"
        return re.compile(rf"\s*[+-]?(?:{number}|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?)\s*")

    def read(self, text: str) -> bool:
        """Whether a text is a number in these signs; surrounding blanks do not count."""
        return self._pattern.fullmatch(text) is not None

    def unread(self, texts: Iterable[str]) -> list[str]:
        """The texts that are no numbers in these signs."""
        return [text for text in texts if not self.read(text)]

    def plain(self, text: str) -> str:
        """A number's text with a decimal point and no thousands sign, as Python reads it."""
        text = text.strip() if self.thousands is None else text.strip().replace(self.thousands, "")
        return text.replace(self.decimal, ".")


def is_held(text: str) -> bool:
    """Whether float64 preserves the number that a plain text writes."""
    return bool(EXACT.create_decimal(text) == Decimal(repr(float(text))))


def possible_signs(texts: Sequence[str]) -> list[Signs]:
    """All signs in which these texts are numbers, with and without a thousands sign."""
    signs = [Signs(decimal, thousands) for thousands in (None, *THOUSANDS_SIGNS) for decimal in ".,"]
    return [one for one in signs if one.thousands != one.decimal and not one.unread(texts)]


def sign(setting: str, value: str | None) -> str | None:
    """The character that a setting gives as itself or by its name, such as comma."""
    if value is None:
        return None
    one = {name: one for one, name in SIGN_NAMES.items()}.get(value, "\t" if value == "\\t" else value)
    if len(one) != 1 or one in '"\r\n' or one.isalnum():
        names = ", ".join(SIGN_NAMES.values())
        raise UsageError(f"{setting} must be one character, or one of {names}: got {printable(repr(value))}")
    return one


def sign_name(one: str) -> str:
    """A sign as users type and read it: `comma` for a comma."""
    return SIGN_NAMES.get(one, one)


def find_numbers(
    frame: pd.DataFrame,
    decimal: str | None,
    thousands: str | None,
    *,
    given: Mapping[str, str],
    texts: Collection[str] = (),
    max_categories: int,
) -> tuple[pd.DataFrame, list[str]]:
    """The columns of a file, as numbers where they can be, and notes for the user.

    `given` are the kinds that the user sets, by column; `texts` are text even if they write numbers. A text column of
    more than `max_categories` different values is refused if most of them are numbers.
    """
    written = {name: column.cat.categories.tolist() for name, column in frame.select_dtypes("category").items()}
    may_be_numbers = {
        name: distinct
        for name, distinct in written.items()
        if given.get(name) in ("continuous", "count") or (name not in given and name not in texts)
    }
    signs, notes = find_signs(may_be_numbers, decimal=decimal, thousands=thousands)
    columns = dict(frame.items())
    for name, values in frame.items():
        kind, distinct = given.get(name), written.get(name)
        if distinct is None:
            is_whole = kind is None and is_integer_dtype(values)
            if is_whole and len(beyond := values[~values.between(-LARGEST_COUNT, LARGEST_COUNT)]):
                raise _beyond_counts(name, str(beyond.iloc[0]))
        elif not may_be_numbers.get(name):
            notes += look_alikes(name, distinct)
        elif unread := signs.unread(distinct):
            check_signs(name, distinct, unread[0], kind=kind)
            note = nearly_numbers(values, unread)
            if note and len(distinct) > max_categories:
                raise column_error(name, note)
            notes += [*look_alikes(name, distinct), *([f"{shown(name)} {note}"] if note else [])]
        else:
            columns[name], found = read_numbers(values, signs=signs, kind=kind)
            notes += found
    return pd.DataFrame(columns), notes


def find_signs(
    columns: Mapping[str, Sequence[str]], *, decimal: str | None, thousands: str | None
) -> tuple[Signs, list[str]]:
    """How the file writes numbers, and a note if it uses a decimal comma that no setting announces."""
    point = Signs(decimal or ".", thousands)
    if thousands == point.decimal:
        raise UsageError(f"data.thousands and data.decimal must differ: got {sign_name(thousands)} for both; set both")
    if decimal is not None or thousands == ",":
        return point, []
    comma, grouped = Signs(",", thousands), Signs(".", ",")
    for name, distinct in columns.items():
        if (unread := point.unread(distinct)) and not comma.unread(distinct) and grouped.unread(distinct):
            number = float(comma.plain(unread[0]))
            note = f"the decimal sign is a comma: {printable(unread[0])} in {shown(name)} is read as {number}"
            return comma, [note]
    return point, []


def check_signs(name: str, distinct: Sequence[str], unread: str, *, kind: str | None) -> None:
    """Refuse a text column that should be numbers, or that may be numbers with other signs."""
    possible = {}
    for signs in reversed(possible_signs(distinct)):
        thousands = f" data.thousands={sign_name(signs.thousands)}" if signs.thousands else ""
        possible[float(signs.plain(unread))] = f"data.decimal={sign_name(signs.decimal)}{thousands}"
    if possible:
        ways = [f"{settings} to read it as {number}" for number, settings in possible.items()]
        keep = f"{type_override(name, 'category')} to keep it as it stands"
        raise column_error(name, f"holds {printable(unread)}, which may be a number", *ways, keep)
    if kind is not None:
        what = f"must hold finite numbers to be {kind}: got {printable(unread)}"
        raise column_error(name, what, "add it to data.missing if it stands for nothing", "set data.types otherwise")


def nearly_numbers(values: pd.Series, unread: Collection[str]) -> str:
    """A note if at least half of a column's values are numbers and the rest, `unread`, are not; else empty."""
    num_unread = int(values.isin(unread).sum())
    if 2 * num_unread > values.count():
        return ""
    words = f"{listed(unread, most=3)} ({counted(num_unread, 'row')})"
    return f"is text: {words} is no number; if it stands for nothing, add it to data.missing"


def look_alikes(name: str, distinct: Sequence[str]) -> list[str]:
    """A note if two categories differ only in case or in surrounding blanks."""
    seen: dict[str, str] = {}
    for text in distinct:
        if (other := seen.setdefault(text.strip().casefold(), text)) != text:
            return [f"{shown(name)} has {other!r} and {text!r} as two categories"]
    return []


def read_numbers(values: pd.Series, *, signs: Signs, kind: str | None) -> tuple[pd.Series, list[str]]:
    """A column of texts as numbers, with notes; whole ones that would lose digits are refused if no kind is given."""
    name, distinct = values.name, values.cat.categories.tolist()
    plain = [signs.plain(text) for text in distinct]
    numbers, notes = np.array([float(text) for text in plain]), []
    if lost := [place for place, text in enumerate(plain) if not is_held(text)]:
        example, are_whole = distinct[lost[0]].strip(), (numbers == np.rint(numbers)).all()
        if kind is None and are_whole and (np.abs(numbers[lost]) > LARGEST_COUNT).any():
            raise _beyond_counts(name, example)
        notes.append(f"{shown(name)}: {example} and {len(lost) - 1} other numbers are rounded to float64")
    if padded := [place for place, text in enumerate(distinct) if PADDED.match(text)]:
        code, number = distinct[padded[0]].strip(), numbers[padded[0]]
        notes.append(f"{shown(name)}: {code} is read as {number:.15g}; set {type_override(name, 'category')} for codes")
    return pd.Series(np.append(numbers, np.nan)[values.cat.codes]), notes


def _beyond_counts(name: str, example: str) -> UsageError:
    what = f"holds whole numbers that float64 rounds, such as {example}, beyond 2**53"
    return column_error(name, what, type_override(name, "category"))


def find_kinds(frame: pd.DataFrame, *, given: Mapping[str, str]) -> dict[str, Kind]:
    """The kind of every column, in their order.

    A guess is `category` for text, for true and false, and for numbers of at most two values; `count` for whole numbers
    from 0 up; else `continuous`. A column that does not fit its kind, or holds dates, bytes or lists, is refused.
    """
    kinds: dict[str, Kind] = {}
    for name, column in frame.items():
        values = column.dropna()
        if not len(values):
            raise column_error(name, "has no value in any row")
        if unfit := [one for one in set(map(type, values)) if not issubclass(one, str | bool | np.bool_ | Real)]:
            example = shown(next(value for value in values if isinstance(value, unfit[0])))[:60]
            what = f"holds {example}, which is neither a number nor text"
            raise column_error(name, what, "write numbers or text in the file")
        if given.get(name, KINDS[0]) not in KINDS:
            raise UsageError(f"data.types.{shown(name)} must be one of {', '.join(KINDS)}: got {given[name]}")
        kinds[name] = cast(Kind, given[name]) if name in given else guess(values)
        if kinds[name] != "category":
            check_numbers(name, values, kind=kinds[name])
    return kinds


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
        bad = shown(values[~np.isfinite(numbers)].iloc[0])
        raise column_error(name, f"must hold finite numbers to be {kind}: got {bad}", "set data.types otherwise")
    if np.abs(numbers).max() > LARGEST:
        what = f"holds {values.iloc[np.abs(numbers).argmax()]}, and numbers may be at most {LARGEST:g} in size"
        raise column_error(name, what, "write it in other units")
    if kind == "count" and not are_counts(numbers):
        what = "must hold whole numbers from 0 up to 2**53 to be a count"
        raise column_error(name, what, f"set {type_override(name, 'continuous')}")


def typed(frame: pd.DataFrame, kinds: Mapping[str, Kind]) -> pd.DataFrame:
    """The columns of these kinds, categories as strings and counts as integers: the types that a table decodes to."""
    return pd.DataFrame({name: as_kind(frame[name].reset_index(drop=True), kind) for name, kind in kinds.items()})


def as_kind(values: "pd.Series[object]", kind: Kind) -> "pd.Series[object]":
    """A column converted to its kind."""
    if kind == "category":
        name: Any = category_name
        if isinstance(values.dtype, np.dtype) and values.dtype.kind in "biuf":  # few different numbers in many rows
            name = {number: category_name(number) for number in values.dropna().unique().tolist()}
        return values.map(name, na_action="ignore").astype(object).where(values.notna(), None)
    if kind == "continuous":
        return pd.to_numeric(values).astype(np.float64)
    whole = pd.to_numeric(values).astype("Float64").round().astype("Int64")
    return whole if whole.isna().any() else whole.astype(np.int64)


def category_name(value: object) -> str:
    """A category as a string; whole floats without a point, as 0 and 1 are floats if a value is missing."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
