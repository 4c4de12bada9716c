"""Closed forms of recursive training, each with its source; `laws` says which chains they hold for.

Convention, everywhere: the real data are independent draws from the truth, *generation 0 is fitted to n of them*, and
an expectation is over the real data and all later draws. A parameter has thus been fitted `generation + 1` times, which
is the exponent below; papers that call the truth generation 0 write t for our generation + 1. The truth of a Gaussian
is N(0, 1). "Maximum likelihood" divides a variance by n, "unbiased" by n - 1. Exact unless the docstring says bound or
approximation; derived here unless it names a source:

    Alemohammad et al. 2023, arXiv:2307.01850        Bertrand et al. 2024, arXiv:2310.00429
    Dohmatob et al. 2024, arXiv:2402.07712           Gerstgrasser et al. 2024, arXiv:2404.01413
    He, Xu & Cheng 2025, arXiv:2502.18049            Kazdan et al. 2024, arXiv:2410.16713
    Shumailov et al. 2024, Nature 631                Suresh et al. 2024, arXiv:2412.17646
"""

from collections.abc import Sequence
from math import exp, floor, lgamma, log, prod, sqrt

SECOND_MOMENT = 1.0
"""E[mu_t² + v_t] in every generation of every regime that samples without bias, fitted by maximum likelihood.

The pool's second moment is a martingale: it is conserved if the pool holds real samples, draws of any earlier model, or
both, in any proportion or weighting that does not depend on their values. So E[v_t] = 1 - E[mu_t²].
"""


def squared_mean_under_replace(generation: int, *, num_samples: int) -> float:
    """E[mu_t²] = 1 - (1 - 1/n)^(t+1), maximum likelihood: every fit takes a share of 1/n from the variance.

    Source of E[v_t]: Shumailov et al. 2024 (the one-dimensional Gaussian); Alemohammad et al. 2023, section 3.1.
    """
    return 1 - (1 - 1 / num_samples) ** (generation + 1)


def median_variance_under_replace(generation: int, *, num_samples: int, is_unbiased: bool) -> float:
    """The median of v_t, about exp(-2 (t+1) / n), or exp(-(t+1) / (n-1)) when unbiased: an approximation.

    A typical chain shrinks faster than the mean, and to 0 even if the mean stays. Source: Alemohammad et al. 2023,
    section 3.1, from the expectation of log v_t.
    """
    rate = 1 / (num_samples - 1) if is_unbiased else 2 / num_samples
    return exp(-rate * (generation + 1))


def sd_shrinkage(num_samples: int) -> float:
    """a(n) = sqrt(2/(n-1)) Gamma(n/2) / Gamma((n-1)/2) < 1: E[sd] of n Gaussian samples, variance unbiased.

    Under replace E[sd_t] = a(n)^(t+1). Source: Bertrand et al. 2024, Proposition 1.
    """
    return sqrt(2 / (num_samples - 1)) * exp(lgamma(num_samples / 2) - lgamma((num_samples - 1) / 2))


def wasserstein_under_replace(generation: int, *, num_samples: int) -> float:
    """E[W2²] = (t+1)/n + 2 (1 - a(n)^(t+1)), unbiased: squared distance of N(mu_t, v_t) from the truth.

    About 1.5 (t+1)/n while that is small, which is Shumailov et al. 2024, supplementary equation 6.
    """
    num_fits = generation + 1
    return num_fits / num_samples + 2 * (1 - sd_shrinkage(num_samples) ** num_fits)


def variance_under_biased_replace(generation: int, *, spread: float) -> float:
    """E[v_t] = lambda^t, unbiased, when each model is sampled with its covariance multiplied by lambda.

    The exponent is t, not t + 1: the real data were drawn without bias. Without bias lambda is 1 and the mean stays;
    yet v_t goes to 0 almost surely (`log_variance_change`). Source: Alemohammad et al. 2023, section 3.1, equation 2;
    for lambda = 1 also Shumailov et al. 2024, Theorem 3.1.
    """
    return spread**generation


def squared_mean_under_accumulate(generation: int, *, num_samples: int) -> float:
    """E[mu_t²] = 1 - prod_{i=1..t+1} (1 - 1/(n i²)), maximum likelihood, n new samples a generation.

    The product is E[v_t]. It tends to sin(pi/sqrt(n)) / (pi/sqrt(n)), above 0 for n > 1 (Euler's product of the sine).
    Source: Kazdan et al. 2024.
    """
    return 1 - prod(1 - 1 / (num_samples * i**2) for i in range(1, generation + 2))


def squared_mean_with_fixed_real(generation: int, *, num_real: int, num_real_kept: int, num_synthetic: int) -> float:
    """E[mu_t²] when every pool holds k of the same n real samples and m synthetic ones, maximum likelihood.

    The k are drawn anew each time; k = n keeps all. With R_t = E[(real mean) mu_t], R_0 = M_0 = 1/n,
    R_{t+1} = (k/n + m R_t) / (k+m) and M_{t+1} = (k + 2 k m R_t + m² M_t + m (1 - M_t)) / (k+m)². The protocols are
    those of Alemohammad et al. 2023, section 4, and Bertrand et al. 2024.
    """
    kept, drawn = num_real_kept, num_synthetic
    squared_mean = shared = 1 / num_real
    for _ in range(generation):
        synthetic = drawn**2 * squared_mean + drawn * (1 - squared_mean)
        squared_mean = (kept + 2 * kept * drawn * shared + synthetic) / (kept + drawn) ** 2
        shared = (kept / num_real + drawn * shared) / (kept + drawn)
    return squared_mean


def squared_mean_of_pools(generation: int, *, num_samples: int, num_kept: int | None, budget: int | None) -> float:
    """E[mu_t²] when pools hold the last `num_kept` batches of n samples (None: all), or `budget` random ones of these.

    Maximum likelihood; with all batches and a budget of n, Kazdan et al. 2024. Batch 0 is real, batch j + 1 is drawn
    from fit j, which sees the batches in its window. Let S(g, h) be E[x y] of two different samples of batches g and
    h. A sample of batch h is its model's mean plus noise, so S(g, h) is the mean of E[x y] over the y in that model's
    window, x itself included if it lies there (E[x²] = 1, conserved); S(h, h) = E[mu²]. A random subsample changes only
    how often a sample meets itself.
    """
    moments = [[0.0]]  # S(0, 0): real samples are independent, truth at 0
    squared_mean = 0.0
    for fit in range(generation + 1):
        window = range(0 if num_kept is None else max(fit - num_kept + 1, 0), fit + 1)
        window_size = num_samples * len(window)
        with_window = [
            sum(num_samples * moments[batch][other] for other in window)
            + (1 - moments[batch][batch] if batch in window else 0)
            for batch in range(len(moments))
        ]
        different = sum(num_samples * (with_window[batch] - 1) for batch in window) / (window_size * (window_size - 1))
        pool_size = budget or window_size
        squared_mean = 1 / pool_size + (1 - 1 / pool_size) * different
        across = [total / window_size for total in with_window]
        for row, moment in zip(moments, across, strict=True):
            row.append(moment)
        moments.append([*across, squared_mean])
    return squared_mean


def squared_mean_with_weights(generation: int, *, real_weight: float, num_real: int, num_synthetic: int) -> float:
    """E[mu_t²] when `num_real` fresh real samples together weigh w and `num_synthetic` synthetic ones 1 - w.

    M_0 = 1/n and M_{t+1} = w²/n + (1-w)² (M_t + (1 - M_t)/m), with n real and m synthetic samples, generation 0 fitted
    to n, maximum likelihood (weighted). He, Xu & Cheng 2025 have it for a known variance, with (1-w)² (M_t + 1/m).
    """
    squared_mean = 1 / num_real
    for _ in range(generation):
        synthetic = squared_mean + (1 - squared_mean) / num_synthetic
        squared_mean = real_weight**2 / num_real + (1 - real_weight) ** 2 * synthetic
    return squared_mean


def golden_ratio_weight(real_per_synthetic: float) -> float:
    """The weight of fresh real data that minimises the limit of E[mu_t²]: w* = (sqrt(k² + 4k) - k) / 2.

    k is the number of real samples for each synthetic one; k = 1 gives the reciprocal of the golden ratio, .618.
    Asymptotic in the number of samples. Source: He, Xu & Cheng 2025.
    """
    return (sqrt(real_per_synthetic**2 + 4 * real_per_synthetic) - real_per_synthetic) / 2


def nearest(number: int | float) -> int:
    """Round to the nearest whole number, as regimes count samples; halves go up."""
    return floor(number + 0.5)


def regression_error(
    generation: int, *, num_samples: int, num_inputs: int, noise_variance: float, accumulates: bool
) -> float:
    """E|w_t - w*|² = s² d / (T - d - 1) (t+1), least squares on T samples with d inputs, isotropic and Gaussian.

    It is the test error beyond the noise. If pools accumulate, each generation adds T new samples at the *same* inputs,
    and sum_{i=1..t+1} 1/i² <= pi²/6 stands for t + 1; with new inputs it is an upper bound.
    Source: Dohmatob et al. 2024 (replace); Gerstgrasser et al. 2024, Theorems 1 and 2.
    """
    first = noise_variance * num_inputs / (num_samples - num_inputs - 1)
    return first * (sum(1 / i**2 for i in range(1, generation + 2)) if accumulates else generation + 1)


def zipf_shares(*, num_categories: int, exponent: int | float) -> list[float]:
    """Shares proportional to (k + 1)^-s for k = 0 to K - 1: a few frequent categories and a tail; equal for s = 0."""
    unnormalised = [(rank + 1) ** -exponent for rank in range(num_categories)]
    return [share / sum(unnormalised) for share in unnormalised]


def alive_categories_lower_bound(generation: int, *, num_samples: int, shares: Sequence[float]) -> float:
    """E[number of categories with p_k > 0] >= sum_k (1 - exp(-n p_k g_{t+1})), g_1 = 1, g_{j+1} = 1 - exp(-g_j).

    A lower bound, under replace. Source: Suresh et al. 2024.
    """
    survival = 1.0
    for _ in range(generation):
        survival = 1 - exp(-survival)
    return sum(1 - exp(-num_samples * share * survival) for share in shares)


def log_variance_change(*, num_samples: int, num_dimensions: int) -> float:
    """Expected change of log det(covariance), per generation and dimension, under replace, full and unbiased.

    (sum_{i=1..D} psi((n-i)/2) + D ln(2/(n-1))) / D < 0, from the first fit on. For D = 1 it explains why v_t goes to 0
    although its mean stays. Source: the log-determinant of a Wishart matrix (Muirhead 1982, section 3.2).
    """
    from scipy.special import digamma  # late: whoever only rounds needs no scipy

    degrees = (num_samples - i for i in range(1, num_dimensions + 1))
    return float(sum(digamma(degree / 2) for degree in degrees) / num_dimensions + log(2 / (num_samples - 1)))
