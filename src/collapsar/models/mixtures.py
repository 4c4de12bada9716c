"""Gaussian mixtures, fitted by expectation maximisation (EM); one may take the place of a VAE's prior.

A VAE's decoder has learnt only the latents that the encoder gives to real images, the aggregated posterior. It is not
quite N(0, I): samples from the prior fall into its holes, and each generation learns those too (Dai & Wipf 2019,
arXiv:1903.05789; Ghosh et al. 2020, arXiv:1903.12436, fit a mixture as here). Normal noise e becomes a latent
m_k + L_k e; L_k is the Cholesky factor of component k's covariance. Noise of variance lambda (`bias.py`) gives each
component lambda times its covariance, and leaves the shares.
"""

from math import inf, log, pi

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from collapsar.errors import check_positive
from collapsar.models.shapes import Latents, Rows

MOST_LATENTS = 4096  # a mixture of latents is fitted to at most so many
MIN_VARIANCE = 1e-4  # added to each variance, so that no component collapses onto one sample
MOST_STEPS, LEAST_GAIN = 200, 1e-3  # EM ends when a step gains less nats a sample


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

    def fit(self, latents: Latents, *, generator: torch.Generator) -> None:
        """Fit the mixture after the training of the VAE, from one start that the generator draws."""
        shares, means, factors = fit_mixture(latents, num_components=len(self.weights), generator=generator)
        self.weights.copy_(shares)
        self.means.copy_(means)
        self.factors.copy_(factors)

    def place(self, noise: Latents, generator: torch.Generator) -> Latents:
        """Latents from normal noise, on the CPU; the generator draws the component of each."""
        shares = torch.rand(len(noise), generator=generator)
        ends = self.weights.cpu().cumsum(0)
        components = torch.searchsorted(ends, shares).clamp(max=len(ends) - 1)
        factors, means = self.factors.cpu()[components], self.means.cpu()[components]
        return means + (factors @ noise.unsqueeze(2)).squeeze(2)


def fit_mixture(
    samples: Rows, *, num_components: int, generator: torch.Generator
) -> tuple[Float[Tensor, " component"], Float[Tensor, "component dim"], Float[Tensor, "component dim dim"]]:
    """Shares, means and Cholesky factors of the components, in float64 on the CPU.

    EM begins with each sample in the component of its nearest centre (`spread_out`).
    """
    rows = samples.double().cpu()
    nearest = torch.cdist(rows, spread_out(rows, num_components, generator)).argmin(1)
    belongs = F.one_hot(nearest, num_components).double().T  # [component, sample]
    before = -inf
    for _ in range(MOST_STEPS):
        shares, means, factors = maximised(rows, belongs)
        log_joint = shares.log().unsqueeze(1) + log_densities(rows, means=means, factors=factors)
        log_likelihood = log_joint.logsumexp(0)
        belongs, now = (log_joint - log_likelihood).exp(), float(log_likelihood.mean())
        if now - before < LEAST_GAIN:
            break
        before = now
    return shares, means, factors


def maximised(rows: Rows, belongs: Float[Tensor, "component sample"]) -> tuple[Tensor, Tensor, Tensor]:
    """The likeliest shares, means and Cholesky factors, given how much each sample belongs to each component."""
    counts = belongs.sum(1) + 10 * torch.finfo(rows.dtype).eps  # a component may be empty
    means = belongs @ rows / counts.unsqueeze(1)
    centred = rows - means.unsqueeze(1)  # [component, sample, dim]
    covariances = (centred.mT * (belongs / counts.unsqueeze(1)).unsqueeze(1)) @ centred
    return counts / counts.sum(), means, torch.linalg.cholesky(covariances + MIN_VARIANCE * torch.eye(rows.shape[1]))


def log_densities(
    rows: Rows, *, means: Float[Tensor, "component dim"], factors: Float[Tensor, "component dim dim"]
) -> Float[Tensor, "component sample"]:
    """Logarithm of each component's density at each sample."""
    whitened = torch.linalg.solve_triangular(factors, (rows - means.unsqueeze(1)).mT, upper=False)
    log_volumes = factors.diagonal(dim1=1, dim2=2).log().sum(1, keepdim=True) + 0.5 * rows.shape[1] * log(2 * pi)
    return -0.5 * whitened.square().sum(1) - log_volumes


def spread_out(rows: Rows, num_centres: int, generator: torch.Generator) -> Float[Tensor, "centre dimension"]:
    """Samples drawn in proportion to their squared distance from those before (Arthur & Vassilvitskii 2007)."""
    chosen = [int(torch.randint(len(rows), (), generator=generator))]
    distances = torch.full((len(rows),), inf, dtype=rows.dtype)
    for _ in range(num_centres - 1):
        distances = distances.minimum((rows - rows[chosen[-1]]).square().sum(1))
        weights = distances if distances.sum() > 0 else torch.ones_like(distances)  # all samples are centres already
        chosen.append(int(torch.multinomial(weights, 1, generator=generator)))
    return rows[chosen]
