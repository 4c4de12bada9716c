"""Phase curves: a metric over the one number in which arms differ, and where it reaches what a search looked for."""

import pytest

from collapsar.report.sections.phase import HEIGHT, WIDTH, crossing, draw
from collapsar.study.intervals import Interval


def interval(mean, margin=0.0):
    return Interval(mean=mean, low=mean - margin, high=mean + margin, num_seeds=3)


def test_a_curve_reaches_a_level_on_the_line_between_two_points():
    assert crossing([(0.0, 0.2), (0.5, 0.4), (1.0, 0.8)], level=0.5) == pytest.approx(0.625)


def test_a_curve_that_starts_above_a_level_reaches_it_at_its_first_value():
    assert crossing([(0.1, 0.9), (0.2, 1.0)], level=0.5) == 0.1


def test_a_curve_below_a_level_does_not_reach_it():
    assert crossing([(0.1, 0.1), (0.2, 0.2)], level=0.5) is None


def test_where_a_curve_reaches_a_level_twice_the_first_time_counts():
    assert crossing([(0.0, 0.0), (1.0, 1.0), (2.0, 0.0), (3.0, 1.0)], level=0.5) == pytest.approx(0.5)


def test_a_drawing_has_the_whole_range_of_a_share():
    points = [(0.0, interval(0.0)), (0.25, interval(0.5, 0.1)), (0.5, interval(1.0))]
    drawing = draw("recall", points, threshold=0.5, crossing=interval(0.25, 0.05))
    assert (WIDTH, HEIGHT) == (420, 220)
    assert (drawing["lowest"], drawing["highest"], drawing["level"]) == (0.0, 1.0, 110.0)
    assert drawing["line"] == "0.0,220.0 210.0,110.0 420.0,0.0"
    assert drawing["marks"][1] == (210.0, 110.0, 132.0, 88.0)
    assert drawing["reached"] == (210.0, 168.0, 252.0)


def test_a_single_seed_has_no_whisker():
    points = [(value, Interval(mean=2.0, low=None, high=None, num_seeds=1)) for value in (0.0, 1.0)]
    drawing = draw("fid", points, threshold=None, crossing=None)
    assert drawing["marks"][0] == (0.0, 0.0, 0.0, 0.0)
    assert (drawing["lowest"], drawing["highest"]) == (0.0, 2.0)


@pytest.mark.parametrize("value", [0.0, -1e-9, 3.0])
def test_a_curve_of_equal_values_is_drawn(value):
    flat = [(float(setting), Interval(mean=value, low=value, high=value, num_seeds=2)) for setting in range(3)]
    drawing = draw("fid", flat, threshold=None, crossing=None)
    assert drawing["lowest"] <= value <= drawing["highest"]
    assert all(0.0 <= height <= HEIGHT for _, *heights in drawing["marks"] for height in heights)
