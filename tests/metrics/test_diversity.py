import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from collapsar.foundations.errors import UsageError
from collapsar.metrics.modes import diversity_scores, effective_rank, vendi_score
from collapsar.theory.formulas import log_variance_change


def draw(num_samples, feature_dim, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_samples, feature_dim, generator=generator, dtype=torch.float64)


def score(real, synthetic, *, num_classes=1, real_labels=None, synthetic_labels=None):
    zeros = torch.zeros(len(real) + len(synthetic), dtype=torch.int64)
    return diversity_scores(
        real=real,
        synthetic=synthetic,
        real_labels=zeros[: len(real)] if real_labels is None else real_labels,
        synthetic_labels=zeros[: len(synthetic)] if synthetic_labels is None else synthetic_labels,
        num_classes=num_classes,
    )


def test_a_set_keeps_all_its_diversity():
    real = draw(200, 8)
    scores = score(real, real + 5.0)
    assert scores["trace_ratio"] == pytest.approx(1.0)
    assert scores["generalised_variance"] == pytest.approx(1.0)
    assert scores["effective_rank"] == pytest.approx(1.0)


@pytest.mark.parametrize("num_samples", [200, 20])
def test_shrinking_by_a_factor_squares_it(num_samples):
    real = draw(num_samples, 32)
    scores = score(real, 0.8 * real)
    assert scores["trace_ratio"] == pytest.approx(0.64)
    assert scores["generalised_variance"] == pytest.approx(0.64)
    assert scores["effective_rank"] == pytest.approx(1.0)


def test_one_generation_of_refitting_loses_the_volume_of_the_law():
    """A Gaussian fitted to n samples and sampled n times: the log-determinant of the Wishart law (L21)."""
    num_samples, feature_dim = 100, 32
    changes = []
    for seed in range(40):
        real = draw(num_samples, feature_dim, seed=seed)
        factor = torch.linalg.cholesky(real.T.cov())
        synthetic = draw(num_samples, feature_dim, seed=seed + 1000) @ factor.T
        changes.append(math.log(score(real, synthetic)["generalised_variance"]))
    expected = log_variance_change(num_samples=num_samples, num_dimensions=feature_dim)
    assert sum(changes) / len(changes) == pytest.approx(expected, abs=0.015)


def test_lost_directions_show_in_rank_and_volume_before_the_trace():
    real = draw(500, 16)
    synthetic = draw(500, 16, seed=1)
    synthetic[:, 8:] *= 0.1
    synthetic[:, :8] *= math.sqrt(2.0)
    scores = score(real, synthetic)
    assert scores["trace_ratio"] > 0.9
    assert scores["effective_rank"] < 0.6
    assert scores["generalised_variance"] < 0.3


def test_classes_are_measured_each_around_its_own_mean():
    labels = torch.arange(400) % 4
    real = 100.0 * draw(4, 6, seed=5)[labels] + draw(400, 6)
    synthetic = 100.0 * draw(4, 6, seed=5)[labels] + 0.5 * draw(400, 6, seed=1)
    scores = score(real, synthetic, num_classes=4, real_labels=labels, synthetic_labels=labels)
    assert scores["trace_ratio"] == pytest.approx(0.25, rel=0.1)
    alone = [score(real[labels == label], synthetic[labels == label])["trace_ratio"] for label in range(4)]
    assert scores["trace_ratio"] == pytest.approx(sum(alone) / 4)


def test_a_class_of_one_repeated_sample_is_finite_and_near_zero():
    scores = score(draw(100, 8), torch.ones(100, 8, dtype=torch.float64))
    assert scores["trace_ratio"] == pytest.approx(0.0, abs=1e-12)
    assert 0.0 < scores["generalised_variance"] < 1e-6
    assert scores["effective_rank"] < 0.2
    assert scores["vendi"] == pytest.approx(1.0)


def test_a_smaller_class_is_not_taken_for_a_less_diverse_one():
    ratios = [score(draw(1000, 32, seed=seed), draw(48, 32, seed=seed + 100)) for seed in range(20)]
    assert sum(ratio["effective_rank"] for ratio in ratios) / 20 == pytest.approx(1.0, abs=0.03)
    assert sum(math.log(ratio["generalised_variance"]) for ratio in ratios) / 20 == pytest.approx(0.0, abs=0.06)


def test_vendi_counts_groups():
    groups = torch.eye(10, dtype=torch.float64).repeat(7, 1)
    assert vendi_score(groups, centre=torch.zeros(10)) == pytest.approx(10.0)
    assert vendi_score(torch.ones(30, 4), centre=torch.zeros(4)) == pytest.approx(1.0)
    assert vendi_score(torch.ones(30, 4), centre=torch.ones(4)) == pytest.approx(1.0)


def test_vendi_is_the_entropy_of_the_whole_kernel():
    features = draw(40, 5)
    unit = features / features.norm(dim=1, keepdim=True)
    eigenvalues = torch.linalg.eigvalsh(unit @ unit.T / 40).clamp_min(0.0)
    assert vendi_score(features, centre=torch.zeros(5)) == pytest.approx(effective_rank(eigenvalues))


def test_effective_rank_of_equal_eigenvalues_is_their_number():
    assert effective_rank(torch.tensor([3.0, 3.0, 3.0, 0.0], dtype=torch.float64)) == pytest.approx(3.0)


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-100.0, 100.0), seed=st.integers(0, 1000))
def test_ratios_ignore_rotation_shift_and_common_scale(scale, shift, seed):
    real, synthetic = draw(60, 5, seed=seed), 0.7 * draw(50, 5, seed=seed + 1)
    rotation = torch.linalg.qr(draw(5, 5, seed=seed + 2)).Q
    plain, moved = (
        score(real, synthetic),
        score((real @ rotation + shift) * scale, (synthetic @ rotation + shift) * scale),
    )
    assert moved == pytest.approx(plain, rel=1e-6)


def test_too_few_samples_and_constant_classes_are_not_measured():
    assert score(draw(100, 3), draw(9, 3)).keys() == {"vendi"}
    assert score(draw(100, 3), draw(10, 3)).keys() > {"vendi"}
    assert score(torch.ones(20, 3), draw(20, 3)).keys() == {"vendi"}


def test_wrong_labels_are_refused():
    with pytest.raises(UsageError, match="one for each sample: got 4 for 20"):
        score(draw(20, 3), draw(20, 3), real_labels=torch.zeros(4, dtype=torch.int64))


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_a_class_whose_compared_real_samples_are_equal_is_left_out(value):
    labels = torch.arange(40) % 2
    real, synthetic = draw(40, 3), draw(40, 3)
    alone = score(real[labels == 1], synthetic[labels == 1])
    real[labels == 0] = value * torch.tensor([1.0, -0.3, 0.7], dtype=torch.float64)
    real[labels == 0] *= 1 + 5e-8 * torch.arange(20)[:, None] / 20  # float32 has no such digits
    found = score(real, synthetic, real_labels=labels, synthetic_labels=labels, num_classes=2)
    assert found["trace_ratio"] == alone["trace_ratio"]


def test_only_the_compared_samples_of_a_class_must_vary():
    real = torch.cat([torch.ones(12, 3), draw(20, 3)])
    assert score(real, draw(32, 3))["trace_ratio"] > 0
    assert score(real, draw(12, 3)).keys() == {"vendi"}
