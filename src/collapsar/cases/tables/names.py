"""Names of columns in settings: Hydra reads `data.target=3` and `data.identifiers=[2020_01]` as numbers."""

import re
import shlex
from collections.abc import Iterable

from collapsar.foundations.errors import UsageError, printable

Typed = str | int | float | bool  # a column's name after Hydra has read it from a setting without quotes
WHOLE = re.compile(r"[+-]?(?:0|[1-9](?:_?[0-9])*)")
SAFE = re.compile(r"[A-Za-z_][A-Za-z0-9_./%+-]*(?: [A-Za-z0-9_./%+-]+)*")
READ_OTHERWISE = ("true", "false", "null", "nan", "inf")


def shown(name: object) -> str:
    """A column's name on one line."""
    return printable(str(name))


def column_error(name: object, problem: str, *ways: str) -> UsageError:
    """The error that refuses a column: leave it out, or take one of these ways."""
    leave_out = f"set {override('data.identifiers', f'[{quoted(str(name))}]')} to leave it out"
    return UsageError(f"column {shown(name)} {problem}; {', or '.join([leave_out, *ways])}")


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


def type_override(name: str, kind: str) -> str:
    """The setting that gives a column its kind; a name that cannot be a key of Hydra stands in a list."""
    if quoted(name) == name:
        return f"data.types={{{shown(name)}: {kind}}}"
    return override("data.types", f"[{quoted(f'{name}: {kind}')}]")


def find_name(setting: str, typed: Typed | None, columns: Iterable[str]) -> str:
    """The column that a setting means; UsageError if there is none, or more than one could be.

    A number matches the name that reads as it: 3 the column 3, 202001 the column 2020_01. Text matches the equal name,
    or else the only name that differs in surrounding blanks alone.
    """
    allowed, advice = list(columns), ""
    meant = [name for name in allowed if name == typed] or [name for name in allowed if reads_as(name, typed)]
    if len(meant) == 1:
        return meant[0]
    if isinstance(typed, int | float):
        example = {"data.identifiers": "['2020_01']", "data.types": "['2020_01: count']"}.get(setting, "'2020_01'")
        advice = f'; put a name that reads as a number in quotes: "{setting}={example}"'
    if len(allowed) == 1:
        advice += "; set data.separator if the file should have more columns"
    names = ", ".join(printable(quoted(name)) for name in allowed)
    raise UsageError(f"{setting} must be one of {names}: got {'nothing' if typed is None else shown(typed)}{advice}")


def reads_as(name: str, value: Typed | None) -> bool:
    """Whether Hydra reads this name, without quotes, as this value; whether a text is this name within blanks."""
    if isinstance(value, str):
        return name.strip() == value.strip()
    if isinstance(value, bool):
        return name.strip().lower() == str(value).lower()
    try:
        number = int(name) if WHOLE.fullmatch(name.strip()) else float(name)
    except ValueError:
        return False
    return type(number) is type(value) and number == value
