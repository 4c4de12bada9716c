"""Bisection finds where chains become good enough, and says so where they always or never are."""

import pytest

from collapsar.errors import UsageError
from hydra_plugins.collapsar_searches.bisection_sweeper import BisectionSweeper, bisect

INTERVAL = {"low": 0.0, "high": 1.0}


def sweeper(*, at_least=None, at_most=None):
    return BisectionSweeper(setting="x", **INTERVAL, at_least=at_least, at_most=at_most, num_steps=1, seeds="0")


HALF = sweeper(at_least=0.5).is_met


def rising_from(threshold, tried):
    """A measure that is good enough from a threshold on, and notes what was tried."""

    def measure(values):
        tried.extend(values)
        return [float(value >= threshold) for value in values]

    return measure


def test_the_bracket_holds_the_threshold_and_is_halved_at_each_step():
    low, high = bisect(rising_from(0.3, []), HALF, **INTERVAL, num_steps=5)
    assert low < 0.3 <= high
    assert high - low == pytest.approx(1 / 2**5)


def test_both_ends_are_tried_at_once_and_then_one_value_a_step():
    tried = []
    bisect(rising_from(0.3, tried), HALF, **INTERVAL, num_steps=3)
    assert tried == [0.0, 1.0, 0.5, 0.25, 0.375]


def test_where_the_smallest_value_is_good_enough_nothing_else_is_tried():
    tried = []
    assert bisect(rising_from(0.0, tried), HALF, **INTERVAL, num_steps=5) == (None, 0.0)
    assert len(tried) == 2


def test_where_the_largest_value_is_not_good_enough_nothing_else_is_tried():
    assert bisect(rising_from(2.0, []), HALF, **INTERVAL, num_steps=5) == (1.0, None)


def test_an_objective_may_have_to_fall():
    low, high = bisect(
        lambda values: [10 - 10 * value for value in values],
        sweeper(at_most=8.0).is_met,
        **INTERVAL,
        num_steps=6,
    )
    assert low < 0.2 <= high


@pytest.mark.parametrize("bounds", [{"at_least": None, "at_most": None}, {"at_least": 0.1, "at_most": 0.2}])
def test_one_bound_is_needed(bounds):
    with pytest.raises(UsageError, match="needs one of at_least and at_most"):
        sweeper(**bounds)


def test_an_empty_interval_is_refused():
    with pytest.raises(UsageError, match=r"low must be below hydra.sweeper.high: got 1.0 and 1.0"):
        bisect(rising_from(0.3, []), HALF, low=1.0, high=1.0, num_steps=1)
