"""Bisection finds where chains become good enough, and says so where they always or never are."""

import pytest

from collapsar.errors import UsageError
from collapsar.jobs.bisection import Bracket, Goal, bisect

HALF = Goal(at_least=0.5, at_most=None)


def rising_from(threshold, tried):
    """A measure that is good enough from a threshold on, and notes what was tried."""

    def measure(values):
        tried.extend(values)
        return [float(value >= threshold) for value in values]

    return measure


def test_the_bracket_holds_the_threshold_and_is_halved_at_each_step():
    found = bisect(rising_from(0.3, []), low=0.0, high=1.0, goal=HALF, num_steps=5)
    assert found.low < 0.3 <= found.high
    assert found.high - found.low == pytest.approx(1 / 2**5)


def test_both_ends_are_tried_at_once_and_then_one_value_a_step():
    tried = []
    bisect(rising_from(0.3, tried), low=0.0, high=1.0, goal=HALF, num_steps=3)
    assert tried == [0.0, 1.0, 0.5, 0.25, 0.375]


def test_where_the_smallest_value_is_good_enough_nothing_else_is_tried():
    tried = []
    assert bisect(rising_from(0.0, tried), low=0.0, high=1.0, goal=HALF, num_steps=5) == Bracket(low=None, high=0.0)
    assert len(tried) == 2


def test_where_the_largest_value_is_not_good_enough_nothing_else_is_tried():
    assert bisect(rising_from(2.0, []), low=0.0, high=1.0, goal=HALF, num_steps=5) == Bracket(low=1.0, high=None)


def test_an_objective_may_have_to_fall():
    found = bisect(
        lambda values: [10 - 10 * value for value in values],
        low=0.0,
        high=1.0,
        goal=Goal(at_least=None, at_most=8.0),
        num_steps=6,
    )
    assert found.low < 0.2 <= found.high


@pytest.mark.parametrize("bounds", [{"at_least": None, "at_most": None}, {"at_least": 0.1, "at_most": 0.2}])
def test_one_bound_is_needed(bounds):
    with pytest.raises(UsageError, match="needs one of at_least and at_most"):
        Goal(**bounds)


def test_an_empty_interval_is_refused():
    with pytest.raises(UsageError, match=r"low must be below hydra.sweeper.high: got 1.0 and 1.0"):
        bisect(rising_from(0.3, []), low=1.0, high=1.0, goal=HALF, num_steps=1)
