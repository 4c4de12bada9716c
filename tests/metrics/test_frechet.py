import math

import pytest
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from collapsar.foundations.errors import UsageError
from collapsar.metrics.frechet import (
    Moments,
    compute_moments,
    debiased_frechet_distance,
    frechet_distance,
    frechet_distance_at_infinity,
    frechet_distance_from_moments,
    kernel_distance,
    mean_kernel,
)


def make_generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(num_samples, feature_dim, *, seed=0, dtype=torch.float64):
    return torch.randn(num_samples, feature_dim, generator=make_generator(seed), dtype=dtype)


def make_moments(mean, covariance):
    return Moments(
        mean=torch.tensor(mean, dtype=torch.float64),
        covariance=torch.tensor(covariance, dtype=torch.float64),
    )


def spread_points(*, mean, standard_deviations):
    """Points m ± s_i sqrt(c) e_i whose unbiased covariance is exactly diag(standard_deviations²)."""
    mean = torch.tensor(mean, dtype=torch.float64)
    factor = math.sqrt((2 * len(mean) - 1) / 2)
    steps = torch.diag(torch.tensor(standard_deviations, dtype=torch.float64)) * factor
    return torch.cat([mean + steps, mean - steps])


CLOSED_FORMS = [
    (([0.0], [[1.0]]), ([3.0], [[4.0]]), 10.0),
    (([0.0] * 3, [[1.0, 0, 0], [0, 4.0, 0], [0, 0, 9.0]]), ([1.0] * 3, [[4.0, 0, 0], [0, 4.0, 0], [0, 0, 1.0]]), 8.0),
    (
        ([0.0, 0.0], [[2.0, 1.0], [1.0, 2.0]]),
        ([0.0, 0.0], [[1.0, 0.0], [0.0, 4.0]]),
        9.0 - 2.0 * math.sqrt(10.0 + 2.0 * math.sqrt(12.0)),
    ),
    (([0.0, 0.0], [[4.0, 0.0], [0.0, 9.0]]), ([0.0, 0.0], [[1.0, 0.0], [0.0, 0.0]]), 10.0),
    (([0.0, 0.0], [[1.0, 0.0], [0.0, 0.0]]), ([0.0, 0.0], [[0.0, 0.0], [0.0, 1.0]]), 2.0),
]


@pytest.mark.parametrize(("real", "synthetic", "expected"), CLOSED_FORMS)
def test_moments_meet_the_closed_form(real, synthetic, expected):
    real, synthetic = make_moments(*real), make_moments(*synthetic)
    assert frechet_distance_from_moments(real=real, synthetic=synthetic) == pytest.approx(expected, abs=1e-12)
    assert frechet_distance_from_moments(real=synthetic, synthetic=real) == pytest.approx(expected, abs=1e-12)


def test_samples_with_exact_moments_meet_the_closed_form():
    real = spread_points(mean=[0.0, 0.0, 0.0], standard_deviations=[1.0, 2.0, 3.0])
    synthetic = spread_points(mean=[1.0, 1.0, 1.0], standard_deviations=[2.0, 2.0, 1.0])
    assert frechet_distance(real=real, synthetic=synthetic) == pytest.approx(8.0, abs=1e-10)


def test_expectation_for_two_samples_of_one_gaussian():
    feature_dim, num_real, num_synthetic = 4, 2000, 1000
    distances = [
        frechet_distance(
            real=draw(num_real, feature_dim, seed=seed), synthetic=draw(num_synthetic, feature_dim, seed=seed + 1000)
        )
        for seed in range(200)
    ]
    expected = (1 / num_real + 1 / num_synthetic) * (feature_dim + feature_dim * (feature_dim + 1) / 4)
    mean = sum(distances) / len(distances)
    assert mean == pytest.approx(expected, rel=0.08)


def test_distance_of_a_set_to_itself_is_zero():
    real = draw(200, 16)
    assert frechet_distance(real=real, synthetic=real) == pytest.approx(0.0, abs=1e-10)


def test_distance_is_symmetric_and_ignores_rotation_and_shift_and_scales_squared():
    real, synthetic = draw(300, 6), 1.5 * draw(250, 6, seed=1) + 0.3
    rotation = torch.linalg.qr(draw(6, 6, seed=2)).Q
    distance = frechet_distance(real=real, synthetic=synthetic)
    assert frechet_distance(real=synthetic, synthetic=real) == pytest.approx(distance, rel=1e-10)
    assert frechet_distance(real=real @ rotation, synthetic=synthetic @ rotation) == pytest.approx(distance, rel=1e-10)
    assert frechet_distance(real=real + 1e4, synthetic=synthetic + 1e4) == pytest.approx(distance, rel=1e-8)
    assert frechet_distance(real=7.0 * real, synthetic=7.0 * synthetic) == pytest.approx(49.0 * distance, rel=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("num_real", "num_synthetic", "feature_dim"), [(400, 300, 16), (300, 400, 64), (2000, 1000, 2)]
)
def test_distance_equals_torch_fidelity(dtype, num_real, num_synthetic, feature_dim):
    real = draw(num_real, feature_dim, dtype=dtype)
    synthetic = 0.8 * draw(num_synthetic, feature_dim, seed=1, dtype=dtype) + 0.1
    statistics = [fid_features_to_statistics(features.double()) for features in (real, synthetic)]
    expected = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(real=real, synthetic=synthetic) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("num_real", "num_synthetic"), [(20, 30), (20, 300), (300, 20), (64, 65)])
def test_fewer_samples_than_dimensions_equal_the_full_matrices(num_real, num_synthetic):
    real, synthetic = draw(num_real, 64), 0.5 * draw(num_synthetic, 64, seed=1)
    full = frechet_distance_from_moments(real=compute_moments(real), synthetic=compute_moments(synthetic))
    assert frechet_distance(real=real, synthetic=synthetic) == pytest.approx(full, rel=1e-10)


def test_constant_dimensions_change_nothing():
    real, synthetic = draw(300, 4), 2.0 * draw(200, 4, seed=1)
    padded = [torch.nn.functional.pad(features, (0, 3), value=2.5) for features in (real, synthetic)]
    expected = frechet_distance(real=real, synthetic=synthetic)
    assert frechet_distance(real=padded[0], synthetic=padded[1]) == pytest.approx(expected, rel=1e-10)


class Flatten(torch.nn.Module):
    """Turns feature vectors that were wrapped as images back into vectors, as torchmetrics asks of an extractor."""

    num_features = 8

    def forward(self, images):
        return images.flatten(1)


def wrap(features):
    return features.float()[:, :, None, None]


def test_distance_equals_torchmetrics():
    real, synthetic = draw(400, 8), 1.2 * draw(300, 8, seed=1) + 0.2
    metric = FrechetInceptionDistance(feature=Flatten(), normalize=True).set_dtype(torch.float64)
    metric.inception.num_features = 8
    metric.update(wrap(real), real=True)
    metric.update(wrap(synthetic), real=False)
    ours = frechet_distance(real=real.float(), synthetic=synthetic.float())
    assert ours == pytest.approx(float(metric.compute()), rel=1e-5)


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_distance_grows_with_the_square_of_the_unit(unit):
    real, synthetic = draw(300, 5), 0.5 * draw(300, 5, seed=1)
    distance = frechet_distance(real=real, synthetic=synthetic)
    assert frechet_distance(real=unit * real, synthetic=unit * synthetic) == pytest.approx(
        unit**2 * distance, rel=1e-10
    )


@pytest.mark.parametrize("estimate", [debiased_frechet_distance, frechet_distance_at_infinity])
def test_bias_corrected_distances_are_near_zero_for_equal_distributions(estimate):
    corrected, plain = [], []
    for seed in range(30):
        real, synthetic = draw(300, 8, seed=seed), draw(200, 8, seed=seed + 1000)
        corrected.append(estimate(real=real, synthetic=synthetic, generator=make_generator(seed)))
        plain.append(frechet_distance(real=real, synthetic=synthetic))
    mean_plain = sum(plain) / len(plain)
    assert mean_plain > 0.15
    assert abs(sum(corrected) / len(corrected)) < 0.15 * mean_plain


def test_kernel_distance_meets_the_population_value():
    """E k(x, x') for means a, b and unit variances in one dimension, k = (xy + 1)³; N(0,1) against N(1,1) is 22."""
    values = [
        kernel_distance(real=draw(1000, 1, seed=seed), synthetic=draw(1000, 1, seed=seed + 1000) + 1.0)
        for seed in range(40)
    ]
    assert sum(values) / len(values) == pytest.approx(22.0, rel=0.05)


def test_kernel_distance_is_the_mean_over_pairs():
    real, synthetic = draw(7, 3), draw(5, 3, seed=1)

    def kernel(x, y):
        return (float(x @ y) / 3 + 1) ** 3

    within = [kernel(x, y) for i, x in enumerate(real) for j, y in enumerate(real) if i != j]
    within_synthetic = [kernel(x, y) for i, x in enumerate(synthetic) for j, y in enumerate(synthetic) if i != j]
    across = [kernel(x, y) for x in real for y in synthetic]
    expected = sum(within) / 42 + sum(within_synthetic) / 20 - 2 * sum(across) / 35
    assert kernel_distance(real=real, synthetic=synthetic) == pytest.approx(expected, rel=1e-12)
    assert kernel_distance(real=real, synthetic=synthetic, real_term=mean_kernel(real)) == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
def test_kernel_distance_equals_the_references():
    real, synthetic = draw(1500, 8), 1.1 * draw(1500, 8, seed=1) + 0.1
    ours = kernel_distance(real=real, synthetic=synthetic)
    reference = kid_features_to_metric(real, synthetic, kid_subsets=1, kid_subset_size=1500, verbose=False)
    assert ours == pytest.approx(reference["kernel_inception_distance_mean"], rel=1e-6)
    metric = KernelInceptionDistance(feature=Flatten(), subsets=1, subset_size=1500, normalize=True)
    metric = metric.set_dtype(torch.float64)
    metric.update(wrap(real), real=True)
    metric.update(wrap(synthetic), real=False)
    assert ours == pytest.approx(float(metric.compute()[0]), rel=1e-3)


BAD_FEATURES = {
    "NaN or infinite": torch.tensor([[1.0, math.nan], [0.0, 1.0], [2.0, 3.0]]),
    "2 NaN or infinite": torch.tensor([[1.0, math.inf], [-math.inf, 1.0], [2.0, 3.0]]),
    "at least 2 samples: got 0": torch.zeros(0, 2),
    "at least 2 samples: got 1": torch.zeros(1, 2),
    "num_samples, feature_dim": torch.zeros(5),
    "at least one dimension": torch.zeros(5, 0),
    "float32 or float64: got torch.int64": torch.zeros(5, 2, dtype=torch.int64),
    "float32 or float64: got torch.float16": torch.zeros(5, 2, dtype=torch.float16),
    "same dimension: got": torch.zeros(5, 3),
}


@pytest.mark.parametrize("message", BAD_FEATURES)
@pytest.mark.parametrize("score", [frechet_distance, kernel_distance])
def test_bad_features_are_refused_with_a_sentence(score, message):
    with pytest.raises(UsageError, match=message):
        score(real=draw(10, 2), synthetic=BAD_FEATURES[message])
