"""How much of a number is noise: spread over independent batches, intervals over batches or chains.

No bootstrap: a set drawn with replacement holds duplicates, which bias neighbour metrics and the Fréchet distance.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from collapsar.errors import UsageError
from collapsar.metrics.checks import Features


@dataclass(frozen=True)
class MeanInterval:
    """A mean and the two ends of its interval; both ends equal the mean if there is only one value."""

    mean: float
    low: float
    high: float
    num_values: int


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (divided by n - 1) over independent batches."""

    mean: float
    standard_deviation: float
    num_batches: int


def compute_interval(values: Sequence[float], *, confidence: float) -> MeanInterval:
    """Student's t-interval of the mean of independent values, such as one value for each seeded chain."""
    if not 0.0 < confidence < 1.0:
        raise UsageError(f"confidence must lie between 0 and 1: got {confidence}")
    spread = compute_spread(values)
    if spread.num_batches == 1:
        return MeanInterval(mean=spread.mean, low=spread.mean, high=spread.mean, num_values=1)
    quantile = float(stats.t.ppf(0.5 + confidence / 2.0, df=spread.num_batches - 1))
    half_width = quantile * spread.standard_deviation / math.sqrt(spread.num_batches)
    return MeanInterval(
        mean=spread.mean,
        low=spread.mean - half_width,
        high=spread.mean + half_width,
        num_values=spread.num_batches,
    )


def compute_spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of independent values; the deviation of one value is zero."""
    if not values:
        raise UsageError("a spread needs at least one value: got none")
    if not all(math.isfinite(value) for value in values):
        raise UsageError(f"a spread needs finite values: got {list(values)}")
    tensor = torch.tensor(list(values), dtype=torch.float64)
    deviation = float(tensor.std()) if len(values) > 1 else 0.0
    return Spread(mean=float(tensor.mean()), standard_deviation=deviation, num_batches=len(values))


def compute_intervals(batches: Sequence[Mapping[str, float]], *, confidence: float) -> dict[str, MeanInterval]:
    """`compute_interval` of each key that every batch holds.

    Raises:
        UsageError: There is no batch, a value is not finite, or the confidence lies outside (0, 1).
    """
    if not batches:
        raise UsageError("intervals need at least one batch of values: got none")
    shared = [key for key in batches[0] if all(key in batch for batch in batches)]
    return {key: compute_interval([batch[key] for batch in batches], confidence=confidence) for key in shared}


def split_batches(features: Features, *, num_batches: int) -> tuple[Tensor, ...]:
    """Disjoint batches of equal size, in order; samples that are left over are dropped.

    Raises:
        UsageError: There is no batch, or there are fewer samples than batches.
    """
    if not 1 <= num_batches <= len(features):
        raise UsageError(f"num_batches must lie in 1..{len(features)}, the number of samples: got {num_batches}")
    size = len(features) // num_batches
    return features[: size * num_batches].split(size)


def describe_shortage(*, num_samples: int, feature_dim: int) -> str | None:
    """Advice if a covariance is estimated from too few samples, or None if they suffice.

    Below ten samples per dimension, the bias of the Fréchet distance is no longer small beside the floor.
    """
    needed = 10 * feature_dim
    if num_samples >= needed:
        return None
    return (
        f"{num_samples} samples are few for {feature_dim} feature dimensions: set evaluation.num_samples to {needed} "
        "or more, or, where fewer are held out, read fid_debiased, and fid beside fid_floor"
    )
