import math

import pytest
import torch

from collapsar.errors import UsageError
from collapsar.metrics.uncertainty import compute_interval


def draw(num_samples, feature_dim, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_samples, feature_dim, generator=generator, dtype=torch.float64)


def test_interval_is_students():
    interval = compute_interval([1.0, 2.0, 3.0, 4.0, 5.0], confidence=0.95)
    half_width = 2.7764451 * math.sqrt(2.5 / 5)
    assert interval.mean == 3.0
    assert interval.low == pytest.approx(3.0 - half_width)
    assert interval.high == pytest.approx(3.0 + half_width)


def test_intervals_hold_the_mean_as_often_as_they_say():
    values = draw(1000, 5, seed=3)
    intervals = [compute_interval(row.tolist(), confidence=0.9) for row in values]
    share = sum(interval.low <= 0.0 <= interval.high for interval in intervals) / len(intervals)
    assert share == pytest.approx(0.9, abs=0.03)


def test_one_value_has_no_width():
    interval = compute_interval([2.0], confidence=0.95)
    assert (interval.low, interval.mean, interval.high) == (2.0, 2.0, 2.0)


def test_wrong_values_are_refused():
    with pytest.raises(UsageError, match="at least one value"):
        compute_interval([], confidence=0.9)
    with pytest.raises(UsageError, match="finite"):
        compute_interval([1.0, math.nan], confidence=0.9)
    with pytest.raises(UsageError, match="confidence"):
        compute_interval([1.0, 2.0], confidence=95.0)
