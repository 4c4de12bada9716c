"""Run measures in all feature spaces, and find their spread over batches of one generation's samples."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from collapsar.data.real_data import RowFormat
from collapsar.judging.comparison import Comparison
from collapsar.judging.metric_keys import METRICS
from collapsar.judging.metric_lookup import bounds_of
from collapsar.judging.progress import advance
from collapsar.metrics.uncertainty import compute_intervals, split_batches

Measure = Callable[[Comparison], dict[str, float]]


class ExtraMetrics(ABC):
    """Extra groups of metrics for rows of a table (`evaluation.table`), the interface for a case study's own.

    Attributes:
        metrics: Names of the groups to measure.
    """

    metrics: Sequence[str]

    @abstractmethod
    def groups(self) -> Mapping[str, Measure]:
        """All available measures by group, with their settings."""

    @abstractmethod
    def check(self, table: RowFormat) -> None:
        """Check that the settings suit these rows.

        Raises:
            UsageError: They do not; the message says what to set.
        """


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


def measure(comparisons: Mapping[str, Comparison], measures: Mapping[str, Measure]) -> dict[str, float]:
    """The finite values of all measures (by group) in all spaces (by key prefix): a record never holds NaN."""
    values: dict[str, float] = {}
    for prefix, comparison in comparisons.items():
        for group, each in measures.items():
            if not (prefix and group in METRICS and METRICS[group].of_first_space):
                values |= {f"{prefix}{key}": value for key, value in each(comparison).items() if math.isfinite(value)}
            advance("metrics measured", of=len(comparisons) * len(measures))
    return values


def measure_spread(
    comparisons: Mapping[str, Comparison], measures: Mapping[str, Measure], *, num_batches: int, confidence: float
) -> BatchSpread:
    """How far values move between disjoint batches; empty if a batch is too small for k neighbours.

    No bootstrap: see `collapsar.metrics.uncertainty`.
    """
    num_samples, num_neighbours = len(comparisons[""].features), comparisons[""].real.num_neighbours
    batch_size = num_samples // num_batches if num_batches else 0
    if batch_size <= num_neighbours:
        return BatchSpread(half_widths={}, num_batches=0, batch_size=0)
    batches = [
        measure({prefix: comparison.take(batch) for prefix, comparison in comparisons.items()}, measures)
        for batch in split_batches(torch.arange(num_samples), num_batches=num_batches)
    ]
    intervals = compute_intervals(batches, confidence=confidence)
    half_widths = {
        key: interval.high - interval.mean for key, interval in intervals.items() if math.isfinite(interval.high)
    }
    return BatchSpread(half_widths=half_widths, num_batches=num_batches, batch_size=batch_size)
