"""Names of columns in settings: Hydra reads `data.target=3` and `data.identifiers=[2020_01]` as numbers."""

import re
import shlex
from collections.abc import Iterable, Sequence

from collapsar.errors import UsageError, printable

Typed = str | int | float | bool
"""A column's name after Hydra has read it from a setting without quotes."""

WHOLE = re.compile(r"[+-]?(?:0|[1-9](?:_?[0-9])*)")
SAFE = re.compile(r"[A-Za-z_][A-Za-z0-9_./%+-]*(?: [A-Za-z0-9_./%+-]+)*")
READ_OTHERWISE = ("true", "false", "null", "nan", "inf")


def shown(name: object) -> str:
    """A column's name on one line."""
    return printable(str(name))


def some(words: Iterable[object], *, most: int = 6, between: str = ", ") -> str:
    """The first few words on one line, and how many more there are."""
    texts = [shown(word) for word in words]
    rest = [f"{len(texts) - most} more"] if len(texts) > most else []
    return between.join([*texts[:most], *rest])


def column_error(name: object, problem: str) -> UsageError:
    """The error that refuses a column by its name."""
    return UsageError(f"column {shown(name)} {problem}")


def quoted(name: str) -> str:
    """A column's name as a setting takes it: in quotes if Hydra would refuse it or read it as something else."""
    if SAFE.fullmatch(name) and name.lower() not in READ_OTHERWISE:
        return name
    escaped = re.sub(r"(\\*)('|\Z)", lambda found: found[1] * 2 + found[2].replace("'", "\\'"), name)
    return f"'{escaped}'"


def override(key: str, value: str) -> str:
    """A setting as a user types it in a shell, in quotes if its value holds quotes or blanks."""
    text = f"{key}={value}"
    if "'" not in text and " " not in text:
        return text
    return shlex.quote(text) if "'" not in text or set('"$`\\!') & set(text) else f'"{text}"'


def identifier_override(name: str) -> str:
    """The setting that leaves a column out."""
    return override("data.identifiers", f"[{quoted(name)}]")


def type_override(name: str, kind: str) -> str:
    """The setting that gives a column its kind; a name that cannot be a key of Hydra stands in a list."""
    if quoted(name) == name:
        return f"data.types={{{shown(name)}: {kind}}}"
    return override("data.types", f"[{quoted(f'{name}: {kind}')}]")


def find_name(typed: Typed, columns: Sequence[str]) -> str | None:
    """The column that was meant; None if there is none, or more than one could be.

    A number matches the name that reads as it: 3 the column 3, 202001 the column 2020_01. Text matches the equal name,
    or else the only name that differs in surrounding blanks alone.
    """
    meant = [name for name in columns if name == typed] or [name for name in columns if reads_as(name, typed)]
    return meant[0] if len(meant) == 1 else None


def find_names(setting: str, typed: Iterable[Typed], columns: Iterable[str]) -> list[str]:
    """The columns that were meant; UsageError if a name fits no column."""
    columns, found = list(columns), []
    for one in typed:
        name = find_name(one, columns)
        if name is None:
            raise UsageError(
                f"{setting} must name columns of the table: got {shown(one)}; it has "
                f"{listed(columns)}{advice(setting, one)}"
            )
        found.append(name)
    return found


def advice(setting: str, typed: object) -> str:
    """How to type a name that was read as a number; empty for text."""
    if typed is None or isinstance(typed, str):
        return ""
    examples = {"data.identifiers": "['2020_01']", "data.types": "['2020_01: count']"}
    example = examples.get(setting, "'2020_01'")
    return f'; put a name that reads as a number in quotes: "{setting}={example}"'


def listed(names: Iterable[str]) -> str:
    """Names as settings take them, on one line."""
    return ", ".join(printable(quoted(name)) for name in names)


def reads_as(name: str, value: Typed) -> bool:
    """Whether Hydra reads this name, without quotes, as this value; whether a text is this name within blanks."""
    if isinstance(value, str):
        return name.strip() == value.strip()
    if isinstance(value, bool):
        return name.lower() == str(value).lower()
    if isinstance(value, int):
        return WHOLE.fullmatch(name) is not None and int(name) == value
    try:
        return WHOLE.fullmatch(name) is None and float(name) == value
    except ValueError:
        return False
