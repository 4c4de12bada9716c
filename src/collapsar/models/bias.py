"""Sampling bias: one lambda that means the same in every family of models.

A biased sampler prefers what the model finds likely, as people who publish generated pictures do (Alemohammad et al.
2023, arXiv:2307.01850, section 3). Here it draws from p^(1/lambda), normalised, with lambda in (0, 1]: 1 is the model
itself; towards 0 only the mode is left. For each family this means

    normal latents       N(0, I)           ->  N(0, lambda I)
    Gaussian             N(mu, Sigma)      ->  N(mu, lambda Sigma), the paper's equation 2
    Bernoulli pixels     sigmoid(logits)   ->  sigmoid(logits / lambda)
    categories           p_k               ->  p_k^(1/lambda) / sum_j p_j^(1/lambda)

Truncation cuts N(0, I) to [-tau, tau], with the tau that leaves the variance lambda. In code lambda is `spread`. On an
analytic model, which has one density, all three biases are the same.
"""

from math import exp, inf, pi, sqrt
from typing import ClassVar

import torch
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.special import ndtr
from torch import Tensor

from collapsar.foundations.errors import UsageError
from collapsar.models.shapes import Latents


class Bias:
    """How sampling departs from the model's own distribution; `spread` is lambda, in (0, 1]."""

    name: ClassVar[str]
    tempers_likelihood: ClassVar[bool] = False

    def __init__(self, *, spread: int | float) -> None:
        if not 0 < spread <= 1:
            raise UsageError(f"bias.spread must be above 0 and at most 1: got {spread}")
        self.spread = float(spread)
        self.likelihood_spread = self.spread if self.tempers_likelihood else 1.0  # lambda of the decoder's likelihood

    def draw_latents(self, num_samples: int, *, latent_dim: int, generator: torch.Generator) -> Latents:
        """Latents for a model whose prior is standard normal, on the CPU; unbiased if the likelihood is tempered."""
        return torch.randn(num_samples, latent_dim, generator=generator)


class ScaledLatents(Bias):
    """Latents from N(0, lambda I): their standard deviation is sqrt(lambda)."""

    name = "scaled_latents"

    def draw_latents(self, num_samples: int, *, latent_dim: int, generator: torch.Generator) -> Latents:
        return sqrt(self.spread) * torch.randn(num_samples, latent_dim, generator=generator)


class TruncatedLatents(Bias):
    """Each latent variable from N(0, 1), redrawn while beyond +-tau (Brock et al. 2019, the truncation trick)."""

    name = "truncated_latents"

    def draw_latents(self, num_samples: int, *, latent_dim: int, generator: torch.Generator) -> Latents:
        tau = truncation_for_variance(self.spread)
        uniform = torch.rand(num_samples, latent_dim, generator=generator, dtype=torch.float64)
        lowest, highest = ndtr(-tau), ndtr(tau)  # redrawing until inside equals drawing the quantile between these
        quantiles = (lowest + (highest - lowest) * uniform).clamp(1e-16, 1 - 1e-16)
        return torch.special.ndtri(quantiles).float()


class TemperedLikelihood(Bias):
    """The decoder's likelihood at temperature lambda, latents unchanged; needs a model that draws from a likelihood."""

    name = "tempered_likelihood"
    tempers_likelihood = True


UNBIASED = ScaledLatents(spread=1.0)


def temper_sd(sd: float, *, spread: float) -> float:
    """The standard deviation of a Gaussian likelihood at lambda."""
    return sqrt(spread) * sd


def temper_logits(logits: Float[Tensor, "..."], *, spread: float) -> Float[Tensor, "..."]:
    """Logits of independent Bernoulli pixels at lambda."""
    return logits / spread


def temper_probabilities(
    probabilities: Float[Tensor, "*batch category"], *, spread: float
) -> Float[Tensor, "*batch category"]:
    """Probabilities of categories at lambda; impossible categories stay impossible."""
    return probabilities if spread == 1 else (probabilities.log() / spread).softmax(-1)


def truncation_for_variance(variance: float) -> float:
    """The tau at which a standard normal cut to [-tau, tau] has this variance."""
    if variance > 1 - 1e-9:
        return inf
    return float(brentq(lambda tau: truncated_variance(tau) - variance, 1e-4 * sqrt(variance), 40.0))


def truncated_variance(tau: float) -> float:
    """Variance of a standard normal cut to [-tau, tau]: 1 - 2 tau phi(tau) / (2 Phi(tau) - 1), for small tau tau²/3."""
    if tau < 1e-3:
        return tau**2 / 3  # the formula below cancels
    return float(1 - 2 * tau * exp(-(tau**2) / 2) / sqrt(2 * pi) / (2 * ndtr(tau) - 1))
