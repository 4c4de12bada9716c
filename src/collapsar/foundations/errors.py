"""The errors that stop a chain: user mistakes, non-finite numbers, full disk or memory; and checks that raise them."""

import errno
import math
import os
import sys
from collections.abc import Callable
from numbers import Real

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


class UsageError(ValueError):
    """A user's mistake: the text says what is wrong, the value, and what is allowed."""


class NonFiniteError(ArithmeticError):
    """A loss or a sample is NaN or infinite; the text says where."""


class DeviceMemoryError(RuntimeError):
    """A device's memory is full; the text says what to lower."""


def exit_code_of(command: Callable[[], int | None], *, name: str, advice: str = "") -> int:
    """Run a command: its own code, or one line on stderr and 2 for a mistake, 1 for a breakdown, 130 for Ctrl-C."""
    try:
        return command() or 0
    except (UsageError, NonFiniteError, DeviceMemoryError, OSError) as error:
        sys.stderr.write(f"{name}: {printable(str(error))}\n")
        return 1 if isinstance(error, NonFiniteError | DeviceMemoryError) else 2
    except KeyboardInterrupt:
        sys.stderr.write(f"{name}: interrupted{advice}\n")
        return 130


def check_positive(**values: int | float) -> None:
    """Refuse the first value that is not above 0 and finite, by its name."""
    for name, value in values.items():
        check_finite(name, value)
        if value <= 0:
            raise UsageError(f"{name} must be above 0: got {value}")


def check_not_negative(**values: int | float) -> None:
    """Refuse the first value that is negative, infinite or NaN, by its name."""
    for name, value in values.items():
        check_finite(name, value)
        if value < 0:
            raise UsageError(f"{name} must be at least 0: got {value}")


def check_fraction(**values: int | float) -> None:
    """Refuse the first value that is outside [0, 1] or NaN, by its name."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise UsageError(f"{name} must lie between 0 and 1: got {value}")


def check_finite(name: str, value: int | float) -> None:
    """Raise UsageError if a value is infinite or NaN."""
    if not isinstance(value, Real) or not math.isfinite(value):
        raise UsageError(f"{name} must be a finite number: got {value}")


def check_memory(what: str, num_bytes: int, *, advice: str) -> None:
    """Refuse what would not fit into the machine's memory."""
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if num_bytes > present:
        takes = f"would take {num_bytes / 1e9:.3g} GB, and this machine has {present / 1e9:.3g} GB"
        raise UsageError(f"{what} {takes}: {advice}")


def is_of_disk(error: OSError) -> bool:
    """Whether the disk is full or broken, which no setting can fix."""
    return error.errno in (*FULL_DISK, errno.EIO)


def printable(text: str) -> str:
    """A text on one line, in which terminal control characters (such as escape codes) are spelled out."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in " ".join(text.split()))
