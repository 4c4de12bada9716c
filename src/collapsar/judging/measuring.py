"""Run measures in all feature spaces, and find their spread over batches of one generation's samples."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from collapsar.judging.comparison import Comparison
from collapsar.judging.metric_keys import bounds_of
from collapsar.metrics.uncertainty import compute_intervals, split_batches

Measure = Callable[[Comparison], dict[str, float]]


@dataclass(frozen=True)
class BatchSpread:
    """Half the width of each interval by metric key, and the batches that it comes from; empty without batches."""

    half_widths: dict[str, float]
    num_batches: int
    batch_size: int

    def around(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """`_low` and `_high` of each value that has an interval, cut to the metric's bounds.

        The centre is the value of all samples, and the width is that of the batches' mean: a batch's own value is
        biased by the batch's smaller size.
        """
        ends: dict[str, float] = {}
        for key, half_width in self.half_widths.items():
            if key in metrics:
                lowest, highest = bounds_of(key)
                ends[f"{key}_low"] = max(metrics[key] - half_width, lowest)
                ends[f"{key}_high"] = min(metrics[key] + half_width, highest)
        return ends


def measure(comparisons: Mapping[str, Comparison], measures: Iterable[Measure]) -> dict[str, float]:
    """The finite values of all measures in all spaces, by key; `comparisons` are by key prefix."""
    return keep_finite(
        {
            f"{prefix}{key}": value
            for prefix, comparison in comparisons.items()
            for each in measures
            for key, value in each(comparison).items()
        }
    )


def keep_finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Leave out values that could not be measured, such as a ratio to zero: a record never holds NaN."""
    return {key: value for key, value in metrics.items() if math.isfinite(value)}


def measure_spread(
    comparisons: Mapping[str, Comparison], measures: Sequence[Measure], *, num_batches: int, confidence: float
) -> BatchSpread:
    """How far values move between disjoint batches; empty if a batch is too small for k neighbours.

    No bootstrap: see `collapsar.metrics.uncertainty`.
    """
    one = next(iter(comparisons.values()))
    num_samples, num_neighbours = len(one.features), one.real.num_neighbours
    batch_size = num_samples // num_batches if num_batches else 0
    if batch_size <= num_neighbours:
        return BatchSpread(half_widths={}, num_batches=0, batch_size=0)
    batches = [
        measure({prefix: comparison.take(batch) for prefix, comparison in comparisons.items()}, measures)
        for batch in split_batches(torch.arange(num_samples), num_batches=num_batches)
    ]
    intervals = compute_intervals(batches, confidence=confidence)
    half_widths = {key: interval.high - interval.mean for key, interval in intervals.items()}
    return BatchSpread(half_widths=half_widths, num_batches=num_batches, batch_size=batch_size)
