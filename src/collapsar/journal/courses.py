"""The course of a metric over a chain: half-lives, growth, trends, and the course of its later half.

Rates and tests are rank-based (Theil-Sen, Kendall), because the errors of neighbouring generations are not independent
and a chain has few generations. Half-lives are counted in generations from the first point.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import isfinite
from typing import Literal

import numpy as np
from scipy import stats

from collapsar.foundations.record import GenerationRecord

Course = Literal["rises", "levels off", "falls", "undecided"]
Direction = Literal["falls", "rises"]
Points = list[tuple[int, float]]

SIGNIFICANCE = 0.05
MIN_POINTS = 4  # fewer cannot reach p < .05 in a one-sided rank test
LEVEL_TOLERANCE = 0.1  # a course is level if it moves less than this share of its level over the window
HALF = 0.5


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Theil-Sen slope in units per generation with its 95 % interval."""

    slope: float
    low: float
    high: float
    num_points: int


def points(records: Sequence[GenerationRecord], key: str) -> Points:
    """Generation and value of a metric; generations with a missing or non-finite value are left out."""
    values = ((record.generation, record.metrics.get(key)) for record in records)
    return [(generation, float(value)) for generation, value in values if value is not None and isfinite(value)]


def half_life(series: Points) -> float | None:
    """Generations until the value is half of the first one; None if it never was, or there is no value.

    Between generations the value is interpolated on an exponential, or on a line if the later value is zero. A chain
    that begins with 0 has a half-life of 0.
    """
    if not series:
        return None
    if series[0][1] <= 0:
        return 0.0
    start, target = series[0][0], HALF * series[0][1]
    for (earlier, above), (later, below) in pairwise(series):
        if below <= target:
            drop = np.log(above / target) / np.log(above / below) if below > 0 else (above - target) / (above - below)
            return float(earlier - start + drop * (later - earlier))
    return None


def growth_rate(series: Points) -> Rate | None:
    """Theil-Sen slope of a metric over the generations; None below four generations."""
    if len(series) < MIN_POINTS:
        return None
    generations, values = zip(*series, strict=True)
    slope, _, low, high = stats.theilslopes(values, generations, alpha=1 - SIGNIFICANCE)
    return Rate(slope=float(slope), low=float(low), high=float(high), num_points=len(series))


def course_over(window: Points, *, rate: Rate | None) -> Course:
    """The course of a metric over a window in which it grows at this rate.

    It rises or falls if Kendall's one-sided rank test says so and the move over the window is more than a tenth of its
    level; it levels off if the whole interval of its slope stays within that tenth. Anything else is undecided.
    """
    if rate is None:
        return "undecided"
    generations, values = zip(*window, strict=True)
    tolerance = LEVEL_TOLERANCE * abs(float(np.median(values)))
    span = generations[-1] - generations[0]
    if abs(rate.slope) * span > tolerance:
        direction: Direction = "rises" if rate.slope > 0 else "falls"
        if trend_p(values, direction) < SIGNIFICANCE:
            return direction
    return "levels off" if max(abs(rate.low), abs(rate.high)) * span <= tolerance else "undecided"


def trend_p(values: Sequence[float], direction: Direction) -> float:
    """P value of Kendall's one-sided rank test for a trend; 1 for constant values."""
    ranks = {value: rank for rank, value in enumerate(sorted(set(values)))}
    return kendall_p(tuple(ranks[value] for value in values), direction) if len(ranks) > 1 else 1.0


@lru_cache(maxsize=1024)
def kendall_p(ranks: tuple[int, ...], direction: Direction) -> float:
    """The same for ranks; cached, since few orders come up in a chain."""
    alternative = "less" if direction == "falls" else "greater"
    return float(stats.kendalltau(range(len(ranks)), ranks, alternative=alternative).pvalue)
