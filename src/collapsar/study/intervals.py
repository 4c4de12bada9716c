"""Intervals over seeds: Student's t for means and for paired differences, 95 % throughout.

Differences that are the same for every seed have no variance. Student's test then takes its limit: p is 0 if they are
not zero, and 1 if they are. Values that differ only by rounding count as equal.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import stdtr, stdtrit

from collapsar.judging.metric_keys import ANY, bounds_of

CONFIDENCE = 0.95
ROUNDING = 1e-12  # relative to the values; a smaller difference is rounding


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over seeds; the bounds are None if there is only one seed."""

    mean: float
    low: float | None
    high: float | None
    num_seeds: int

    @property
    def ends(self) -> tuple[float, float]:
        """Both bounds; for a single seed, the mean twice."""
        return self.mean if self.low is None else self.low, self.mean if self.high is None else self.high


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """The mean difference between two arms over shared seeds, with a paired t-test; p is None for one seed."""

    difference: Interval
    p_value: float | None


def t_interval(
    values: Sequence[float], *, confidence: float = CONFIDENCE, within: tuple[float, float] = ANY
) -> Interval | None:
    """The mean and its t-interval, cut to the possible values; None without values."""
    if len(values) < 2:
        return Interval(mean=float(values[0]), low=None, high=None, num_seeds=1) if len(values) else None
    return mean_interval(np.asarray(values, float), confidence=confidence, within=within)


def mean_interval(values: np.ndarray, *, confidence: float = CONFIDENCE, within: tuple[float, float] = ANY) -> Interval:
    """The mean of two or more values and its t-interval; without variance, both bounds are the mean."""
    mean, margin = float(values.mean()), 0.0
    if np.ptp(values) > 0:
        standard_error = float(values.std(ddof=1)) / math.sqrt(len(values))
        margin = float(stdtrit(len(values) - 1, (1 + confidence) / 2)) * standard_error
    low, high = max(mean - margin, within[0]), min(mean + margin, within[1])
    return Interval(mean=mean, low=low, high=high, num_seeds=len(values))


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> PairedDifference | None:
    """Second minus first over the seeds in both; None if they share none."""
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    found = paired([first[seed] for seed in seeds], [second[seed] for seed in seeds])
    interval = t_interval(found.tolist())
    assert interval is not None, "there is a seed"
    return PairedDifference(difference=interval, p_value=t_test(found) if len(seeds) > 1 else None)


def paired(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> np.ndarray:
    """Second minus first, pair by pair: 0 if two values are equal, and one number if all differences are equal.

    Values that differ only by rounding count as equal, so that a test does not take rounding for variance.
    """
    differences = without_rounding(first, second)
    if np.ptp(differences) <= _rounding(first, second):
        differences[:] = differences.mean()
    return differences


def without_rounding(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> np.ndarray:
    """Second minus first, broadcast as in numpy: 0 if two values differ only by rounding."""
    differences = np.asarray(second, float) - np.asarray(first, float)
    return np.where(np.abs(differences) <= _rounding(first, second), 0.0, differences)


def _rounding(*values: Sequence[float] | np.ndarray) -> float:
    return ROUNDING * max(float(np.abs(own).max()) for own in values)


def t_test(differences: np.ndarray) -> float:
    """P value of the two-sided t-test of two or more `paired` differences; without variance, its limit."""
    if np.ptp(differences) == 0:
        return 0.0 if differences[0] else 1.0
    error = differences.std(ddof=1) / len(differences) ** 0.5
    return float(2 * stdtr(len(differences) - 1, -abs(differences.mean()) / error))


def bands(values: pd.DataFrame) -> pd.DataFrame:
    """Mean, low, high (NaN for one seed) and count by metric and generation, of rows with both and a value."""
    grouped = values.groupby(["metric", "generation"], sort=False)["value"]
    table = grouped.agg(["mean", "sem", "count"]).reset_index()
    margin = stats.t.ppf((1 + CONFIDENCE) / 2, np.maximum(table["count"] - 1, 1)) * table["sem"]
    lowest, highest = zip(*map(bounds_of, table["metric"]), strict=True)
    low = (table["mean"] - margin).clip(lower=pd.Series(lowest, dtype=float))
    high = (table["mean"] + margin).clip(upper=pd.Series(highest, dtype=float))
    return table.assign(low=low, high=high).drop(columns="sem")
