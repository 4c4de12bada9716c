"""Bisection finds where chains become good enough, and says so where they always or never are."""

from types import SimpleNamespace

import pytest

from collapsar.foundations.errors import UsageError
from hydra_plugins.collapsar_searches import BisectionSweeper

INTERVAL = {"low": 0.0, "high": 1.0}


def sweeper(*, measure=lambda value: value, num_steps=1, at_least=None, at_most=None, **interval):
    """A sweeper whose chains have this objective; its `tried` are the values of the chains that ran together."""
    given = INTERVAL | interval
    made = BisectionSweeper(setting="x", **given, at_least=at_least, at_most=at_most, num_steps=num_steps, seeds="0")
    made.tried, made.config = [], SimpleNamespace(objective="final/recall")

    def objectives(trials):
        values = [float(override.removeprefix("x=")) for (override,) in trials]
        made.tried.append(values)
        return [[float(measure(value))] for value in values]

    made.objectives = objectives
    return made


def rising_from(threshold, **settings):
    """A sweeper whose chains are good enough from a threshold on."""
    return sweeper(measure=lambda value: value >= threshold, at_least=0.5, **settings)


def test_the_bracket_holds_the_threshold_and_is_halved_at_each_step():
    low, high = rising_from(0.3, num_steps=5).bisect()
    assert low < 0.3 <= high
    assert high - low == pytest.approx(1 / 2**5)


def test_both_ends_are_tried_at_once_and_then_one_value_a_step():
    search = rising_from(0.3, num_steps=3)
    search.bisect()
    assert search.tried == [[0.0, 1.0], [0.5], [0.25], [0.375]]


def test_where_the_smallest_value_is_good_enough_nothing_else_is_tried():
    search = rising_from(0.0, num_steps=5)
    assert search.bisect() == (None, 0.0)
    assert search.tried == [[0.0, 1.0]]


def test_where_the_largest_value_is_not_good_enough_nothing_else_is_tried():
    search = rising_from(2.0, num_steps=5)
    assert search.bisect() == (1.0, None)
    assert search.tried == [[0.0, 1.0]]


def test_an_objective_may_have_to_fall():
    low, high = sweeper(measure=lambda value: 10 - 10 * value, at_most=8.0, num_steps=6).bisect()
    assert low < 0.2 <= high


@pytest.mark.parametrize(("bound", "objective"), [("at_least", 0.5), ("at_most", 0.5)])
def test_an_objective_at_its_bound_is_good_enough(bound, objective):
    assert sweeper(measure=lambda value: objective, **{bound: 0.5}).bisect() == (None, 0.0)


@pytest.mark.parametrize("bounds", [{"at_least": None, "at_most": None}, {"at_least": 0.1, "at_most": 0.2}])
def test_one_bound_is_needed(bounds):
    with pytest.raises(UsageError, match="needs one of at_least and at_most"):
        sweeper(**bounds)


def test_an_empty_interval_is_refused():
    with pytest.raises(UsageError, match=r"low must be below hydra.sweeper.high: got 1.0 and 1.0"):
        rising_from(0.3, low=1.0).bisect()
