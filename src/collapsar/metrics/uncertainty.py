"""How much of a number is noise: intervals over independent batches, and too few samples.

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
        "or more; if fewer are held out, read fid_debiased, and fid beside fid_floor"
    )
