"""Distances between distributions of features: Fréchet (FID) and kernel (KID).

Fréchet distance of two Gaussians: |m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^½) (Dowson & Landau 1982; as a score of
generators Heusel et al. 2017). Moments are float64, covariances unbiased (divided by n - 1). The trace of the root
is the sum of the singular values of F1' F2 for any factors S = F F', so the code needs no general matrix root.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float64
from torch import Tensor

from collapsar.metrics.checks import Features, check_features, check_pair

MAX_CONDITION = 1e8  # up to here a general eigenvalue routine loses less than 1e-6 of a Fréchet distance
NUM_SIZES = 15  # subset sizes for the extrapolation to infinity
TILE_ROWS = 256  # rows of a kernel tile: 256 x 256 float64 take half a MB and stay in a core's cache


@dataclass(frozen=True)
class Moments:
    """Mean and unbiased covariance of feature vectors, float64."""

    mean: Float64[Tensor, " feature"]
    covariance: Float64[Tensor, "feature feature"]

    @cached_property
    def is_well_conditioned(self) -> bool:
        """Whether the covariance's condition number is below `MAX_CONDITION`; else rounding decides its matrix root."""
        eigenvalues = torch.linalg.eigvalsh(self.covariance)
        return float(eigenvalues[0]) * MAX_CONDITION > float(eigenvalues[-1])


def compute_moments(features: Features) -> Moments:
    """Mean and unbiased covariance in float64; features are centred before they are squared."""
    check_features(features, name="the")
    centred, mean = _centre(features)
    return Moments(mean=mean, covariance=centred.T @ centred / (len(features) - 1))


def frechet_distance(*, real: Features, synthetic: Features) -> float:
    """Fréchet distance between two feature sets [num_samples, feature_dim]; the sizes may differ."""
    check_pair(real=real, synthetic=synthetic)
    if min(len(real), len(synthetic)) > real.shape[1]:
        return frechet_distance_from_moments(real=compute_moments(real), synthetic=compute_moments(synthetic))
    # If the samples are fewer than the dimensions, the centred samples are the factor and their Gram matrix is small.
    (real_centred, real_mean), (synthetic_centred, synthetic_mean) = _centre(real), _centre(synthetic)
    real_factor = real_centred / math.sqrt(len(real) - 1)
    synthetic_factor = synthetic_centred / math.sqrt(len(synthetic) - 1)
    trace_of_root = torch.linalg.svdvals(_reduce(real_factor) @ _reduce(synthetic_factor).T).sum()
    total = (real_mean - synthetic_mean).square().sum()
    total += real_factor.square().sum() + synthetic_factor.square().sum() - 2.0 * trace_of_root
    return max(float(total), 0.0)


def frechet_distance_from_moments(*, real: Moments, synthetic: Moments) -> float:
    """Fréchet distance between two Gaussians given by their moments."""
    squared_shift = float((real.mean - synthetic.mean).square().sum())
    traces = float(real.covariance.trace() + synthetic.covariance.trace())
    return max(squared_shift + traces - 2.0 * _trace_of_root(real.covariance, synthetic.covariance), 0.0)


def debiased_frechet_distance(*, real: Features, synthetic: Features, generator: torch.Generator) -> float:
    """2 F_n - mean F_{n/2}, which cancels the Fréchet distance's bias of c/n to first order.

    The bias is from Chong & Forsyth 2020, section 3. Both sets, of four samples at least, are cut at random into two
    halves; the mean is over the two distances between a real and a synthetic half.
    """
    check_pair(real=real, synthetic=synthetic, min_samples=4)
    sides = (_shuffle(side, generator).tensor_split(2) for side in (real, synthetic))
    halves = [frechet_distance(real=r, synthetic=s) for r, s in zip(*sides, strict=True)]
    return 2.0 * frechet_distance(real=real, synthetic=synthetic) - sum(halves) / 2.0


def frechet_distance_at_infinity(*, real: Features, synthetic: Features, generator: torch.Generator) -> float:
    """FID-infinity: Fréchet distances of growing random subsets, extrapolated linearly in 1/n to n = infinity.

    Chong & Forsyth 2020, section 3.2, with two departures: both sides are subsampled by the same share, so that the
    bias of the finite real set is removed too, and subsets are drawn with a pseudo-random generator. The shares run
    from a quarter to the whole, evenly spaced in 1/n. Both sets must hold at least 16 samples.
    """
    check_pair(real=real, synthetic=synthetic, min_samples=16)
    inverse_shares = torch.linspace(1.0, 4.0, NUM_SIZES, dtype=torch.float64)
    found = []
    for inverse in inverse_shares.tolist():
        some_real, some = (_shuffle(side, generator)[: round(len(side) / inverse)] for side in (real, synthetic))
        found.append(frechet_distance(real=some_real, synthetic=some))
    distances = torch.tensor(found, dtype=torch.float64)
    centred = inverse_shares - inverse_shares.mean()
    slope = (centred * distances).sum() / centred.square().sum()
    return float(distances.mean() - slope * inverse_shares.mean())


def kernel_distance(*, real: Features, synthetic: Features, real_term: float | None = None) -> float:
    """KID: the unbiased squared maximum mean discrepancy of the kernel (x·y/D + 1)³, over all pairs of samples.

    Bińkowski et al. 2018, section 4.1, as the full U-statistic and not the mean over subsets. It may be slightly
    negative if the distributions are equal. `real_term` is `mean_kernel(real)`, if the caller has it already.
    """
    check_pair(real=real, synthetic=synthetic)
    within_real = mean_kernel(real) if real_term is None else real_term
    across = _sum_kernel(real.double(), synthetic.double()) / (len(real) * len(synthetic))
    return within_real + mean_kernel(synthetic) - 2.0 * across


def mean_kernel(features: Features) -> float:
    """Mean of the kernel (x·y/D + 1)³ over all pairs of two different samples of one set."""
    check_features(features, name="the")
    num_samples, feature_dim = features.shape
    exact = features.double()
    total = 0.0
    for start in range(0, num_samples, TILE_ROWS):  # the kernel is symmetric: tiles on and above the diagonal suffice
        rows = exact[start : start + TILE_ROWS]
        total += _sum_kernel(rows, rows) + 2.0 * _sum_kernel(rows, exact[start + TILE_ROWS :])
    diagonal = float((exact.square().sum(1) / feature_dim + 1.0).pow(3).sum())
    return (total - diagonal) / (num_samples * (num_samples - 1))


def _sum_kernel(left: Float64[Tensor, "left feature"], right: Float64[Tensor, "right feature"]) -> float:
    total = torch.zeros((), dtype=torch.float64, device=left.device)
    for rows in left.split(TILE_ROWS):
        for columns in right.split(TILE_ROWS):
            tile = (rows @ columns.T).div_(left.shape[1]).add_(1.0)  # [rows, columns]
            total += torch.dot(tile.flatten(), tile.square().flatten())
    return float(total)


def _shuffle(features: Tensor, generator: torch.Generator) -> Tensor:
    return features[torch.randperm(len(features), generator=generator).to(features.device)]


def _centre(features: Tensor) -> tuple[Tensor, Tensor]:
    exact = features.double()
    mean = exact.mean(0)
    return exact - mean, mean


def _reduce(factor: Tensor) -> Tensor:
    """A factor with the same Gram matrix F' F and at most feature_dim rows."""
    return factor if len(factor) <= factor.shape[1] else torch.linalg.qr(factor, mode="r").R


def _trace_of_root(first: Tensor, second: Tensor) -> float:
    lower, failed = torch.linalg.cholesky_ex(first)
    if not failed and float(lower.diagonal().min()) > 1e-7 * float(lower.diagonal().max()):
        eigenvalues = torch.linalg.eigvalsh(lower.T @ second @ lower)
        if float(eigenvalues[0]) > 1e-10 * float(eigenvalues[-1]):
            return float(eigenvalues.sqrt().sum())
    # For a singular covariance, take singular values of the factors: the root of an eigenvalue's rounding error is 1e-8
    # and not 1e-16.
    return float(torch.linalg.svdvals(_factorise(first).T @ _factorise(second)).sum())


def _factorise(covariance: Tensor) -> Tensor:
    eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
    rounding = len(eigenvalues) * torch.finfo(eigenvalues.dtype).eps * float(eigenvalues[-1])
    return eigenvectors * eigenvalues.masked_fill(eigenvalues <= rounding, 0.0).sqrt()
