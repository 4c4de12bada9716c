"""Dunnett's test against tables, scipy's reference and simulation; Smyth's variances against their known law."""

import numpy as np
import pytest
from scipy import stats

from collapsar.study.comparison import forecast_power, power_of
from collapsar.study.simultaneous import (
    SPREAD_LEVEL,
    LargestT,
    block_residuals,
    dunnett_correlation,
    have_one_variance,
    levene_p,
    moderated,
)


def test_without_blocks_the_p_values_are_those_of_scipys_dunnett():
    generator = np.random.default_rng(0)
    control, *samples = (generator.normal(mean, 1, size) for mean, size in ((0, 9), (0.9, 6), (-1.2, 12), (0.3, 5)))
    every = [control, *samples]
    df = sum(map(len, every)) - len(every)
    variance = sum(((own - own.mean()) ** 2).sum() for own in every) / df
    shares = [np.sqrt(len(own) / (len(own) + len(control))) for own in samples]
    correlation = np.outer(shares, shares)
    np.fill_diagonal(correlation, 1.0)
    largest = LargestT(correlation, df=df)
    errors = [np.sqrt(variance * (1 / len(own) + 1 / len(control))) for own in samples]
    found = [
        largest.p_value(abs(own.mean() - control.mean()) / error) for own, error in zip(samples, errors, strict=True)
    ]
    assert found == pytest.approx(stats.dunnett(*samples, control=control, random_state=1).pvalue, abs=3e-3)


@pytest.mark.parametrize(("num_arms", "df", "critical"), [(1, 20, 2.09), (2, 20, 2.38), (4, 20, 2.65), (9, 20, 2.95)])
def test_critical_values_are_those_of_dunnetts_table(num_arms, df, critical):
    largest = LargestT(dunnett_correlation([range(5)] * num_arms), df=df)
    assert largest.quantile(0.05) == pytest.approx(critical, abs=0.02)


def test_a_statistic_beyond_the_quantile_has_a_p_value_below_the_level():
    largest = LargestT(dunnett_correlation([range(4)] * 3), df=9)
    for level in (0.05, 0.05 / 7, 0.05 / 3):
        critical = largest.quantile(level)
        assert largest.p_value(np.nextafter(critical, np.inf)) < level <= largest.p_value(critical)


def test_differences_over_the_same_seeds_correlate_by_half_and_over_other_seeds_not_at_all():
    found = dunnett_correlation([(0, 1, 2), (0, 1, 2), (3, 4), (2, 3, 4, 5)])
    assert found[0, 1] == 0.5
    assert found[0, 2] == 0
    assert found[2, 3] == pytest.approx(2 / (2 * np.sqrt(8)))


def test_the_correlation_of_differences_is_that_of_drawn_ones():
    generator = np.random.default_rng(0)
    errors = generator.normal(size=(3, 4, 100_000))  # [arm, seed, draw]
    seeds = ([0, 1, 2], [1, 2, 3])
    differences = [(errors[arm][own] - errors[0][own]).mean(axis=0) for arm, own in zip((1, 2), seeds, strict=True)]
    assert np.corrcoef(differences)[0, 1] == pytest.approx(dunnett_correlation(seeds)[0, 1], abs=0.01)


def test_residuals_of_a_full_table_are_what_rows_and_columns_leave():
    table = np.random.default_rng(1).normal(size=(4, 5)) + 100 * np.arange(5)
    residuals, df = block_residuals([dict(enumerate(row)) for row in table])
    expected = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    assert residuals == pytest.approx(expected.ravel())
    assert df == 3 * 4


def test_a_missing_chain_costs_one_degree_of_freedom():
    table = [dict(enumerate(row)) for row in np.random.default_rng(2).normal(size=(4, 5))]
    del table[2][3]
    assert block_residuals(table)[1] == 3 * 4 - 1


@pytest.mark.parametrize("num_alike", [2, 7])
def test_levene_finds_one_arm_that_spreads_ten_times_as_far_beside_what_seeds_add(num_alike):
    generator = np.random.default_rng(3)
    table = generator.normal(size=(num_alike + 1, 10))
    table[-1] *= 10
    assert not have_one_variance([dict(enumerate(row)) for row in table + 100 * np.arange(10)])


def test_levenes_p_value_is_that_of_scipy():
    groups = [np.random.default_rng(6).normal(0, scale, size).tolist() for scale, size in ((1, 5), (2, 7), (1, 4))]
    assert levene_p(groups) == pytest.approx(stats.levene(*groups, center="median").pvalue)


def test_levene_finds_nothing_where_nothing_is_or_can_be_seen():
    table = np.array([[0.0, 1, 2, 3], [1, 0, 3, 2], [0, 1, 3, 2]])
    assert have_one_variance([dict(enumerate(row)) for row in table[:2]])  # of two arms, one is as far from the other
    assert have_one_variance([dict(enumerate(row)) for row in 1000.0 ** np.arange(3)[:, None] * table[:, :2]])
    assert have_one_variance([dict(enumerate(row)) for row in np.ones((3, 4))])


def test_levene_rejects_equal_variances_as_often_as_its_level_says_or_less():
    generator = np.random.default_rng(5)
    tables = generator.normal(size=(300, 6, 5))
    rejected = sum(not have_one_variance([dict(enumerate(row)) for row in table]) for table in tables)
    assert rejected / 300 <= SPREAD_LEVEL


def test_moderated_variances_are_those_that_the_prior_and_the_data_give():
    generator = np.random.default_rng(4)
    prior, prior_df, df = 2.0, 8.0, 4
    true = prior * prior_df / generator.chisquare(prior_df, 4000)
    own = true * generator.chisquare(df, 4000) / df
    found, dfs = moderated(own, [df] * 4000)
    assert dfs[0] == pytest.approx(df + prior_df, rel=0.15)
    assert found == pytest.approx((prior_df * prior + df * own) / (prior_df + df), rel=0.1)


def test_variances_that_differ_by_chance_alone_become_one():
    found, dfs = moderated([1.0, 1.1, 0.9, 1.05], [4] * 4)
    assert np.ptp(found) == 0
    assert dfs.tolist() == [16] * 4


@pytest.mark.parametrize(("num_seeds", "num_arms", "half_width"), [(3, 10, 1.7), (5, 28, 1.4), (10, 28, 0.95)])
def test_half_widths_are_those_that_a_study_is_told(num_seeds, num_arms, half_width):
    assert power_of(num_seeds=num_seeds, num_arms=num_arms)[0] == pytest.approx(half_width, abs=0.05)


def test_with_5_seeds_and_28_arms_an_effect_of_one_and_three_quarter_deviations_is_found():
    assert power_of(num_seeds=5, num_arms=28)[1] == pytest.approx(1.75, abs=0.03)


def settings_of(seed, **regime):
    return {
        "seed": seed,
        "num_generations": 3,
        "data": {"name": "digits"},
        "model": {"_target_": "collapsar.models.vae.vae.VAE"},
        "regime": {"_target_": "collapsar.data.regimes.Replace"} | regime,
        "analysis": {"primary": "recall", "smallest_effect": 0.1},
    }


def test_a_dry_run_says_what_a_comparison_would_find():
    arms = ({}, {"a": 1}, {"b": 2})
    (sentence,) = forecast_power([settings_of(seed, **own) for own in arms for seed in range(4)])
    _, effect = power_of(num_seeds=4, num_arms=2)
    assert sentence.startswith(f"with 4 seeds and 2 arms an effect of {effect:.2f} sd is found")
    assert "0.1 of recall matters; hash " in sentence


def test_without_a_baseline_or_a_second_seed_nothing_is_forecast():
    assert forecast_power([settings_of(seed, a=value) for value in (1, 2, 3) for seed in (0, 1)]) == []
    assert forecast_power([settings_of(0, **own) for own in ({}, {"a": 1}, {"b": 2})]) == []


@pytest.mark.parametrize("num_seeds", range(3, 9))
def test_levene_finds_two_arms_alike_whatever_rounding_does(num_seeds):
    generator = np.random.default_rng(num_seeds)
    for _ in range(50):
        first = generator.normal(size=num_seeds)
        second = first + generator.normal(0, 0.05, num_seeds)
        assert have_one_variance([dict(enumerate(first)), dict(enumerate(second))])  # one is as far from the other
