"""Numbers, intervals and times in words, the same on the page and in the terminal."""

import math
from collections.abc import Mapping

from collapsar.foundations.words import counted
from collapsar.journal.definitions import Verdict
from collapsar.study.chains import Chain
from collapsar.study.intervals import Interval
from collapsar.study.survival import WaitingTime

MISSING = "–"


def number_text(value: float | None, *, num_digits: int = 3) -> str:
    """A number to three digits, or three decimals below 1; whole ones below 10,000 in full; a dash for None and NaN."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == int(value) and abs(value) < 10_000:
        return str(int(value)).replace("-", "−")
    if 0.001 <= abs(value) < 10_000:
        before_point = max(0, math.floor(math.log10(abs(value))))
        decimals = num_digits if abs(value) < 1 else max(0, num_digits - 1 - before_point)
        return f"{value:.{decimals}f}".replace("-", "−")
    return f"{value:.{num_digits}g}".replace("-", "−")


def short_text(value: float | None) -> str:
    """A number with two digits, for the narrow tables of the terminal."""
    return number_text(value, num_digits=2)


def interval_text(interval: Interval | None) -> str:
    """A mean with its 95 % interval, if there is one: 0.52 [0.48, 0.55]."""
    if interval is None:
        return MISSING
    return f"{number_text(interval.mean)} {bounds_text(interval)}".rstrip()


def bounds_text(interval: Interval) -> str:
    """The bounds of an interval, [0.48, 0.55]; empty for one seed."""
    if interval.low is None or interval.high is None:
        return ""
    return f"[{number_text(interval.low)}, {number_text(interval.high)}]"


def waiting_text(waiting: WaitingTime | None) -> str:
    """A median waiting time with the range over seeds: 1.4 (1.2 to >7), or "not in 7" if it did not happen."""
    if waiting is None:
        return MISSING
    never = f"not in {waiting.num_generations}"
    median, *ends = (
        time_text(time) if math.isfinite(time) else never for time in (waiting.median, waiting.low, waiting.high)
    )
    return median if waiting.low == waiting.high else f"{median} ({' to '.join(ends).replace('not in ', '>')})"


def time_text(value: int | float | None) -> str:
    """A time in generations, to a tenth: more digits mean nothing, because generations are counted."""
    return MISSING if value is None else f"{value:.1f}".removesuffix(".0")


def time_of_chain(chain: Chain, event: str) -> str:
    """When an event of its profile happened to a chain, "not in 7" if it did not, and a dash if it was not measured."""
    time = getattr(chain.profile, event)
    if time is None and chain.measures(event):
        return f"not in {max(chain.last_generation, 0)}"
    return time_text(time)


def growth_text(growth: Interval | None) -> str:
    """A slope per generation, or another difference, with its sign: +17.3."""
    if growth is None:
        return MISSING
    return f"{'+' if growth.mean > 0 else ''}{number_text(growth.mean)}"


def p_text(p_value: float) -> str:
    """A corrected p value to two digits; below .0001 only this bound."""
    return "p < .0001" if p_value < 1e-4 else f"p = {p_value:.2g}"


def seeds_text(counts: Mapping[Verdict, int]) -> str:
    """How many seeds gave each answer: 1 seed; 3 of 3 seeds; or 1 yes, 2 undecided of 3 seeds."""
    total = sum(counts.values())
    if total == 1:
        return "1 seed"
    given = [f"{count} {answer}" for answer, count in counts.items() if count]
    return f"{total if len(given) == 1 else ', '.join(given)} of {counted(total, 'seed')}"
