"""The ways a chain stops: what a user gave is wrong, the numbers broke down, or disk or memory take no more."""

import errno
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
BROKEN_DISK = (errno.EIO,)


class UsageError(ValueError):
    """What the user gave cannot be used: the text says what is wrong, the value, and what is allowed."""


class NonFiniteError(ArithmeticError):
    """A loss or a sample is NaN or infinite: the text says where."""


class DeviceMemoryError(RuntimeError):
    """A device's memory is full: the text says what to lower."""


def check_positive(**values: int | float) -> None:
    """Refuse the first value that is not above 0 and finite, by its name.

    Raises:
        UsageError: a value is 0, negative, infinite or NaN.
    """
    for name, value in values.items():
        check_finite(name, value)
        if value <= 0:
            raise UsageError(f"{name} must be above 0: got {value}")


def check_not_negative(**values: int | float) -> None:
    """Refuse the first value that is below 0 or not finite, by its name.

    Raises:
        UsageError: a value is negative, infinite or NaN.
    """
    for name, value in values.items():
        check_finite(name, value)
        if value < 0:
            raise UsageError(f"{name} must be at least 0: got {value}")


def check_fraction(**values: int | float) -> None:
    """Refuse the first value outside [0, 1], by its name.

    Raises:
        UsageError: a value is below 0, above 1, or NaN.
    """
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise UsageError(f"{name} must lie between 0 and 1: got {value}")


def check_finite(name: str, value: int | float) -> None:
    """Refuse a value that is infinite or NaN.

    Raises:
        UsageError: by its name.
    """
    if not math.isfinite(value):
        raise UsageError(f"{name} must be a finite number: got {value}")


def is_of_disk(error: OSError) -> bool:
    """Whether the disk is full or broken, which no setting mends."""
    return error.errno in (*FULL_DISK, *BROKEN_DISK)


def printable(text: str) -> str:
    """A text on one line, in which characters that a terminal would obey (escape codes, say) are spelled out."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in " ".join(text.split()))


@contextmanager
def disk_errors_name(path: Path) -> Iterator[None]:
    """Let an error that names no file name this one: `write` and `fsync` know only a number."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
