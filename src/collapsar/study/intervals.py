"""Intervals over seeds: Student's t for means and for paired differences, 95 % throughout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from collapsar.judging.metric_keys import ANY, bounds_of

CONFIDENCE = 0.95
ROUNDING = 1e-12  # relative; values closer than this differ by how they were computed


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over seeds; without bounds where there is only one seed."""

    mean: float
    low: float | None
    high: float | None
    num_seeds: int


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """The mean of the differences between two arms over the seeds they share, with a paired t-test."""

    difference: Interval
    p_value: float | None


def t_interval(values: Sequence[float], *, within: tuple[float, float] = ANY) -> Interval | None:
    """The mean and its t-interval, cut to the possible values; None of no values."""
    if not values:
        return None
    mean = float(np.mean(values))
    if len(values) == 1:
        return Interval(mean=mean, low=None, high=None, num_seeds=1)
    if np.ptp(values) == 0:
        return Interval(mean=mean, low=mean, high=mean, num_seeds=len(values))
    low, high = stats.t.interval(CONFIDENCE, len(values) - 1, loc=mean, scale=stats.sem(values))
    low, high = max(float(low), within[0]), min(float(high), within[1])
    return Interval(mean=mean, low=low, high=high, num_seeds=len(values))


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> PairedDifference | None:
    """Second minus first over the seeds in both; None if they share none."""
    seeds = sorted(first.keys() & second.keys())
    differences = [second[seed] - first[seed] for seed in seeds]
    interval = t_interval(differences)
    if interval is None:
        return None
    # Differences that are equal but for rounding have no variance to test against.
    is_testable = len(seeds) > 1 and np.ptp(differences) > ROUNDING * np.abs(differences).max()
    p_value = float(stats.ttest_1samp(differences, 0.0).pvalue) if is_testable else None
    return PairedDifference(difference=interval, p_value=p_value)


def bands(values: pd.DataFrame) -> pd.DataFrame:
    """Mean and t-interval by metric and generation, from rows with metric, generation and value.

    The columns are mean, low, high and count; low and high are NaN where there is one seed.
    """
    grouped = values.groupby(["metric", "generation"], sort=False)["value"]
    table = grouped.agg(["mean", "sem", "count"]).reset_index()
    margin = stats.t.ppf((1 + CONFIDENCE) / 2, np.maximum(table["count"] - 1, 1)) * table["sem"]
    lowest, highest = zip(*map(bounds_of, table["metric"]), strict=True)
    low = (table["mean"] - margin).clip(lower=pd.Series(lowest, dtype=float))
    high = (table["mean"] + margin).clip(upper=pd.Series(highest, dtype=float))
    return table.assign(low=low, high=high).drop(columns="sem")
