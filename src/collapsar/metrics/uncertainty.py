"""How much of a number is noise: intervals over independent batches.

No bootstrap: a set drawn with replacement holds duplicates, which bias neighbour metrics and the Fréchet distance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy import stats

from collapsar.errors import UsageError


@dataclass(frozen=True)
class MeanInterval:
    """A mean and the two ends of its interval."""

    mean: float
    low: float
    high: float


def compute_interval(values: Sequence[float], *, confidence: float) -> MeanInterval:
    """Student's t-interval of the mean of independent values; of one value it has no width."""
    if not 0.0 < confidence < 1.0:
        raise UsageError(f"confidence must lie between 0 and 1: got {confidence}")
    if not values or not all(math.isfinite(value) for value in values):
        raise UsageError(f"an interval needs at least one value, and finite ones: got {list(values)}")
    tensor = torch.tensor(list(values), dtype=torch.float64)
    mean, half_width = float(tensor.mean()), 0.0
    if len(values) > 1:
        quantile = float(stats.t.ppf(0.5 + confidence / 2.0, df=len(values) - 1))
        half_width = quantile * float(tensor.std()) / math.sqrt(len(values))
    return MeanInterval(mean=mean, low=mean - half_width, high=mean + half_width)
