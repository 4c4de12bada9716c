"""Run measures in all feature spaces, and find intervals from batches of one generation's samples."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from scipy import stats

from collapsar.data.real_data import RowFormat
from collapsar.judging.comparison import Comparison
from collapsar.judging.metric_keys import METRICS
from collapsar.judging.metric_lookup import bounds_of
from collapsar.judging.progress import advance

Measure = Callable[[Comparison], dict[str, float]]


class ExtraMetrics(ABC):
    """Extra groups of metrics for rows of a table (`evaluation.table`), the interface for a case study's own."""

    metrics: Sequence[str]  # groups to measure

    @abstractmethod
    def groups(self) -> Mapping[str, Measure]:
        """All available measures by group, with their settings."""

    @abstractmethod
    def check(self, table: RowFormat) -> None:
        """Raise UsageError, with what to set, if the settings do not suit these rows."""


def measure(comparisons: Mapping[str, Comparison], measures: Mapping[str, Measure]) -> dict[str, float]:
    """The finite values of all measures (by group) in all spaces (by key prefix): a record never holds NaN."""
    values: dict[str, float] = {}
    for prefix, comparison in comparisons.items():
        for group, each in measures.items():
            if not (prefix and group in METRICS and METRICS[group].of_first_space):
                values |= {f"{prefix}{key}": value for key, value in each(comparison).items() if math.isfinite(value)}
            advance("metrics measured", of=len(comparisons) * len(measures))
    return values


def intervals_around(
    metrics: Mapping[str, float], batches: Sequence[Mapping[str, float]], *, confidence: float
) -> dict[str, float]:
    """`_low` and `_high` of each value that all batches of the samples have, cut to the metric's bounds.

    The centre is the value of all samples, because a batch's own value is biased by its smaller size. The width is that
    of Student's t-interval of the batches' mean. No bootstrap: a set drawn with replacement holds duplicates, which
    bias neighbour metrics and the Fréchet distance.
    """
    ends: dict[str, float] = {}
    quantile = float(stats.t.ppf(0.5 + confidence / 2.0, df=len(batches) - 1))
    for key in batches[0] if len(batches) > 1 else ():
        if key in metrics and all(key in batch for batch in batches):
            values = torch.tensor([batch[key] for batch in batches], dtype=torch.float64)
            mean = float(values.mean())
            high = mean + quantile * float(values.std()) / math.sqrt(len(batches))
            if math.isfinite(high):
                half_width, (lowest, highest) = high - mean, bounds_of(key)
                ends[f"{key}_low"] = max(metrics[key] - half_width, lowest)
                ends[f"{key}_high"] = min(metrics[key] + half_width, highest)
    return ends
