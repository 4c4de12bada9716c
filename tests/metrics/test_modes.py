import math

import pytest
import torch
from sklearn.cluster import KMeans

from collapsar.foundations.errors import UsageError
from collapsar.metrics.modes import (
    class_shares,
    fit_bins,
    jensen_shannon_divergence,
    kl_divergence,
    known_mode_scores,
    low_confidence_share,
    mode_scores,
    score_bins,
    variance_around_means,
)


def draw(num_samples, feature_dim, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_samples, feature_dim, generator=generator)


def repeat_labels(*counts):
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def test_equal_histograms_score_as_nothing_lost():
    labels = repeat_labels(30, 30, 30, 30)
    scores = mode_scores(real=labels, synthetic=labels.repeat(2), num_classes=4)
    assert scores["class_entropy"] == pytest.approx(math.log(4))
    assert scores["effective_classes"] == pytest.approx(4.0)
    assert (
        scores["class_kl"],
        scores["class_jensen_shannon"],
        scores["class_total_variation"],
        scores["classes_dropped"],
    ) == (
        0.0,
        0.0,
        0.0,
        0,
    )


def test_a_lost_class_meets_the_closed_form():
    scores = mode_scores(real=repeat_labels(50, 50), synthetic=repeat_labels(80, 0), num_classes=2)
    assert scores["class_kl"] == pytest.approx(math.log(2))
    assert scores["class_jensen_shannon"] == pytest.approx(
        0.5 * math.log(4 / 3) + 0.25 * math.log(2 / 3) + 0.25 * math.log(2)
    )
    assert scores["class_total_variation"] == pytest.approx(0.5)
    assert (scores["class_entropy"], scores["effective_classes"], scores["classes_dropped"]) == (0.0, 1.0, 1)


def test_a_class_is_dropped_below_a_tenth_of_its_real_share():
    real = repeat_labels(500, 500)
    assert mode_scores(real=real, synthetic=repeat_labels(951, 49), num_classes=2)["classes_dropped"] == 1
    assert mode_scores(real=real, synthetic=repeat_labels(949, 51), num_classes=2)["classes_dropped"] == 0


def test_a_class_the_real_set_lacks_keeps_the_divergence_finite():
    scores = mode_scores(real=repeat_labels(100, 0), synthetic=repeat_labels(0, 10), num_classes=2)
    assert scores["class_kl"] == pytest.approx(math.log(200))


def test_divergences_are_zero_on_themselves_and_bounded():
    shares = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    other = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    assert kl_divergence(shares, reference=shares) == 0.0
    assert math.isinf(kl_divergence(shares, reference=other))
    there = jensen_shannon_divergence(shares, reference=other)
    assert there == pytest.approx(jensen_shannon_divergence(other, reference=shares))
    assert 0.0 < there < math.log(2)


def test_shares_count_absent_classes_as_zero():
    assert class_shares(torch.tensor([0, 0, 2, 2]), num_classes=4).tolist() == [0.5, 0.0, 0.5, 0.0]


def test_low_confidence_counts_samples_below_the_threshold():
    probabilities = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.4, 0.6]])
    assert low_confidence_share(probabilities, threshold=0.6) == pytest.approx(1 / 3)


def test_few_bins_differ_between_samples_of_one_distribution():
    scores = score_bins(fit_bins(draw(4000, 4), num_bins=40, seed=0), synthetic=draw(3000, 4, seed=1))
    assert scores["ndb"] < 0.25
    assert scores["ndb_jensen_shannon"] < 0.01


def test_bins_of_a_lost_mode_differ():
    centres = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0], [50.0, 50.0]])
    real = centres[torch.arange(800) % 4] + draw(800, 2)
    synthetic = centres[torch.arange(800) % 3] + draw(800, 2, seed=1)
    scores = score_bins(fit_bins(real, num_bins=4, seed=0), synthetic=synthetic)
    assert scores["ndb"] == 1.0
    assert scores["ndb_jensen_shannon"] > 0.05


def ring(num_modes):
    angles = torch.arange(num_modes) * (2 * math.pi / num_modes)
    return torch.stack([angles.cos(), angles.sin()], 1)


def test_all_known_modes_are_captured_by_the_mixture_itself():
    samples = ring(8)[torch.arange(4000) % 8] + 0.01 * draw(4000, 2)
    scores = known_mode_scores(samples, centres=ring(8), standard_deviation=0.01)
    assert scores["modes_captured"] == 8
    assert scores["high_quality_share"] == pytest.approx(
        1.0 - math.exp(-4.5), abs=0.006
    )  # within 3 sd in two dimensions
    assert scores["reverse_kl"] == pytest.approx(0.0, abs=1e-9)


def test_half_of_the_known_modes_cost_log_two():
    samples = ring(8)[torch.arange(400) % 4]
    scores = known_mode_scores(samples, centres=ring(8), standard_deviation=0.01)
    assert scores["modes_captured"] == 4
    assert scores["high_quality_share"] == 1.0
    assert scores["reverse_kl"] == pytest.approx(math.log(2))
    one = known_mode_scores(ring(1000)[:2] * 0 + ring(1000)[3], centres=ring(1000), standard_deviation=0.01)
    assert one["reverse_kl"] == pytest.approx(math.log(1000))


def test_samples_between_modes_capture_none():
    scores = known_mode_scores(torch.zeros(10, 2), centres=ring(8), standard_deviation=0.01)
    assert (scores["modes_captured"], scores["high_quality_share"]) == (0, 0.0)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 3]), r"0\.\.2: got 0\.\.3"),
        (torch.tensor([-1, 2]), r"got -1\.\.2"),
        (torch.tensor([0.0, 1.0]), "vector of integers"),
        (torch.zeros(0, dtype=torch.int64), "non-empty"),
        (torch.zeros(2, 2, dtype=torch.int64), "vector of integers"),
    ],
)
def test_wrong_labels_are_refused(labels, message):
    with pytest.raises(UsageError, match=message):
        mode_scores(real=torch.tensor([0, 1, 2]), synthetic=labels, num_classes=3)


def test_wrong_arguments_are_refused():
    with pytest.raises(UsageError, match="at least 11 samples: got 10"):
        fit_bins(draw(10, 2), num_bins=11, seed=0)
    with pytest.raises(UsageError, match="dimension: got 2 and 3"):
        known_mode_scores(draw(10, 3), centres=ring(8), standard_deviation=0.01)


def test_bins_are_the_clusters_of_scikit_learn():
    real, synthetic = draw(600, 4), draw(500, 4, seed=1)
    bins = fit_bins(real, num_bins=12, seed=0)
    clusters = KMeans(n_clusters=12, n_init=1, random_state=0).fit(real.double().numpy())
    assert bins.counts.tolist() == torch.from_numpy(clusters.labels_).bincount(minlength=12).tolist()
    shares = torch.from_numpy(clusters.predict(synthetic.double().numpy())).bincount(minlength=12) / 500
    expected = jensen_shannon_divergence(shares.double(), reference=bins.counts.double() / 600)
    assert score_bins(bins, synthetic=synthetic)["ndb_jensen_shannon"] == pytest.approx(expected)


def test_variance_within_modes_is_that_of_the_modes_however_far_they_lie_apart():
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [50.0, 50.0]])
    samples = centres[torch.arange(6_000) % 3] + 0.5 + 0.2 * torch.randn(6_000, 2, generator=generator)
    assert variance_around_means(samples, centres=centres) == pytest.approx(0.04, rel=0.05)
    few = samples[:3]  # one in each mode
    assert variance_around_means(torch.cat([few, few + 0.2]), centres=centres) == pytest.approx(0.02, rel=1e-3)
