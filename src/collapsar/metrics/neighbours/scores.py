"""Overlap of the real and synthetic supports: precision, recall, density, coverage and their variants.

Every sample has a closed ball that reaches to its k-th nearest neighbour in its own set. Precision is the share of
synthetic samples inside a real ball, recall the share of real samples inside a synthetic ball. Density is the number of
real balls around a synthetic sample over k, coverage the share of real balls that hold a synthetic sample.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from collapsar.foundations.errors import UsageError
from collapsar.metrics.checks import Features, Labels, check_features, check_labels, check_pair
from collapsar.metrics.neighbours.balls import Membership, find_members
from collapsar.metrics.neighbours.nearest import find_nearest

TAIL_SHARE = 0.1  # the tail is the tenth of the real samples with the largest balls


@dataclass(frozen=True)
class NeighbourScores:
    """Precision, recall and coverage in [0, 1]; density is about 1 for equal distributions and has no upper bound."""

    precision: float
    recall: float
    density: float
    coverage: float


@dataclass(frozen=True)
class RealSide:
    """All that neighbour metrics need of the real set; `torch.save(asdict(side))` saves it."""

    features: Float[Tensor, "sample feature"]
    radii: Float64[Tensor, " sample"]
    clipped_counts: Int64[Tensor, " sample"]
    num_neighbours: int


def neighbour_scores(*, real: Features, synthetic: Features, num_neighbours: int = 5) -> NeighbourScores:
    """Precision, recall, density and coverage of feature sets [num_samples, feature_dim] of more than k samples."""
    side = prepare_real_side(real, num_neighbours=num_neighbours)
    return summarise(count_members(real=side, synthetic=synthetic), real=side)


def prepare_real_side(features: Features, *, num_neighbours: int) -> RealSide:
    """Compute the radii of the real balls, and the counts that calibrate the clipped density."""
    check_features(features, name="real")
    _check_num_neighbours(num_neighbours, num_samples=len(features))
    distances, nearest = find_nearest(features, references=features, num_neighbours=num_neighbours, is_same_set=True)
    radii = distances[:, -1].clone()
    in_clipped_ball = distances <= radii.quantile(0.5)
    return RealSide(
        features=features,
        radii=radii,
        clipped_counts=torch.bincount(nearest[in_clipped_ball], minlength=len(features)),
        num_neighbours=num_neighbours,
    )


def count_members(*, real: RealSide, synthetic: Features) -> Membership:
    """Count which samples lie in which balls: a pass over synthetic pairs, and one over real-synthetic pairs."""
    check_pair(real=real.features, synthetic=synthetic)
    _check_num_neighbours(real.num_neighbours, num_samples=len(synthetic))
    distances, _ = find_nearest(synthetic, references=synthetic, num_neighbours=real.num_neighbours, is_same_set=True)
    return find_members(
        real=real.features,
        synthetic=synthetic,
        real_radii=real.radii,
        synthetic_radii=distances[:, -1],
        clip_radius=float(real.radii.quantile(0.5)),
    )


def summarise(members: Membership, *, real: RealSide) -> NeighbourScores:
    """The four scores of Kynkäänniemi et al. 2019 (equations 1 and 2) and Naeem et al. 2020 (equations 4 and 6)."""
    return NeighbourScores(
        precision=_share(members.is_precise),
        recall=_share(members.is_recalled),
        density=float(members.num_balls_around.double().mean()) / real.num_neighbours,
        coverage=_share(members.is_covered),
    )


def symmetric_scores(members: Membership) -> dict[str, float]:
    """symmetric_precision and symmetric_recall: each the smaller of a score and its complement.

    Complement precision is the share of synthetic balls that hold a real sample, complement recall is coverage
    (Khayatkhoei & AbdAlmageed 2023, section 5). In high dimensions, precision alone misses a generator that is too
    wide.
    """
    return {
        "symmetric_precision": min(_share(members.is_precise), _share(members.is_matched)),
        "symmetric_recall": min(_share(members.is_recalled), _share(members.is_covered)),
    }


def clipped_scores(members: Membership, *, real: RealSide) -> dict[str, float]:
    """clipped_density and clipped_coverage: the share of good samples, by either score (Salvy et al. 2025).

    For the density, radii are cut at their median, a sample counts up to one, and the mean is divided by that of the
    real samples among themselves. For the coverage, a real ball counts up to k samples. The share is the m / M whose
    expected mean matches: m of the M synthetic samples come from the real distribution, the others lie in no ball.
    """
    k, num_synthetic = real.num_neighbours, len(members.num_balls_around)
    around_real, around = (
        float(counts.clamp_max(k).double().mean()) for counts in (real.clipped_counts, members.num_clipped_balls_around)
    )
    filled = members.num_synthetic_in_ball.clamp_max(k).double().mean() / k
    expected = _expected_filling(num_real=len(real.radii), num_synthetic=num_synthetic, num_neighbours=k)
    num_good = int(torch.searchsorted(expected, filled.cpu()))
    return {"clipped_density": min(around / around_real, 1.0), "clipped_coverage": min(num_good / num_synthetic, 1.0)}


def tail_recall(members: Membership, *, real: RealSide) -> float:
    """Recall of the tenth of the real samples with the largest balls, which disappear first."""
    num_tail = max(1, round(TAIL_SHARE * len(real.radii)))
    return _share(members.is_recalled[real.radii.topk(num_tail).indices])


def score_classes(is_hit: Bool[Tensor, " real"], *, real_labels: Labels, num_classes: int) -> dict[int, float]:
    """Share of hits (recalled, covered) in each class with real samples; a lost class hardly moves the share of all."""
    check_labels(real_labels, name="real", num_classes=num_classes, num_samples=len(is_hit))
    hits, sizes = (labels.bincount(minlength=num_classes) for labels in (real_labels[is_hit], real_labels))
    shares = (hits.double() / sizes).tolist()
    return {label: shares[label] for label in sizes.nonzero()[:, 0].tolist()}


def _expected_filling(*, num_real: int, num_synthetic: int, num_neighbours: int) -> Tensor:
    """E[min(J, k)] / k for m = 0..M good samples, where J ~ BetaBinomial(m, k, N - k) samples lie in a real ball.

    E[min(J, k)] = k - sum_{j<k} (k - j) P(J = j) needs k terms only.
    """
    m = torch.arange(num_synthetic + 1, dtype=torch.float64)[:, None]
    j = torch.arange(num_neighbours, dtype=torch.float64)
    k, rest = torch.tensor([num_neighbours, num_real - num_neighbours], dtype=torch.float64)
    others = (m - j).clamp_min(0.0)
    log_choose = torch.lgamma(m + 1.0) - torch.lgamma(j + 1.0) - torch.lgamma(others + 1.0)
    log_probability = log_choose + _log_beta(j + k, others + rest) - _log_beta(k, rest)
    missing = torch.where(j <= m, (k - j) * log_probability.exp(), 0.0).sum(1)
    return 1.0 - missing / k


def _log_beta(first: Tensor, second: Tensor) -> Tensor:
    return torch.lgamma(first) + torch.lgamma(second) - torch.lgamma(first + second)


def _share(mask: Tensor) -> float:
    return float(mask.double().mean())


def _check_num_neighbours(num_neighbours: int, *, num_samples: int) -> None:
    if not 1 <= num_neighbours < num_samples:
        problem = "num_neighbours must be at least 1 and below the number of samples"
        raise UsageError(f"{problem}: got {num_neighbours} for {num_samples} samples")
