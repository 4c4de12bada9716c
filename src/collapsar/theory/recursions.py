"""More closed forms: loops with fresh real data and a bias, kernels, categories with real data, and curation.

Conventions and sources are those of `formulas`. A form is exact unless its docstring says approximation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, comb, exp, log, sqrt


@dataclass(frozen=True)
class Moments:
    """Expectations over chains, of pools whose variance v_t is divided by their size."""

    squared_mean: float  # E[mu_t²]
    variance: float  # E[v_t]
    scatter: float  # the variance of v_t, to the first order in 1/N, if models are normal


def moments_with_fresh_real(
    generation: int,
    *,
    num_real: int,
    num_samples: int,
    num_fresh: int,
    scale: int | float = 1.0,
    added: int | float = 0.0,
) -> Moments:
    """Pools of N samples, k of them fresh real, if a model is sampled with the variance W = s v + h²; first n real.

    Let a = k/N. M_0 = 1/n, V_0 = 1 - 1/n and U_0 = 2/n, then

        M_{t+1} = (a + (1-a) W_t)/N + (1-a)² M_t
        V_{t+1} = a + (1-a) (M_t + W_t) - M_{t+1}
        U_{t+1} = 2 (a + (1-a) W_t²)/N + ((1-a) s)² U_t

    A Gaussian with bias lambda has s = lambda; a kernel of sd c sqrt(v) has s = 1 + c², one of sd h adds h². V_t stays
    bounded if and only if (1-a) s < 1, so a relative kernel diverges if a <= c²/(1+c²). In large pools it tends to
    (a + (1-a) h²) / (1-(1-a) s). If s = 1 and h = 0, M_t tends to 1 / (1 - a + a N (2-a)).
    """
    fresh = num_fresh / num_samples
    squared_mean, variance, scatter = 1 / num_real, 1 - 1 / num_real, 2 / num_real
    for _ in range(generation):
        drawn = scale * variance + added
        second_moment = fresh + (1 - fresh) * (squared_mean + drawn)
        squared_mean = (fresh + (1 - fresh) * drawn) / num_samples + (1 - fresh) ** 2 * squared_mean
        variance = second_moment - squared_mean
        scatter = 2 * (fresh + (1 - fresh) * drawn**2) / num_samples + ((1 - fresh) * scale) ** 2 * scatter
    return Moments(squared_mean, variance, scatter)


def wasserstein_of_moments(moments: Moments) -> float:
    """E[W2²] = M + V + 1 - 2 E[sd], with E[sd] = sqrt(V) (1 - U/(8 V²)): to the first order in 1/N."""
    sd = sqrt(moments.variance) * (1 - moments.scatter / (8 * moments.variance**2))
    return moments.squared_mean + moments.variance + 1 - 2 * sd


def effective_sample_size(wasserstein: int | float) -> float:
    """How many real samples give a fit as good as one with this E[W2²]: 1.5 / E[W2²], to the first order.

    Source: Alemohammad et al. 2023, figures 10 to 12 and 30. Without bias it tends to (2-a) n for n fresh samples, a
    share a of each pool. A number of synthetic samples is *admissible* if it is at least n.
    """
    return 1.5 / wasserstein


def second_moment_with_kernels(
    generation: int, *, kernel_variance: int | float, real_share: int | float | None
) -> float:
    """E[mu_t² + v_t] = 1 + h² (1 - (1-a)^(t+1)) / a, if a kernel of sd h is around each sample of a pool.

    A share a of each pool is real, the same samples or fresh ones; without any, 1 + h² (t+1). None: pools accumulate,
    as many new samples a generation as real ones, and 1 + h² sum_{i=1..t+1} 1/i (Kazdan et al. 2024). v_t is the
    variance of the density, its kernel included; the samples of the pool have h² less.
    """
    pasts = range(generation + 1)
    return 1 + kernel_variance * sum(1 / (1 + i) if real_share is None else (1 - real_share) ** i for i in pasts)


def heterozygosity(variance: int | float, *, shares: Sequence[float]) -> float:
    """E[1 - sum_k p_k²] = E[v_t] H_0, with E[v_t] of a Gaussian fitted by maximum likelihood under the same regime.

    Under replace this is the Wright-Fisher drift, (1 - 1/n)^(t+1) H_0 (Wright 1931, Genetics 16).
    As one-hot vectors, categories have a second moment of 1, which sampling conserves. With the truth's shares p and
    E[p_t] = p the squared error is E sum_k (p_tk - p_k)² = H_0 (1 - E[v_t]) (with real data: arXiv:2602.10531).
    """
    return variance * (1 - sum(share**2 for share in shares))


def curated_shares(
    shares: Sequence[float], *, favoured: Sequence[int], strength: int | float, num_choices: int | None
) -> list[float]:
    """Shares after curation of infinitely many samples: each is the choice of one person among K, who favours a class.

    p' = p E[K e^r / (e^r + sum of the e^r of K - 1 others)], r = `strength` for the class that the person favours and 0
    for others; None is the limit of large K, p' = p e^r / E[e^r]. The favoured classes share the people equally, and p'
    is their mean. So M of them end at an entropy of ln M if K > 2; K = 2 leaves the balance of two as it is.
    Source: Ferbach et al. 2024, arXiv:2407.09499; several preferences: arXiv:2605.07724.
    """
    weight, found = exp(strength), [0.0] * len(shares)
    for liked in favoured:
        share = shares[liked]
        if num_choices is None:
            kept = share * weight / (share * weight + 1 - share)
        else:
            kept = sum(
                comb(num_choices, count)
                * share**count
                * (1 - share) ** (num_choices - count)
                * count
                * weight
                / (count * weight + num_choices - count)
                for count in range(1, num_choices + 1)
            )
        others = (1 - kept) / (1 - share) if share < 1 else 0.0
        for index, own in enumerate(shares):
            found[index] += (kept if index == liked else others * own) / len(favoured)
    return found


def entropy(shares: Sequence[float]) -> float:
    """-sum_k p_k ln p_k."""
    return -sum(share * log(share) for share in shares if share > 0)


def first_passage_share(generation: int, *, num_samples: int, fraction: int | float) -> float:
    """P(v_s <= fraction for an s <= t) under replace, unbiased: the share of chains that have lost so much variance.

    log v_t is a random walk whose steps are those of log(chi²_{n-1} / (n-1)); its density is summed on a grid. For
    large n the time is about inverse Gaussian, with level b = ln(1/fraction) + .583 sqrt(2/(n-1)) (Siegmund 1979, the
    overshoot), mean b (n-1) and coefficient of variation sqrt(2/b): for one half, .78 n and 1.6 at n = 100.
    """
    import numpy as np  # late, as in `formulas`
    from scipy.signal import fftconvolve
    from scipy.stats import chi2

    degrees = num_samples - 1
    width, reach = sqrt(2 / degrees) / 40, 10 * sqrt(2 * (generation + 1) / degrees)
    most = ceil(2 * reach / width)
    edges = (np.arange(-most, most + 2) - 0.5) * width
    steps = np.diff(chi2.cdf(degrees * np.exp(edges), degrees))  # by cells moved, from -most to most
    low = log(fraction)
    levels = low + width * np.arange(ceil((reach - low) / width) + 1)
    alive = np.diff(chi2.cdf(degrees * np.exp(levels), degrees))  # by cells above the level, after the first fit
    for _ in range(generation):
        alive = fftconvolve(alive, steps, mode="full")[most : most + len(levels) - 1].clip(min=0)
    return float(1 - alive.sum())
