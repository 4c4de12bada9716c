"""Numbers as text: their decimal and thousands signs, and digits that float64 does not preserve."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import product

import numpy as np

DECIMAL_SIGNS = (".", ",")
THOUSANDS_SIGNS = (",", ".", "'", " ", "\u00a0", "\u202f", "\u2009", "\u2019")
PADDED = re.compile(r"\s*[+-]?0[0-9]")
ALWAYS_HELD = 15  # decimal digits that float64 always preserves


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
        return re.compile(rf"[+-]?(?:{number}|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?)")

    def read(self, text: str) -> bool:
        """Whether a text is a number in these signs; surrounding blanks do not count."""
        return self._pattern.fullmatch(text.strip()) is not None

    def unread(self, texts: Iterable[str]) -> list[str]:
        """The texts that are no numbers in these signs."""
        return [text for text in texts if not self.read(text)]

    def plain(self, text: str) -> str:
        """A number's text with a decimal point and no thousands sign, as Python reads it."""
        text = text.strip() if self.thousands is None else text.strip().replace(self.thousands, "")
        return text.replace(self.decimal, ".")

    def numbers(self, texts: Iterable[str]) -> np.ndarray:
        """The float64 nearest to each text."""
        return np.array([float(self.plain(text)) for text in texts], dtype=np.float64)


def is_held(text: str) -> bool:
    """Whether float64 preserves the number that a plain text writes."""
    if len(text) <= ALWAYS_HELD and "e" not in text.lower():
        return True
    number = float(text)
    if number == 0.0:
        return not re.split("[eE]", text)[0].strip("+-0.")
    return repr(number) == text or (math.isfinite(number) and Decimal(repr(number)) == Decimal(text))


def possible_signs(texts: Sequence[str]) -> list[Signs]:
    """All signs in which these texts are numbers, with and without a thousands sign."""
    signs = [Signs(decimal, thousands) for thousands, decimal in product((None, *THOUSANDS_SIGNS), DECIMAL_SIGNS)]
    return [one for one in signs if one.thousands != one.decimal and all(map(one.read, texts))]


def is_padded(text: str) -> bool:
    """Whether a number begins with an extra zero, as codes do: 007."""
    return PADDED.match(text) is not None
