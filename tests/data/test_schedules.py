from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collapsar.data.schedules import Constant, Cosine, Linear, Listed, as_schedule, check_bounds
from collapsar.foundations.errors import UsageError

numbers = st.floats(0, 1000, allow_nan=False)
recipes = st.one_of(  # called in the test: the type checker draws random numbers, which strategies may not
    st.builds(partial, st.just(Constant), numbers),
    st.builds(partial, st.just(Listed), st.lists(numbers, min_size=12, max_size=12)),
    st.builds(partial, st.just(Linear), first=numbers, last=numbers, num_generations=st.integers(1, 12)),
    st.builds(partial, st.just(Cosine), first=numbers, last=numbers, num_generations=st.integers(1, 12)),
)


@given(recipe=recipes, generation=st.integers(0, 11))
def test_a_schedule_stays_within_its_bounds(recipe, generation):
    schedule = recipe()
    low, high = schedule.bounds
    assert low - 1e-9 <= schedule.at(generation) <= high + 1e-9


@pytest.mark.parametrize("decay", [Linear, Cosine])
def test_a_decay_runs_from_first_to_last_and_stays(decay):
    schedule = decay(first=0.8, last=0.2, num_generations=4)
    values = [schedule.at(generation) for generation in range(6)]
    assert [values[0], *values[3:]] == pytest.approx([0.8, 0.2, 0.2, 0.2])
    assert values == sorted(values, reverse=True)


def test_linear_takes_equal_steps():
    assert [Linear(first=1.0, last=0.0, num_generations=5).at(t) for t in range(5)] == [1, 0.75, 0.5, 0.25, 0]


def test_cosine_is_half_way_in_the_middle_and_flat_at_the_ends():
    schedule = Cosine(first=1.0, last=0.0, num_generations=5)
    assert schedule.at(2) == pytest.approx(0.5)
    assert 1 - schedule.at(1) < 0.25


def test_a_count_is_rounded_to_the_nearest_sample():
    schedule = Linear(first=100, last=101, num_generations=4)
    assert [schedule.count_at(generation) for generation in range(4)] == [100, 100, 101, 101]


def test_a_number_is_constant_and_a_list_goes_generation_by_generation():
    assert as_schedule(0.3).at(7) == 0.3
    assert [as_schedule([3, 1, 2]).at(generation) for generation in range(3)] == [3, 1, 2]


def test_a_list_refuses_generations_beyond_its_end():
    with pytest.raises(UsageError, match="ends before generation 2"):
        as_schedule([1, 2]).at(2)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: as_schedule([]), r"got \[\]"),
        (lambda: Linear(first=1, last=0, num_generations=0), "got 0"),
        (lambda: check_bounds("x", as_schedule([0.5, 1.2]), lowest=0, highest=1), r"x must be between 0 and 1.*1\.2"),
        (lambda: check_bounds("x", as_schedule(-1), lowest=0), "x must be at least 0 .*got -1"),
        (lambda: check_bounds("x", as_schedule(float("inf")), lowest=0), "x must be at least 0 .*got inf"),
    ],
)
def test_bad_schedules_are_refused(build, message):
    with pytest.raises(UsageError, match=message):
        build()
