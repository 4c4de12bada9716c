"""Effects of arms against planted truths, worked examples and reference implementations."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from collapsar.study.simultaneous import holm, holm_levels
from collapsar.study.verdicts import effects, probability_of_improvement

NUM_SEEDS, NUM_ARMS, NUM_ANALYSES = 10, 8, 1000
HORIZON = 7.0


@pytest.fixture
def _few_resamples(monkeypatch):
    """Quick analyses: no verdict rests on the bootstrap."""
    monkeypatch.setattr("collapsar.study.verdicts.NUM_RESAMPLES", 1)


def by_seed(values):
    return dict(enumerate(map(float, values)))


def drawn_effects(generator, *, shifts):
    """One analysis of noisy half-lives, censored at the horizon: a baseline, and arms that are shifted by so much."""
    values = 3.0 + np.array([0.0, *shifts])[:, None] + generator.normal(0, 1, (len(shifts) + 1, NUM_SEEDS))
    baseline, *arms = np.minimum(values, HORIZON)
    return effects(by_seed(baseline), [by_seed(arm) for arm in arms])


@pytest.mark.usefixtures("_few_resamples")
def test_a_lever_without_effect_is_called_better_or_worse_in_at_most_80_of_1000_analyses():
    generator = np.random.default_rng(0)
    called = 0
    for _ in range(NUM_ANALYSES):
        found = drawn_effects(generator, shifts=[0.0] * NUM_ARMS)
        called += any(effect.verdict != "undecided" for effect in found)
    assert called <= 80


@pytest.mark.usefixtures("_few_resamples")
def test_a_lever_with_a_known_effect_is_found_among_those_without():
    generator = np.random.default_rng(1)
    found = [drawn_effects(generator, shifts=[3.0, -3.0, *[0.0] * (NUM_ARMS - 2)])[:2] for _ in range(200)]
    assert sum(better.verdict == "better" for better, _ in found) >= 190
    assert sum(worse.verdict == "worse" for _, worse in found) >= 190


@pytest.mark.usefixtures("_few_resamples")
def test_a_lever_without_effect_is_rarely_called_beside_one_that_has_one():
    generator = np.random.default_rng(2)
    found = [drawn_effects(generator, shifts=[3.0, *[0.0] * (NUM_ARMS - 1)])[1:] for _ in range(NUM_ANALYSES)]
    called = [any(effect.verdict != "undecided" for effect in analysis) for analysis in found]
    assert sum(called) <= 80


def test_the_difference_is_the_paired_t_interval_over_shared_seeds():
    baseline, arm = {0: 1.0, 1: 2.0, 2: 2.5, 8: 9.0}, {0: 1.5, 1: 3.5, 2: 2.9, 9: 0.0}
    (effect,) = effects(baseline, [arm])
    expected = stats.ttest_rel([1.5, 3.5, 2.9], [1.0, 2.0, 2.5])
    low, high = expected.confidence_interval()
    assert (effect.difference.low, effect.difference.high) == pytest.approx((low, high))
    assert effect.difference.num_seeds == 3
    assert effect.p_value == pytest.approx(expected.pvalue)  # one arm needs no correction


def test_holm_is_the_worked_example():
    # .01 x 4, then .02 x 3 = .06, then .03 x 2 = .06, then max(.06, .04)
    assert holm([0.02, 0.01, 0.04, 0.03]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_holm_is_that_of_statsmodels():
    p_values = np.random.default_rng(7).uniform(0, 0.2, 12)
    assert holm(p_values.tolist()) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_levels_step_down_until_one_is_missed():
    assert holm_levels([0.02, 0.01, 0.04, 0.03]) == pytest.approx([0.05 / 3, 0.05 / 4, 0.05 / 3, 0.05 / 3])
    assert holm_levels([0.001, 0.001]) == pytest.approx([0.05 / 2, 0.05])


@pytest.mark.usefixtures("_few_resamples")
def test_a_verdict_is_given_exactly_where_the_interval_that_decides_excludes_zero():
    generator = np.random.default_rng(3)
    for _ in range(100):
        for effect in drawn_effects(generator, shifts=[2.0, 1.5, 1.0, 0.5, 0.0]):
            own, judged = effect.corrected, effect.judged.interval
            assert (judged.low > 0 or judged.high < 0) == (effect.verdict != "undecided")
            assert (own.low > 0 or own.high < 0) == (effect.p_value < 0.05)


@pytest.mark.usefixtures("_few_resamples")
def test_the_corrected_interval_is_never_narrower():
    for effect in drawn_effects(np.random.default_rng(4), shifts=[1.0, 0.0]):
        assert effect.corrected.low <= effect.difference.low
        assert effect.corrected.high >= effect.difference.high


def test_an_arm_that_is_better_by_the_same_amount_in_every_seed_is_better():
    baseline = by_seed([10.0, 12.0, 15.0])
    same, better, worse = effects(baseline, [by_seed(np.array([10, 12, 15]) + shift) for shift in (0, 10, -10)])
    assert [effect.verdict for effect in (same, better, worse)] == ["undecided", "better", "worse"]
    assert [effect.p_value for effect in (same, better, worse)] == [1.0, 0.0, 0.0]
    assert (same.difference.low, same.difference.high) == (0.0, 0.0)
    assert (better.corrected.low, better.corrected.high) == (10.0, 10.0)


@pytest.mark.parametrize("shift", [0.0, 0.1, -0.1])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("num_seeds", [2, 5])
def test_differences_that_are_equal_but_for_rounding_are_equal(shift, scale, num_seeds):
    baseline = scale * np.array([0.1, 0.7, 1.3, 2.9, 4.1])[:num_seeds]
    arm = baseline.copy() + shift * scale
    arm[::2] = np.nextafter(arm[::2], np.inf)
    (effect,) = effects(by_seed(baseline), [by_seed(arm)])
    assert effect.verdict == {0.0: "undecided", 0.1: "better", -0.1: "worse"}[shift]
    assert effect.p_value == (0.0 if shift else 1.0)
    assert effect.difference.low == effect.difference.high == pytest.approx(shift * scale)


def test_runs_that_are_equal_but_for_rounding_are_ties():
    assert probability_of_improvement(np.array([0.3, 0.3]), np.array([0.1 + 0.2, 0.3])).mean == 0.5


def test_p_values_of_0_leave_the_correction_of_the_others_as_holm_has_it():
    baseline = by_seed([1.0, 2.0, 3.0])
    shifted, twin, noisy, same = effects(
        baseline, [by_seed([2, 3, 4]), by_seed([0, 1, 2]), by_seed([1.5, 3.5, 3.9]), baseline]
    )
    own = stats.ttest_rel([1.5, 3.5, 3.9], [1, 2, 3]).pvalue
    assert [effect.p_value for effect in (shifted, twin, noisy, same)] == pytest.approx([0.0, 0.0, 2 * own, 1.0])


def test_an_arm_with_one_shared_seed_has_no_effect_and_is_no_part_of_the_correction():
    lone, paired = effects(by_seed([1, 2, 3]), [{0: 1.0, 7: 2.0}, by_seed([2, 3.5, 4])])
    assert lone is None
    assert paired.p_value == pytest.approx(stats.ttest_rel([2, 3.5, 4], [1, 2, 3]).pvalue)


def test_the_probability_of_improvement_is_the_share_of_pairs_with_ties_by_half():
    # of 2 x 2 pairs (arm, baseline): 1 < 2, 1 = 1, 3 > 2, 3 > 1
    found = probability_of_improvement(np.array([2.0, 1.0]), np.array([1.0, 3.0]))
    assert found.mean == (0 + 0.5 + 1 + 1) / 4


def test_the_probability_of_improvement_is_mann_whitneys():
    generator = np.random.default_rng(5)
    baseline, arm = generator.normal(0, 1, 10), generator.normal(0.5, 1, 10)
    statistic = stats.mannwhitneyu(arm, baseline).statistic
    assert probability_of_improvement(baseline, arm).mean == pytest.approx(statistic / 100)


def test_the_bootstrap_of_an_arm_that_is_always_better_has_no_spread():
    found = probability_of_improvement(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    assert (found.mean, found.low, found.high) == (1.0, 1.0, 1.0)


def test_the_interval_of_the_probability_of_improvement_is_the_percentile_bootstrap():
    generator = np.random.default_rng(6)
    baseline, arm = generator.normal(0, 1, 10), generator.normal(0.7, 1, 10)
    drawn = [np.mean(generator.choice(arm, 10)[:, None] > generator.choice(baseline, 10)[None, :]) for _ in range(4000)]
    found = probability_of_improvement(baseline, arm)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.03)
