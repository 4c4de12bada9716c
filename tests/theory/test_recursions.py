"""Closed forms of loops with fresh data, kernels and curation, against simulations that know nothing of the package."""

from math import log, sqrt

import numpy as np
import pytest
from scipy.stats import norm

from collapsar.theory import formulas, recursions
from collapsar.theory.fitted import fitted_values

NUM_CHAINS = 40_000


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def assert_mean(values, expected):
    standard_error = values.std() / sqrt(len(values))
    assert abs(values.mean() - expected) < 4 * standard_error
    assert standard_error < 0.01 * abs(expected)  # a law that is five per cent wrong would fail


def fresh_loop(rng, draw, *, num_real, num_samples, num_fresh, num_generations):
    """The last pool of many chains; `draw(pool, n)` samples a model of each."""
    pool = rng.normal(size=(NUM_CHAINS, num_real))
    for _ in range(num_generations):
        fresh = rng.normal(size=(NUM_CHAINS, num_fresh))
        pool = np.concatenate([fresh, draw(pool, num_samples - num_fresh)], axis=1)
    return pool


SIZES = [
    {"num_real": 10, "num_samples": 15, "num_fresh": 5},
    {"num_real": 10, "num_samples": 6, "num_fresh": 0},
    {"num_real": 10, "num_samples": 20, "num_fresh": 10},
]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("spread", "relative", "absolute"), [(1, 0, 0), (0.7, 0, 0), (1, 0.5, 0), (1, 0, 0.6)])
def test_moments_with_fresh_real_data(rng, sizes, spread, relative, absolute):
    def draw(pool, number):
        noise = rng.normal(size=(NUM_CHAINS, number))
        if not (relative or absolute):
            return pool.mean(1, keepdims=True) + sqrt(spread) * pool.std(1, keepdims=True) * noise
        chosen = np.take_along_axis(pool, rng.integers(pool.shape[1], size=(NUM_CHAINS, number)), axis=1)
        return chosen + (absolute + relative * pool.std(1, keepdims=True)) * noise

    pool = fresh_loop(rng, draw, **sizes, num_generations=3)
    scale = spread if spread != 1 else 1 + relative**2
    moments = recursions.moments_with_fresh_real(3, **sizes, scale=scale, added=absolute**2)
    assert_mean(pool.mean(1) ** 2, moments.squared_mean)
    assert_mean(pool.var(1), moments.variance)


def test_moments_without_bias_are_those_of_the_simpler_forms():
    for generation in (0, 1, 7):
        fresh = recursions.moments_with_fresh_real(generation, num_real=20, num_samples=20, num_fresh=4)
        decay = 0.8 * (0.8 - 1 / 20)  # M_{t+1} = 1/n + (1-a) (1-a-1/n) M_t
        assert fresh.squared_mean == pytest.approx(sum(decay**past for past in range(generation + 1)) / 20)
        assert fresh.squared_mean + fresh.variance == pytest.approx(formulas.SECOND_MOMENT)
        none = recursions.moments_with_fresh_real(generation, num_real=20, num_samples=20, num_fresh=0)
        assert none.squared_mean == pytest.approx(formulas.squared_mean_under_replace(generation, num_samples=20))


def test_the_walk_with_fresh_real_data_tends_to_its_limit():
    late = recursions.moments_with_fresh_real(500, num_real=200, num_samples=200, num_fresh=40)
    limit = 1 / (1 - 0.2 + 0.2 * 200 * (2 - 0.2))
    assert late.squared_mean == pytest.approx(limit)
    assert limit == pytest.approx(0.0137, rel=0.01)


def test_a_relative_kernel_diverges_from_its_critical_share_on():
    def variance(num_fresh):
        sizes = {"num_real": 10_000, "num_samples": 10_000, "num_fresh": num_fresh}
        return recursions.moments_with_fresh_real(3_000, **sizes, scale=1.25).variance

    assert variance(1_990) > 100  # the critical share is .2
    assert variance(4_000) == pytest.approx(0.4 / (1 - 0.6 * 1.25), rel=1e-3)


def worth(num_real, num_synthetic, *, spread):
    """The limit of how many times a fit is worth its fresh samples."""
    sizes = {"num_real": num_real, "num_samples": num_real + num_synthetic, "num_fresh": num_real}
    moments = recursions.moments_with_fresh_real(200, **sizes, scale=spread)
    return recursions.effective_sample_size(recursions.wasserstein_of_moments(moments)) / num_real


def test_without_bias_a_fresh_loop_is_worth_two_minus_a_real_samples():
    assert worth(1_000, 10_000, spread=1.0) == pytest.approx(2 - 1 / 11, rel=2e-3)


@pytest.mark.parametrize(("num_real", "spread", "admissible"), [(1_000, 0.85, 215), (300, 0.7, 61)])
def test_the_admissible_number_of_synthetic_samples(num_real, spread, admissible):
    worths = {number: worth(num_real, number, spread=spread) for number in (admissible - 2, admissible + 2)}
    assert worths[admissible - 2] > 1 > worths[admissible + 2]


@pytest.mark.parametrize(("num_synthetic", "spread"), [(113, 0.85), (454, 0.85), (215, 0.85), (1_000, 1.0)])
def test_the_worth_of_a_biased_fresh_loop(rng, num_synthetic, spread):
    num_real, chains = 1_000, 100_000
    mean, variance = rng.normal(size=chains) / sqrt(num_real), rng.chisquare(num_real - 1, chains) / num_real
    for _ in range(20):
        real, own = rng.normal(size=chains) / sqrt(num_real), rng.chisquare(num_real - 1, chains)
        drawn = mean + np.sqrt(spread * variance / num_synthetic) * rng.normal(size=chains)
        others = spread * variance * rng.chisquare(num_synthetic - 1, chains)
        size = num_real + num_synthetic
        between = num_real * num_synthetic / size * (real - drawn) ** 2
        mean, variance = (num_real * real + num_synthetic * drawn) / size, (own + others + between) / size
    distance = mean**2 + (np.sqrt(variance) - 1) ** 2
    assert recursions.effective_sample_size(distance.mean()) / num_real == pytest.approx(
        worth(num_real, num_synthetic, spread=spread), rel=0.015
    )


def test_a_fitted_gaussian_is_worth_its_own_samples(rng):
    samples = rng.normal(size=(500, 4_000))
    found = fitted_values({"mean": list(samples.mean(0)), "variance": list(samples.var(0))}, data="gaussian")
    assert found["fitted/effective_sample_size"] == pytest.approx(500, rel=0.08)
    assert found["fitted/effective_sample_size_of_mean"] == pytest.approx(500, rel=0.1)


def test_only_a_gaussian_fitted_to_the_standard_normal_is_worth_samples():
    fitted = {"mean": [0.1] * 4, "variance": [1.0] * 4}
    assert "fitted/effective_sample_size" not in fitted_values(fitted, data="grid")
    assert "fitted/effective_sample_size" not in fitted_values(fitted | {"kernel_sd": [0.5] * 4}, data="gaussian")
    exact = fitted_values({"mean": [0.0] * 4, "variance": [1.0] * 4}, data="gaussian")
    assert not {key for key in exact if "sample_size" in key}
    assert "fitted/effective_sample_size_of_mean" not in fitted_values(
        {"mean": [0.1, 0.1], "variance": [1.0, 1.0]}, data="gaussian"
    )


def test_kernels_grow_geometrically_with_real_data_and_linearly_without():
    grown = [
        recursions.second_moment_with_kernels(19, kernel_variance=1.0, real_share=share) - 1
        for share in (0.1, 0.5, 0.9)
    ]
    assert grown == pytest.approx([8.784, 2.0, 1.111], abs=1e-3)
    assert recursions.second_moment_with_kernels(9, kernel_variance=0.5, real_share=0) == pytest.approx(6)


def test_accumulated_kernels_grow_harmonically(rng):
    pool = rng.normal(size=(NUM_CHAINS, 6))
    for _ in range(3):
        chosen = np.take_along_axis(pool, rng.integers(pool.shape[1], size=(NUM_CHAINS, 6)), axis=1)
        pool = np.concatenate([pool, chosen + 0.6 * rng.normal(size=(NUM_CHAINS, 6))], axis=1)
    law = recursions.second_moment_with_kernels(3, kernel_variance=0.36, real_share=None)
    assert_mean((pool**2).mean(1) + 0.36, law)


def test_categories_with_real_data_keep_their_heterozygosity(rng):
    shares, drawn = np.array([0.5, 0.3, 0.2]), 6
    counts = rng.multinomial(8, shares, size=NUM_CHAINS)
    for _ in range(3):
        counts = rng.multinomial(2, shares, size=NUM_CHAINS) + rng.multinomial(drawn, counts / 8)
    moments = recursions.moments_with_fresh_real(3, num_real=8, num_samples=8, num_fresh=2)
    expected = recursions.heterozygosity(moments.variance, shares=shares.tolist())
    assert_mean(1 - ((counts / 8) ** 2).sum(1), expected)


def test_curation_by_choice_among_k_nears_its_limit():
    found = {}
    for num_choices in (2, 4, None):
        shares = [0.1] * 10
        for _ in range(5):
            shares = recursions.curated_shares(shares, favoured=[0], strength=2.0, num_choices=num_choices)
        assert sum(shares) == pytest.approx(1)
        found[num_choices] = shares[0]
    assert found == {
        2: pytest.approx(0.79, abs=0.005),
        4: pytest.approx(0.994, abs=5e-4),
        None: pytest.approx(0.9996, abs=5e-5),
    }


@pytest.mark.parametrize("num_choices", [3, 4, None])
@pytest.mark.parametrize("number", [1, 2, 5])
def test_several_preferences_keep_as_many_classes(num_choices, number):
    shares = formulas.zipf_shares(num_categories=10, exponent=1.0)
    for _ in range(400):
        shares = recursions.curated_shares(shares, favoured=list(range(number)), strength=3.0, num_choices=num_choices)
    assert recursions.entropy(shares) == pytest.approx(log(number), abs=0.01)


def test_choices_among_two_leave_the_balance_of_two_preferences_as_it_is():
    shares = [0.5, 0.25, 0.15, 0.1]
    for _ in range(400):
        shares = recursions.curated_shares(shares, favoured=[0, 1], strength=3.0, num_choices=2)
    assert shares == pytest.approx([2 / 3, 1 / 3, 0, 0], abs=1e-6)


@pytest.mark.parametrize(("num_samples", "generation"), [(10, 9), (20, 30)])
def test_the_share_of_chains_that_have_lost_half_of_their_variance(rng, num_samples, generation):
    walk, passed = np.zeros(NUM_CHAINS), np.zeros(NUM_CHAINS, bool)
    for _ in range(generation + 1):
        walk += np.log(rng.chisquare(num_samples - 1, NUM_CHAINS) / (num_samples - 1))
        passed |= walk <= log(0.5)
    share = recursions.first_passage_share(generation, num_samples=num_samples, fraction=0.5)
    assert_mean(passed.astype(float), share)


def test_a_first_passage_in_large_pools_is_inverse_gaussian():
    degrees, time = 999, 300
    level = log(2) + 0.5826 * sqrt(2 / degrees)
    drift, sd = 1 / degrees, sqrt(2 / degrees)
    below = norm.cdf((drift * time - level) / (sd * sqrt(time)))
    reflected = np.exp(2 * drift * level / sd**2) * norm.cdf(-(drift * time + level) / (sd * sqrt(time)))
    share = recursions.first_passage_share(time - 1, num_samples=1_000, fraction=0.5)
    assert share == pytest.approx(below + reflected, abs=0.003)
