"""Times until something happened to the chains of an arm, such as recall halving: their median over seeds.

A chain that ended before it happened, finished or not, is censored there: its time is "later than", not "never".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from statsmodels.duration.survfunc import SurvfuncRight

JUST_AFTER_0 = 1e-9  # statsmodels takes positive times only


@dataclass(frozen=True, kw_only=True)
class WaitingTime:
    """Generations until something happened, over seeds: infinite if it did not happen within the chain."""

    median: float  # median over seeds, by Kaplan-Meier if chains are censored; infinite if it was not reached
    low: float  # the earliest seed
    high: float  # the latest seed
    num_generations: int  # last generation of the longest chain, the bound that infinity stands for


def waiting_time(times: Sequence[int | float | None], *, lengths: Sequence[int]) -> WaitingTime | None:
    """The waiting time over chains; None without chains.

    Args:
        times: When it happened to each chain; None if it did not.
        lengths: Last generation of each chain.
    """
    if not times:
        return None
    known = [math.inf if time is None else float(time) for time in times]
    return WaitingTime(median=_median(known, lengths), low=min(known), high=max(known), num_generations=max(lengths))


def _median(times: Sequence[float], lengths: Sequence[int]) -> float:
    has_happened = np.isfinite(times)
    if has_happened.all():
        return float(np.median(times))
    observed = np.where(has_happened, times, lengths)
    median = SurvfuncRight(np.maximum(observed, JUST_AFTER_0), has_happened.astype(float)).quantile(0.5)
    return float(round(median, 6)) if np.isfinite(median) else math.inf
