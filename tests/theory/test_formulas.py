"""Each closed form against a simulation that knows nothing of the package, or against an exact small case."""

from math import pi, sin, sqrt

import numpy as np
import pytest
from scipy import stats

from collapsar.theory import formulas, recursions

NUM_CHAINS = 40_000


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def fit(samples, *, ddof):
    return samples.mean(1), samples.var(1, ddof=ddof)


def replace_chain(rng, *, num_samples, num_fits, ddof, spread=1.0):
    """Mean and variance of every chain after `num_fits` fits, the first of them to real data from N(0, 1)."""
    mean, variance = np.zeros(NUM_CHAINS), np.ones(NUM_CHAINS)
    for number in range(num_fits):
        scale = np.sqrt(variance * (spread if number else 1.0))
        mean, variance = fit(mean[:, None] + scale[:, None] * rng.normal(size=(NUM_CHAINS, num_samples)), ddof=ddof)
    return mean, variance


def assert_mean(values, expected):
    standard_error = values.std() / sqrt(len(values))
    assert abs(values.mean() - expected) < 4.5 * standard_error
    assert standard_error < 0.03 * abs(expected)  # else the line above proves little


def test_maximum_likelihood_variance_decays_under_replace(rng):
    mean, variance = replace_chain(rng, num_samples=10, num_fits=6, ddof=0)
    assert_mean(variance, 1 - formulas.squared_mean_under_replace(5, num_samples=10))
    assert_mean(mean**2, formulas.squared_mean_under_replace(5, num_samples=10))
    assert_mean(mean**2 + variance, formulas.SECOND_MOMENT)


@pytest.mark.parametrize("is_unbiased", [False, True])
def test_median_variance_is_approximated(rng, is_unbiased):
    _, variance = replace_chain(rng, num_samples=50, num_fits=50, ddof=int(is_unbiased))
    expected = formulas.median_variance_under_replace(49, num_samples=50, is_unbiased=is_unbiased)
    assert np.median(variance) == pytest.approx(expected, rel=0.05)


def test_unbiased_variance_keeps_its_mean_and_shrinks_in_every_other_sense(rng):
    mean, variance = replace_chain(rng, num_samples=10, num_fits=5, ddof=1)
    assert_mean(variance, formulas.variance_under_biased_replace(4, spread=1.0))
    assert_mean(np.sqrt(variance), formulas.sd_shrinkage(10) ** 5)
    assert_mean(np.log(variance), 5 * formulas.log_variance_change(num_samples=10, num_dimensions=1))
    distance = mean**2 + (np.sqrt(variance) - 1) ** 2
    assert_mean(distance, formulas.wasserstein_under_replace(4, num_samples=10))


def test_sd_shrinkage_is_the_mean_of_the_chi_distribution():
    assert formulas.sd_shrinkage(10) == pytest.approx(stats.chi(9).mean() / 3)


def test_wasserstein_distance_starts_at_one_and_a_half_fits_per_sample():
    assert formulas.wasserstein_under_replace(9, num_samples=10_000) == pytest.approx(1.5e-3, rel=1e-3)


def test_biased_sampling_shrinks_variance_by_lambda_each_generation(rng):
    _, variance = replace_chain(rng, num_samples=20, num_fits=4, ddof=1, spread=0.8)
    assert_mean(variance, formulas.variance_under_biased_replace(3, spread=0.8))


def test_variance_under_accumulate_is_the_product(rng):
    pool = rng.normal(size=(NUM_CHAINS, 5))
    for _ in range(5):
        mean, variance = fit(pool, ddof=0)
        drawn = mean[:, None] + np.sqrt(variance)[:, None] * rng.normal(size=(NUM_CHAINS, 5))
        pool = np.concatenate([pool, drawn], axis=1)
    assert_mean(pool.var(1), 1 - formulas.squared_mean_under_accumulate(5, num_samples=5))


def test_variance_under_accumulate_tends_to_its_limit():
    angle = pi / sqrt(10)
    late = 1 - formulas.squared_mean_under_accumulate(20_000, num_samples=10)
    assert late == pytest.approx(sin(angle) / angle, rel=1e-5)


def test_the_walk_with_kept_real_data_follows_its_recursion(rng):
    real = rng.normal(size=(NUM_CHAINS, 12))
    mean, variance = fit(real, ddof=0)
    for _ in range(5):
        synthetic = mean[:, None] + np.sqrt(variance)[:, None] * rng.normal(size=(NUM_CHAINS, 6))
        kept = rng.permuted(real, axis=1)[:, :4]
        mean, variance = fit(np.concatenate([kept, synthetic], axis=1), ddof=0)
    expected = formulas.squared_mean_with_fixed_real(5, num_real=12, num_real_kept=4, num_synthetic=6)
    assert_mean(mean**2, expected)
    assert_mean(variance, 1 - expected)


def test_the_walk_of_a_subsample_follows_its_recursion(rng):
    archive = rng.normal(size=(NUM_CHAINS, 8))
    for _ in range(4):
        mean, variance = fit(rng.permuted(archive, axis=1)[:, :8], ddof=0)
        drawn = mean[:, None] + np.sqrt(variance)[:, None] * rng.normal(size=(NUM_CHAINS, 8))
        archive = np.concatenate([archive, drawn], axis=1)
    assert_mean(mean**2, formulas.squared_mean_of_pools(3, num_samples=8, num_kept=None, budget=8))


def test_the_walk_of_a_window_follows_its_recursion(rng):
    batches = [rng.normal(size=(NUM_CHAINS, 8))]
    for _ in range(6):
        mean, variance = fit(np.concatenate(batches[-2:], axis=1), ddof=0)
        batches.append(mean[:, None] + np.sqrt(variance)[:, None] * rng.normal(size=(NUM_CHAINS, 8)))
    assert_mean(mean**2, formulas.squared_mean_of_pools(5, num_samples=8, num_kept=2, budget=None))


def test_a_window_lies_between_replace_and_accumulate():
    settings = {"num_samples": 9}
    one, all_of_them = (formulas.squared_mean_of_pools(6, num_kept=kept, budget=None, **settings) for kept in (1, 7))
    assert one == pytest.approx(formulas.squared_mean_under_replace(6, **settings))
    assert all_of_them == pytest.approx(formulas.squared_mean_under_accumulate(6, **settings))


def test_weighted_fits_walk_as_the_recursion_says(rng):
    real_weight, (mean, variance) = 0.7, fit(rng.normal(size=(NUM_CHAINS, 10)), ddof=0)
    for _ in range(5):
        synthetic = mean[:, None] + np.sqrt(variance)[:, None] * rng.normal(size=(NUM_CHAINS, 20))
        pool = np.concatenate([rng.normal(size=(NUM_CHAINS, 10)), synthetic], axis=1)
        weights = np.repeat([real_weight / 10, (1 - real_weight) / 20], [10, 20])
        mean, variance = pool @ weights, pool**2 @ weights - (pool @ weights) ** 2
    expected = formulas.squared_mean_with_weights(5, real_weight=real_weight, num_real=10, num_synthetic=20)
    assert_mean(mean**2, expected)


@pytest.mark.parametrize("real_per_synthetic", [0.25, 1.0, 4.0])
def test_golden_ratio_weight_is_the_best_weight(real_per_synthetic):
    def late_error(weight):
        num_real = round(100_000 * real_per_synthetic)
        return formulas.squared_mean_with_weights(400, real_weight=weight, num_real=num_real, num_synthetic=100_000)

    best = formulas.golden_ratio_weight(real_per_synthetic)
    assert late_error(best) < min(late_error(best - 0.01), late_error(best + 0.01))


def test_golden_ratio_weight_gives_the_published_errors():
    weight = formulas.golden_ratio_weight(1.0)
    errors = [
        100_000 * formulas.squared_mean_with_weights(400, real_weight=chosen, num_real=100_000, num_synthetic=100_000)
        for chosen in (weight, 0.5)
    ]
    assert weight == pytest.approx((sqrt(5) - 1) / 2)
    assert errors == pytest.approx([0.618, 0.667], abs=1e-3)


@pytest.mark.parametrize("accumulates", [False, True])
def test_regression_error_follows_its_law(rng, accumulates):
    num_samples, num_inputs, errors = 20, 4, []
    for _ in range(4000):
        inputs = rng.normal(size=(num_samples, num_inputs))
        fitter = np.linalg.pinv(inputs)
        weights = np.zeros((num_inputs, 10))
        outputs = []
        for _ in range(5):
            outputs.append(inputs @ weights + rng.normal(size=(num_samples, 10)))
            weights = fitter @ (np.mean(outputs, axis=0) if accumulates else outputs[-1])
        errors.append((weights**2).sum(0).mean())
    settings = {"num_samples": num_samples, "num_inputs": num_inputs, "noise_variance": 1.0}
    assert_mean(np.array(errors), formulas.regression_error(4, accumulates=accumulates, **settings))


def test_regression_error_under_accumulate_never_passes_its_bound():
    settings = {"num_samples": 50, "num_inputs": 10, "noise_variance": 1.0}
    first = formulas.regression_error(0, accumulates=False, **settings)
    late = formulas.regression_error(5000, accumulates=True, **settings)
    assert late == pytest.approx(pi**2 / 6 * first, rel=1e-3)


SHARES = [0.5, 0.3, 0.15, 0.05]


def wright_fisher(rng, *, num_samples, num_fits):
    shares = np.tile(SHARES, (NUM_CHAINS, 1))
    for _ in range(num_fits):
        shares = rng.multinomial(num_samples, shares) / num_samples
    return shares


def test_heterozygosity_decays_under_replace(rng):
    shares = wright_fisher(rng, num_samples=20, num_fits=11)
    variance = 1 - formulas.squared_mean_under_replace(10, num_samples=20)
    expected = recursions.heterozygosity(variance, shares=SHARES)
    assert_mean(1 - (shares**2).sum(1), expected)


def test_a_category_takes_over_as_often_as_its_share_says(rng):
    shares = wright_fisher(rng, num_samples=8, num_fits=150)
    for number, share in enumerate(SHARES):
        assert_mean((shares[:, number] == 1.0).astype(float), share)


@pytest.mark.parametrize("generation", [0, 3, 12])
def test_alive_categories_stay_above_their_bound(rng, generation):
    alive = (wright_fisher(rng, num_samples=20, num_fits=generation + 1) > 0).sum(1)
    bound = formulas.alive_categories_lower_bound(generation, num_samples=20, shares=SHARES)
    assert bound <= alive.mean() <= 1.2 * bound


def test_log_generalised_variance_falls_at_the_wishart_rate(rng):
    scatter = stats.wishart(df=29, scale=np.eye(5) / 29).rvs(4000, random_state=rng)
    changes = np.linalg.slogdet(scatter)[1] / 5
    assert_mean(changes, formulas.log_variance_change(num_samples=30, num_dimensions=5))


def test_log_variance_change_of_the_worked_example():
    assert formulas.log_variance_change(num_samples=100, num_dimensions=32) == pytest.approx(-0.18863, abs=5e-6)
