"""Which modes survive (shares of classes, of clusters of the real data, and of known modes), and diversity in classes.

Divergences are in nats and take the synthetic shares first: KL(synthetic || real) stays finite if a class is lost; the
other direction does not. A class shrinks long before it disappears, so a lower variance, volume or effective number of
directions within classes is the earliest sign of collapse. These ratios are synthetic over real: 1 means that nothing
is lost. Both sides of a class are cut to the same number of samples, so that the bias of a finite sample cancels.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from scipy.special import ndtri
from threadpoolctl import threadpool_limits
from torch import Tensor

from collapsar.metrics.checks import Features, Labels, check_features, check_labels, check_pair
from collapsar.metrics.neighbours.nearest import find_nearest

DROPPED_BELOW = 0.1  # a class is dropped if its share is below this fraction of its real share
HIGH_QUALITY_RADIUS = 3.0  # standard deviations; Srivastava et al. 2017 (VEEGAN), section 5.1
NEGLIGIBLE = 1e-10  # eigenvalues below this fraction of the largest real one are rounding; they count as this fraction
MIN_CLASS_SAMPLES = 10  # a class with fewer samples on either side is not measured
ROUNDING = 1.2e-7  # relative rounding of float32; samples of a class that differ by no more count as equal


@dataclass(frozen=True)
class RealBins:
    """k-means clusters of the real features, with the number of real samples in each."""

    centres: Float64[Tensor, "bin feature"]
    counts: Int64[Tensor, " bin"]


def class_shares(labels: Labels, *, num_classes: int) -> Float64[Tensor, " class"]:
    """Share of each class; the shares sum to one."""
    check_labels(labels, name="class", num_classes=num_classes)
    return torch.bincount(labels.long(), minlength=num_classes).double() / len(labels)


def mode_scores(*, real: Labels, synthetic: Labels, num_classes: int) -> dict[str, float]:
    """class_entropy, class_kl, ...: the class histogram of the synthetic labels against that of the real ones."""
    real_shares = class_shares(real, num_classes=num_classes)
    shares = class_shares(synthetic, num_classes=num_classes)
    entropy = max(-float(torch.special.xlogy(shares, shares).sum()), 0.0)
    return {
        "class_entropy": entropy,
        # A class without real samples counts as half a real sample, so that the KL divergence stays finite.
        "class_kl": kl_divergence(shares, reference=real_shares.clamp_min(0.5 / len(real))),
        "class_jensen_shannon": jensen_shannon_divergence(shares, reference=real_shares),
        "class_total_variation": 0.5 * float((shares - real_shares).abs().sum()),
        "effective_classes": math.exp(entropy),
        "classes_dropped": float((shares < DROPPED_BELOW * real_shares).sum()),
    }


def kl_divergence(shares: Float64[Tensor, " class"], *, reference: Float64[Tensor, " class"]) -> float:
    """KL(shares || reference) in nats; infinite if the reference is zero for a class and the share is not."""
    present = shares > 0
    return float((shares[present] * (shares[present].log() - reference[present].log())).sum())


def jensen_shannon_divergence(shares: Float64[Tensor, " class"], *, reference: Float64[Tensor, " class"]) -> float:
    """Jensen-Shannon divergence in nats, symmetric, between 0 and log 2 (Lin 1991)."""
    middle = 0.5 * (shares + reference)
    return 0.5 * (kl_divergence(shares, reference=middle) + kl_divergence(reference, reference=middle))


def low_confidence_share(probabilities: Float[Tensor, "sample class"], *, threshold: float) -> float:
    """Share of samples whose most probable class has a probability below `threshold`: they look like no class."""
    check_features(probabilities, name="probability", min_samples=1)
    return float((probabilities.amax(1) < threshold).double().mean())


def fit_bins(real: Features, *, num_bins: int, seed: int) -> RealBins:
    """Cluster the real features, at least as many as bins, for `score_bins`: scikit-learn's k-means on the CPU."""
    from sklearn.cluster import KMeans

    check_features(real, name="real", min_samples=num_bins)
    with threadpool_limits(limits=1):  # several threads sum in another order, which changes results
        clusters = KMeans(n_clusters=num_bins, n_init=1, random_state=seed % 2**32).fit(real.double().cpu().numpy())
    return RealBins(
        centres=torch.from_numpy(clusters.cluster_centers_).to(real.device),
        counts=torch.from_numpy(clusters.labels_).long().bincount(minlength=num_bins).to(real.device),
    )


def score_bins(bins: RealBins, *, synthetic: Features, significance: float = 0.05) -> dict[str, float]:
    """ndb, the share of bins with significantly different shares of real and synthetic samples; ndb_jensen_shannon.

    Richardson & Weiss 2018, section 3. A sample belongs to the nearest centre. If both distributions are equal, about
    `significance` of the bins differ.
    """
    check_features(synthetic, name="synthetic", min_samples=1)
    num_bins, num_real = len(bins.counts), int(bins.counts.sum())
    _, found = find_nearest(synthetic, references=bins.centres, num_neighbours=1)
    real_shares, shares = bins.counts.double() / num_real, class_shares(found[:, 0], num_classes=num_bins)
    pooled = (real_shares * num_real + shares * len(synthetic)) / (num_real + len(synthetic))
    standard_error = (pooled * (1.0 - pooled) * (1.0 / num_real + 1.0 / len(synthetic))).sqrt()
    critical = float(ndtri(1.0 - significance / 2.0))  # two-sided, two-proportion z-test
    num_different = int(((shares - real_shares).abs() > critical * standard_error).sum())
    divergence = jensen_shannon_divergence(shares, reference=real_shares)
    return {"ndb": num_different / num_bins, "ndb_jensen_shannon": divergence}


def known_mode_scores(
    samples: Features, *, centres: Float[Tensor, "mode feature"], standard_deviation: float
) -> dict[str, float]:
    """modes_captured, high_quality_share and reverse_kl, of a mixture of equally likely, round modes.

    A sample has high quality within three standard deviations of the nearest mode. A mode is captured if it is the
    nearest one of a high-quality sample (Srivastava et al. 2017, VEEGAN, section 5.1). The reverse KL compares the
    shares of all samples by nearest mode with uniform shares (Lin et al. 2018, PacGAN, section 4.1).
    """
    nearest_distances, nearest_modes = _nearest_modes(samples, centres)
    is_high_quality = nearest_distances <= HIGH_QUALITY_RADIUS * standard_deviation
    num_modes = len(centres)
    uniform = torch.full((num_modes,), 1.0 / num_modes, dtype=torch.float64, device=samples.device)
    return {
        "modes_captured": float(len(nearest_modes[is_high_quality].unique())),
        "high_quality_share": float(is_high_quality.double().mean()),
        "reverse_kl": kl_divergence(class_shares(nearest_modes, num_classes=num_modes), reference=uniform),
    }


def variance_around_means(samples: Features, *, centres: Float[Tensor, "mode feature"]) -> float:
    """Variance within modes, per dimension and without bias: of samples around the mean of those with their mode.

    A sample's mode is the nearest one. There must be more samples than modes; one alone in its mode adds nothing.
    """
    modes, values = _nearest_modes(samples, centres)[1], samples.double()
    present, places = modes.unique(return_inverse=True)
    sums = values.new_zeros(len(present), values.shape[1]).index_add_(0, places, values)
    means = sums / places.bincount().unsqueeze(1)
    return float((values - means[places]).square().sum()) / ((len(values) - len(present)) * values.shape[1])


def _nearest_modes(samples: Features, centres: Float[Tensor, "mode feature"]) -> tuple[Tensor, Tensor]:
    check_pair(real=centres, synthetic=samples, min_samples=1)
    # Take differences and not the expanded square: three standard deviations may be tiny beside the centres' norms.
    exact_mode = "donot_use_mm_for_euclid_dist"
    distances, modes = torch.cdist(samples.double(), centres.double(), compute_mode=exact_mode).min(1)
    return distances, modes


def diversity_scores(
    *, real: Features, synthetic: Features, real_labels: Labels, synthetic_labels: Labels, num_classes: int
) -> dict[str, float]:
    """trace_ratio, generalised_variance and effective_rank within classes, and vendi of all synthetic features.

    Without classes, label all samples 0. A class is measured if it has `MIN_CLASS_SAMPLES` samples on both sides and
    its compared real samples differ; the ratios are means over the measured classes, and absent if there are none.
    """
    check_pair(real=real, synthetic=synthetic)
    check_labels(real_labels, name="real", num_classes=num_classes, num_samples=len(real))
    check_labels(synthetic_labels, name="synthetic", num_classes=num_classes, num_samples=len(synthetic))
    ratios = []
    for label in range(num_classes):
        real_class, synthetic_class = real[real_labels == label], synthetic[synthetic_labels == label]
        size = min(len(real_class), len(synthetic_class))
        exact = real_class[:size].double()
        if size >= MIN_CLASS_SAMPLES and exact.var(0).sum() > ROUNDING**2 * exact.square().mean(0).sum():
            ratios.append(_compare(_spectrum(real_class[:size]), synthetic=_spectrum(synthetic_class[:size])))
    vendi = {"vendi": vendi_score(synthetic, centre=real.mean(0, dtype=torch.float64))}
    if not ratios:
        return vendi
    trace_ratio, log_volume, rank_ratio = torch.tensor(ratios, dtype=torch.float64).mean(0).tolist()
    return {
        "trace_ratio": trace_ratio,
        "generalised_variance": math.exp(log_volume),
        "effective_rank": rank_ratio,
    } | vendi


def effective_rank(eigenvalues: Float64[Tensor, " direction"]) -> float:
    """Exp of the entropy of the normalised eigenvalues (Roy & Vetterli 2007, definition 1); 1 if all are zero."""
    if eigenvalues.sum() <= 0.0:
        return 1.0
    shares = eigenvalues / eigenvalues.sum()
    return math.exp(-float(torch.special.xlogy(shares, shares).sum()))


def vendi_score(features: Features, *, centre: Float[Tensor, " feature"]) -> float:
    """Effective number of different samples under the cosine kernel around `centre` (Friedman & Dieng 2023, section 3).

    Between 1 and the smaller of num_samples and feature_dim + 1. The eigenvalues are those of the dual form X'X / n,
    where samples at the centre, which have no direction, share one extra column.
    """
    check_features(features, name="the", min_samples=1)
    centred = features.double() - centre
    lengths = centred.norm(dim=1, keepdim=True)
    is_central = lengths == 0.0
    directions = torch.cat([centred / lengths.masked_fill(is_central, 1.0), is_central.double()], 1)
    eigenvalues = torch.linalg.eigvalsh(directions.T @ directions / len(directions))
    return effective_rank(eigenvalues.clamp_min(0.0))


def _spectrum(features: Tensor) -> Tensor:
    """Eigenvalues of the unbiased covariance, largest first; no more than the rank can be."""
    centred = features.double() - features.mean(0, dtype=torch.float64)
    num_samples, feature_dim = centred.shape
    gram = centred.T @ centred if num_samples > feature_dim else centred @ centred.T
    eigenvalues = torch.linalg.eigvalsh(gram / (num_samples - 1)).flip(0).clamp_min(0.0)
    return eigenvalues[: num_samples - 1]


def _compare(real: Tensor, *, synthetic: Tensor) -> tuple[float, float, float]:
    """Ratio of traces, mean log ratio of the eigenvalues within the real class's rank, ratio of effective ranks."""
    floor = NEGLIGIBLE * real[0]
    rank = max(int((real > floor).sum()), 1)
    log_ratios = synthetic[:rank].clamp_min(floor).log() - real[:rank].log()
    rank_ratio = effective_rank(synthetic) / effective_rank(real)
    return float(synthetic.sum() / real.sum()), float(log_ratios.mean()), rank_ratio
