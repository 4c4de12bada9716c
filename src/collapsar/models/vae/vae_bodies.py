"""The parts of the VAE: encoders and decoders sized from the shape of the data, and a mixture in place of its prior.

Encoders map an image [N, C, H, W] to 2 * latent_dim numbers, decoders latents to the logits of an image. Weights have
torch's default initialisation. `width` is the number of channels of the first stage. A unit of extra depth
(`layers.py`) is a 3x3 convolution for each stage in `conv`, a residual block for each stage in `residual`, and a linear
layer after each hidden one in `patch` and `mlp`.

A decoder has learnt only the latents that the encoder gives to real images, the aggregated posterior. It is not quite
N(0, I): samples from the prior fall into its holes, and each generation learns those too (Dai & Wipf 2019,
arXiv:1903.05789; Ghosh et al. 2020, arXiv:1903.12436, fit a mixture as here). Normal noise e becomes a latent
m_k + L_k e; L_k is the Cholesky factor of component k's covariance. Noise of variance lambda (`bias.py`) gives each
component lambda times its covariance, and leaves the shares.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import inf, log, pi, prod
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from collapsar.foundations.errors import check_positive
from collapsar.models.conditioning import LabelledImages, LabelledLatents
from collapsar.models.layers import (
    PLAIN,
    Layers,
    Residual,
    begun_at_zero,
    bottom_shape,
    check_image_shape,
    convolution,
    downsampler,
    stage_channels,
    upsampler,
)
from collapsar.models.shapes import Latents, Rows

Body = Literal["conv", "patch", "mlp", "residual"]
Coder = tuple[nn.Module, nn.Module]
"""Encoder and decoder."""
SMALLEST_SIDE_OF_LARGE_PATCHES = 16  # smaller images have 2x2 patches, or little would be left


def make_coder(
    body: Body,
    sample_shape: Sequence[int],
    *,
    latent_dim: int,
    width: int,
    layers: Layers = PLAIN,
    num_classes: int | None = None,
) -> Coder:
    """A body's encoder and decoder, with channels-last weights, which make convolutions faster.

    With `num_classes` both take classes; each comes from a body of its own, as their sizes differ.
    """
    make = partial(CODERS[body], width=width, layers=layers)
    if num_classes is None:
        encoder, decoder = make(sample_shape, latent_dim=latent_dim)
    else:
        channels, height, image_width = check_image_shape(sample_shape)
        encoder, _ = make((channels + 1, height, image_width), latent_dim=latent_dim)
        _, decoder = make(sample_shape, latent_dim=2 * latent_dim)
        encoder = LabelledImages(encoder, num_classes=num_classes, sides=(height, image_width))
        decoder = LabelledLatents(decoder, num_classes=num_classes, latent_dim=latent_dim)
    return encoder.to(memory_format=torch.channels_last), decoder.to(memory_format=torch.channels_last)


def residual_block(num_channels: int, *, layers: Layers = PLAIN) -> Residual:
    """X + conv(act(conv(act(x)))), pre-activated (He et al. 2016, arXiv:1603.05027).

    The last convolution is initialised to zero, so that the block starts as the identity (Goyal et al. 2017,
    arXiv:1706.02677, section 5.1) and trains without normalisation.
    """
    last = begun_at_zero(convolution(num_channels, num_channels))
    first = [*layers.activated(num_channels, nn.SiLU), convolution(num_channels, num_channels)]
    return Residual(*first, *layers.activated(num_channels, nn.SiLU), last)


def conv(sample_shape: Sequence[int], *, latent_dim: int, width: int, layers: Layers) -> Coder:
    """Strided convolutions, and transposed ones back (`layers.py`)."""
    encoder = nn.Sequential(
        downsampler(sample_shape, width=width, activation=nn.SiLU, layers=layers),
        nn.Linear(prod(bottom_shape(sample_shape, width=width)), 2 * latent_dim),
    )
    return encoder, upsampler(sample_shape, latent_dim=latent_dim, width=width, activation=nn.SiLU, layers=layers)


def residual(sample_shape: Sequence[int], *, latent_dim: int, width: int, layers: Layers) -> Coder:
    """Strided convolutions with a residual block, at first the identity, after each, and the mirror image back."""
    bottom, stages = bottom_shape(sample_shape, width=width), stage_channels(sample_shape, width=width)
    down: list[nn.Module] = []
    for before, after in pairwise(stages):
        down += [nn.Conv2d(before, after, kernel_size=4, stride=2, padding=1)]
        down += [residual_block(after, layers=layers) for _ in range(1 + layers.depth)]
        down += layers.activated(after, nn.SiLU)
    up: list[nn.Module] = [nn.Linear(latent_dim, prod(bottom)), nn.Unflatten(1, bottom)]
    for before, after in pairwise(reversed(stages)):
        up += [residual_block(before, layers=layers) for _ in range(1 + layers.depth)]
        up += layers.activated(before, nn.SiLU)
        up += [nn.ConvTranspose2d(before, after, kernel_size=4, stride=2, padding=1)]
    return nn.Sequential(*down, nn.Flatten(), nn.Linear(prod(bottom), 2 * latent_dim)), nn.Sequential(*up)


def patch(sample_shape: Sequence[int], *, latent_dim: int, width: int, layers: Layers) -> Coder:
    """Patches of 4x4 or 2x2 pixels to `width` channels, linear layers of 16 and 8 times the width, and back.

    Most of its work is in large matrix products, which a CPU does several times faster than small convolutions.
    """
    num_channels, *sides = check_image_shape(sample_shape)
    side = patch_side(sample_shape)
    grid = (width, sides[0] // side, sides[1] // side)
    hidden = (16 * width, 8 * width)
    encoder = nn.Sequential(
        nn.Conv2d(num_channels, width, kernel_size=side, stride=side),
        *layers.activated(width, nn.SiLU),
        nn.Flatten(),
        *linear_layers(prod(grid), *hidden, 2 * latent_dim, layers=layers),
    )
    decoder = nn.Sequential(
        *linear_layers(latent_dim, *reversed(hidden), prod(grid), layers=layers),
        *layers.activated(prod(grid), nn.SiLU, is_image=False),
        nn.Unflatten(1, grid),
        nn.Conv2d(width, 2 * width, kernel_size=1),
        *layers.activated(2 * width, nn.SiLU),
        nn.Conv2d(2 * width, num_channels * side**2, kernel_size=1),
        nn.PixelShuffle(side),
    )
    return encoder, decoder


def mlp(sample_shape: Sequence[int], *, latent_dim: int, width: int, layers: Layers) -> Coder:
    """Two hidden layers of 16 times the width on the pixels, and two back."""
    shape = check_image_shape(sample_shape)
    hidden = (16 * width, 16 * width)
    down = linear_layers(prod(shape), *hidden, 2 * latent_dim, layers=layers)
    up = linear_layers(latent_dim, *hidden, prod(shape), layers=layers)
    return nn.Sequential(nn.Flatten(), *down), nn.Sequential(*up, nn.Unflatten(1, shape))


CODERS: dict[Body, Callable[..., Coder]] = {"conv": conv, "patch": patch, "mlp": mlp, "residual": residual}


def patch_side(sample_shape: Sequence[int]) -> int:
    """Side of a patch in pixels: 4 if both sides of the image are multiples of 4 and at least 16, else 2."""
    _, *sides = check_image_shape(sample_shape)
    return 4 if all(side % 4 == 0 and side >= SMALLEST_SIDE_OF_LARGE_PATCHES for side in sides) else 2


def linear_layers(*sizes: int, layers: Layers) -> list[nn.Module]:
    """Linear layers between these sizes, with an activation after each but the last."""
    *widths, last = sizes
    stack: list[nn.Module] = []
    for before, after in pairwise(widths):
        for size in [before, *[after] * layers.depth]:
            stack += [nn.Linear(size, after), *layers.activated(after, nn.SiLU, is_image=False)]
    return [*stack, nn.Linear(widths[-1], last)]


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
