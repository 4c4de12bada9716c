from math import pi, sin, sqrt

import pytest
import torch

from collapsar.data.sources.analytic import CategoricalSource, GaussianSource, LinearRegressionSource
from collapsar.data.sources.modes import Grid, Ring
from collapsar.foundations.errors import UsageError

SIZES = {"num_train": 20_000, "num_test": 300, "num_reserve": 400}


def gaussian(*, sample_shape=(3,), seed=0, **sizes):
    return GaussianSource(sample_shape=list(sample_shape), dimensions=3, seed=seed, **(SIZES | sizes))


def ring():
    return Ring(sample_shape=[2], num_modes=8, radius=1, mode_sd=0.01, seed=0, **SIZES)


def grid():
    return Grid(sample_shape=[2], modes_per_side=5, spacing=2, mode_sd=0.05, seed=0, **SIZES)


def categorical(*, dimensions=1):
    return CategoricalSource(
        sample_shape=[dimensions], dimensions=dimensions, num_categories=3, zipf_exponent=1, seed=0, **SIZES
    )


def linear_regression():
    return LinearRegressionSource(sample_shape=[6], dimensions=6, num_inputs=4, noise_sd=2, seed=0, **SIZES)


every_source = pytest.mark.parametrize("make", [gaussian, ring, grid, categorical, linear_regression])


@every_source
def test_sets_have_their_sizes(make):
    real = make().load()
    assert [len(part) for part in (real.train, real.test, real.reserve)] == list(SIZES.values())
    assert real.train.values.dtype == torch.float32


@every_source
def test_the_same_seed_draws_the_same_sets(make):
    assert torch.equal(make().load().train.values, make().load().train.values)


def test_sets_and_seeds_share_no_sample():
    first, second = gaussian().load(), gaussian(seed=1).load()
    parts = [first.train, first.test, first.reserve, second.train]
    values = torch.cat([part.values[:, 0] for part in parts])
    assert len(values.unique()) > 0.99 * len(values)


def test_a_reserve_of_zero_is_none():
    assert gaussian(num_reserve=0).load().reserve is None


def test_gaussian_data_are_standard_normal():
    samples = gaussian().load().train.values
    assert torch.allclose(samples.mean(0), torch.zeros(3), atol=0.03)
    assert torch.allclose(torch.cov(samples.T), torch.eye(3), atol=0.04)


def test_the_ring_has_its_modes_on_the_circle():
    source = ring()
    assert torch.allclose(source.centres.norm(dim=1), torch.ones(8))
    assert torch.pdist(source.centres).min().item() == pytest.approx(2 * sin(pi / 8))


def test_the_grid_is_that_of_the_papers():
    places = [-4.0, -2.0, 0.0, 2.0, 4.0]
    assert sorted(map(tuple, grid().centres.tolist())) == [(x, y) for x in places for y in places]


@pytest.mark.parametrize("make", [ring, grid])
def test_labels_are_the_modes_and_samples_lie_about_them(make):
    source = make()
    real = source.load()
    assert real.num_classes == len(source.centres)
    offsets = real.train.values - source.centres[real.train.labels]
    assert offsets.std().item() == pytest.approx(source.mode_sd, rel=0.02)
    shares = real.train.labels.bincount() / len(real.train)
    assert shares.tolist() == pytest.approx([1 / real.num_classes] * real.num_classes, abs=0.012)


def test_categories_have_their_shares():
    source = categorical()
    real = source.load()
    assert source.shares == pytest.approx([6 / 11, 3 / 11, 2 / 11])
    assert (real.train.labels.bincount() / len(real.train)).tolist() == pytest.approx(source.shares, abs=0.015)
    assert torch.equal(real.train.values.squeeze(1).long(), real.train.labels)
    assert real.num_classes == 3


def test_categories_in_many_dimensions_are_drawn_by_themselves():
    real = categorical(dimensions=2).load()
    assert real.num_classes == 0
    assert abs(torch.corrcoef(real.train.values.T)[0, 1]) < 0.03


def test_outputs_are_linear_in_the_inputs_with_their_own_noise():
    source = linear_regression()
    samples = source.load().train.values
    assert source.coefficients.norm().item() == pytest.approx(1)
    noise = samples[:, 4:] - (samples[:, :4] @ source.coefficients).unsqueeze(1)
    assert torch.allclose(torch.cov(noise.T), 4 * torch.eye(2), atol=0.15)
    assert abs(noise.mean()) < 5 * 2 / sqrt(2 * len(samples))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: gaussian(sample_shape=[4]), r"sample_shape must be \[3\].*got \[4\]"),
        (lambda: gaussian(num_train=0), "num_train must be above 0: got 0"),
        (lambda: gaussian(num_reserve=-1), "num_reserve must be at least 0: got -1"),
        (
            lambda: LinearRegressionSource(sample_shape=[2], dimensions=2, num_inputs=2, noise_sd=1, seed=0, **SIZES),
            "num_inputs must be between 1 and 1: got 2",
        ),
    ],
)
def test_settings_out_of_range_are_refused(build, message):
    with pytest.raises(UsageError, match=message):
        build()
