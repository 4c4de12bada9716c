"""Verdicts on planted studies: how often they are wrong, how often they find what is there, and what they rest on."""

import numpy as np
import pytest
from scipy import stats

from collapsar.study.comparison import power_of
from collapsar.study.verdicts import judge

NUM_SEEDS, NUM_ARMS, NUM_SHUFFLES, NUM_ANALYSES = 5, 8, 1000, 500
MOST_FALSE = {500: 34, 1000: 63}  # at a level of 5 %: more come out by chance in 3 % of tests


def by_seed(values):
    return dict(enumerate(map(float, values)))


def judged(table, **arguments):
    """The judgements of a table [arm, seed], whose first row is the baseline; NaN: no chain."""
    rows = [{seed: value for seed, value in by_seed(row).items() if np.isfinite(value)} for row in table]
    return judge(rows[0], rows[1:], **arguments)


def shuffled(table, generator):
    """The table with the labels of its arms shuffled within each seed."""
    return generator.permuted(table, axis=0)


def drawn_table(generator, *, kind):
    """Outcomes of arms that all have the same law, with effects of seeds."""
    table = generator.normal(0, 2, NUM_SEEDS) + generator.normal(0, 1, (NUM_ARMS + 1, NUM_SEEDS))
    return {
        "normal": table,
        "censored": np.minimum(table, np.quantile(table, 0.7)),
        "skewed": np.exp(0.5 * table),
    }[kind]


def test_labels_shuffled_within_seeds_are_called_in_at_most_5_percent_of_analyses():
    called = {}
    for kind in ("normal", "censored", "skewed"):
        generator = np.random.default_rng(0)
        analyses = [
            judged(shuffled(drawn_table(np.random.default_rng(number % 20), kind=kind), generator))
            for number in range(NUM_SHUFFLES)
        ]
        called[kind] = sum(any(one.verdict != "undecided" for one in found) for found in analyses)
    assert max(called.values()) <= MOST_FALSE[NUM_SHUFFLES]
    assert sum(called.values()) <= 0.05 * 3 * NUM_SHUFFLES


def test_arms_as_far_away_as_the_smallest_effect_are_called_equivalent_in_at_most_5_percent_of_analyses():
    generator = np.random.default_rng(1)
    called = 0
    for _ in range(NUM_ANALYSES):
        table = generator.normal(0, 1, (NUM_ARMS + 1, 20))
        table[1:] += 0.8
        called += any(one.verdict == "equivalent" for one in judged(table, smallest_effect=0.8))
    assert called <= MOST_FALSE[NUM_ANALYSES]


def test_planted_effects_are_found_with_the_power_that_is_forecast():
    generator = np.random.default_rng(2)
    effect = power_of(num_seeds=NUM_SEEDS, num_arms=NUM_ARMS)[1] * np.sqrt(2)  # of two chains' difference
    found = 0
    for _ in range(NUM_ANALYSES):
        table = drawn_table(generator, kind="normal")
        table[1] += effect
        found += judged(table)[0].verdict == "better"
    assert found / NUM_ANALYSES == pytest.approx(0.8, abs=0.05)  # Levene's test rejects one variance now and then


def test_intervals_hold_for_all_arms_together_with_blocks_and_chains_that_are_missing():
    generator = np.random.default_rng(3)
    shifts, missed = np.array([0.0, 3.0, -1.0, 0.0]), 0
    for _ in range(NUM_ANALYSES):
        table = generator.normal(0, 5, 6) + generator.normal(0, 1, (5, 6))
        table[1:] += shifts[:, None]
        table[[1, 2, 2], [0, 1, 2]] = np.nan
        intervals = [one.interval for one in judged(table)]
        missed += any(not own.low <= shift <= own.high for own, shift in zip(intervals, shifts, strict=True))
    assert missed <= MOST_FALSE[NUM_ANALYSES]


def test_one_arm_is_judged_by_the_paired_t_test():
    baseline, arm = [1.0, 2.0, 2.5, 4.0], [1.5, 3.5, 2.9, 5.0]
    (found,) = judged([baseline, arm])
    expected = stats.ttest_rel(arm, baseline)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(expected.confidence_interval()))


def test_what_a_seed_adds_to_all_arms_changes_no_verdict():
    table = np.random.default_rng(4).normal(size=(5, 4))
    plain, moved = judged(table), judged(table + 100 * np.arange(4))
    assert [one.p_value for one in plain] == pytest.approx([one.p_value for one in moved])


def test_many_arms_and_few_seeds_find_what_each_arms_own_variance_cannot():
    table = np.random.default_rng(5).normal(size=(11, 3))
    table[1] += 5
    assert judged(table)[0].verdict == "better"
    assert 10 * stats.ttest_rel(table[1], table[0]).pvalue > 0.05


def test_arms_at_a_bound_are_judged_by_their_own_variance_and_do_not_narrow_the_others():
    table = np.random.default_rng(6).normal(5, 1, (6, 8))
    bound = np.vstack([table, np.zeros((4, 8))])
    without, beside = judged(table), judged(bound)
    assert [one.variance for one in beside] == ["pooled"] * 5 + ["own"] * 4
    assert {one.verdict for one in beside[5:]} == {"worse"}
    for one, other in zip(without, beside[:5], strict=True):
        assert other.interval.high - other.interval.low > one.interval.high - one.interval.low
        assert other.p_value >= one.p_value


def test_beside_a_baseline_at_a_bound_no_variance_is_pooled():
    table = np.random.default_rng(7).normal(3, 1, (6, 8))
    table[0] = 0.0
    assert "pooled" not in {one.variance for one in judged(table)}
    assert {one.verdict for one in judged(table)} == {"better"}


def test_variances_that_differ_are_moderated_but_never_below_the_arms_own():
    table = np.random.default_rng(8).normal(size=(8, 10))
    table[7] *= 20
    differences = table[1:] - table[0]
    assert {one.variance for one in judged(table)} == {"moderated", "own"}
    for one, own in zip(judged(table), differences, strict=True):
        error = own.std(ddof=1) / np.sqrt(10)
        assert one.p_value >= 2 * stats.norm.sf(abs(own.mean()) / error)
    assert judged(table)[-1].variance == "own"


def test_variances_of_two_arms_are_too_few_to_be_moderated():
    table = np.random.default_rng(8).normal(size=(3, 10))
    table[2] *= 20
    assert {one.variance for one in judged(table)} == {"own"}


def test_arms_without_effect_of_which_some_spread_eight_times_as_far_are_rarely_called():
    generator = np.random.default_rng(9)
    called = 0
    for _ in range(NUM_ANALYSES):
        table = generator.normal(0, 1, (NUM_ARMS + 1, NUM_SEEDS)) * np.r_[1, 1, 1, 1, 1, 8, 8, 8, 8][:, None]
        called += any(one.verdict != "undecided" for one in judged(table))
    assert called <= MOST_FALSE[NUM_ANALYSES]


def test_arms_within_the_smallest_effect_are_equivalent_and_without_one_none_is():
    table = np.random.default_rng(10).normal(0, 0.1, (4, 10))
    table[3] += 3
    found = judged(table, smallest_effect=1.0)
    assert [one.verdict for one in found] == ["equivalent", "equivalent", "better"]
    assert all(one.p_equivalent < 0.05 for one in found[:2])
    assert {one.p_equivalent for one in judged(table)} == {None}
    assert [one.verdict for one in judged(table)][2] == "better"


def test_a_difference_that_is_sure_but_too_small_to_matter_is_equivalent():
    table = np.random.default_rng(11).normal(0, 0.01, (3, 10)) + np.array([0, 0.1, 0.1])[:, None]
    assert {one.verdict for one in judged(table)} == {"better"}
    assert {one.verdict for one in judged(table, smallest_effect=0.5)} == {"equivalent"}


def test_secondary_outcomes_are_corrected_for_their_number():
    table = np.random.default_rng(12).normal(size=(5, 6))
    table[1] += 1.5
    alone, among = judged(table)[0], judged(table, num_outcomes=5)[0]
    assert among.p_value == pytest.approx(min(5 * alone.p_value, 1))
    assert among.interval.high - among.interval.low > alone.interval.high - alone.interval.low


@pytest.mark.parametrize("num_outcomes", [1, 5])
def test_a_verdict_is_given_exactly_where_the_interval_excludes_zero(num_outcomes):
    generator = np.random.default_rng(13)
    for _ in range(100):
        table = generator.normal(size=(7, 4))
        table[1:] += np.array([0, 1, 2, 3, 4, 5])[:, None]
        if generator.random() < 0.3:
            table[2:4] = 0
        if generator.random() < 0.3:
            table[4] *= 10
        for one in judged(table, num_outcomes=num_outcomes):
            assert (one.interval.low > 0 or one.interval.high < 0) == (one.verdict != "undecided")


def test_an_arm_with_one_shared_seed_is_not_judged():
    lone, paired = judge(by_seed([1, 2, 3]), [{0: 1.0, 7: 2.0}, by_seed([2, 3.5, 4])])
    assert lone is None
    assert paired.p_value == pytest.approx(stats.ttest_rel([2, 3.5, 4], [1, 2, 3]).pvalue)
