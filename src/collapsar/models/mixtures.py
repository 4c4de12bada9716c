"""Gaussian mixtures, fitted by scikit-learn's expectation maximisation; one may take the place of a VAE's prior.

A VAE's decoder has learnt only the latents that the encoder gives to real images, the aggregated posterior. It is not
quite N(0, I): samples from the prior fall into its holes, and each generation learns those too (Dai & Wipf 2019,
arXiv:1903.05789; Ghosh et al. 2020, arXiv:1903.12436, fit a mixture as here). Normal noise e becomes a latent
m_k + L_k e; L_k is the Cholesky factor of component k's covariance.
"""

import warnings

import torch
from jaxtyping import Float
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from collapsar.errors import check_positive
from collapsar.models.shapes import Latents, Rows

MOST_LATENTS = 4096  # a mixture of latents is fitted to at most so many


class LatentMixture(nn.Module):
    """A Gaussian mixture with full covariances, kept with the weights; N(0, I) before it is fitted."""

    weights: Float[Tensor, " component"]
    means: Float[Tensor, "component latent"]
    factors: Float[Tensor, "component latent latent"]

    def __init__(self, num_components: int, *, latent_dim: int) -> None:
        super().__init__()
        check_positive(latent_components=num_components)
        self.register_buffer("weights", torch.full((num_components,), 1 / num_components))
        self.register_buffer("means", torch.zeros(num_components, latent_dim))
        self.register_buffer("factors", torch.eye(latent_dim).repeat(num_components, 1, 1))

    def fit(self, latents: Latents, *, seed: int) -> None:
        """Fit the mixture after the training of the VAE, from one start."""
        mixture = GaussianMixture(len(self.weights), random_state=seed % 2**32, reg_covar=1e-4, max_iter=200)
        shares, means, covariances = fit_mixture(latents, mixture)
        self.weights.copy_(shares)
        self.means.copy_(means)
        self.factors.copy_(torch.linalg.cholesky(covariances))

    def place(self, noise: Latents, generator: torch.Generator) -> Latents:
        """Latents from normal noise, on the CPU; the generator draws the component of each."""
        shares = torch.rand(len(noise), generator=generator)
        ends = self.weights.cpu().cumsum(0)
        components = torch.searchsorted(ends, shares).clamp(max=len(ends) - 1)
        factors, means = self.factors.cpu()[components], self.means.cpu()[components]
        return means + (factors @ noise.unsqueeze(2)).squeeze(2)


def fit_mixture(samples: Rows, mixture: GaussianMixture) -> tuple[Tensor, Tensor, Tensor]:
    """Shares, means and covariances of the components, in float64; an almost converged fit is good enough."""
    # Several threads sum in another order, which changes results.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a collapsed pool has few distinct samples
        mixture.fit(samples.double().cpu().numpy())
    shares, means, covariances = map(torch.from_numpy, (mixture.weights_, mixture.means_, mixture.covariances_))
    return shares, means, covariances
