"""Diversity within classes: variance, volume and effective number of directions.

A class shrinks long before it disappears, so this is the earliest sign of collapse. Each ratio is synthetic over real;
1 means that nothing is lost. Both sides of a class are cut to the same number of samples, so that the bias of a finite
sample cancels in the ratio.
"""

import math

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from collapsar.metrics.checks import Features, Labels, check_features, check_labels, check_pair

NEGLIGIBLE = 1e-10  # eigenvalues below this fraction of the largest real one are rounding; they count as this fraction
MIN_CLASS_SAMPLES = 10  # a class with fewer samples on either side is not measured
ROUNDING = 1.2e-7  # relative rounding of float32; samples of a class that differ by no more count as equal


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
        if size >= MIN_CLASS_SAMPLES and _varies(real_class[:size]):
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


def _varies(features: Tensor) -> bool:
    exact = features.double()
    return bool(exact.var(0).sum() > ROUNDING**2 * exact.square().mean(0).sum())


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
