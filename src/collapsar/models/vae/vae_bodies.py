"""Bodies of the VAE: encoders and decoders sized from the shape of the data, chosen by name.

    conv      strided convolutions, and transposed ones back (`layers.py`)
    residual  `conv` with a residual block, at first the identity, after each halving of the sides
    patch     a convolution on patches, two linear layers, and a pixel shuffle back: most of its work is in large
              matrix products, which a CPU does several times faster than small convolutions
    mlp       linear layers on the pixels

Encoders map an image [N, C, H, W] to 2 * latent_dim numbers, decoders latents to the logits of an image. Weights have
torch's default initialisation. `width` is the number of channels of the first stage; linear layers have 8 or 16 times
as many hidden units. A unit of extra depth (`layers.py`) is a 3x3 convolution for each stage in `conv`, a residual
block for each stage in `residual`, and a linear layer after each hidden one in `patch` and `mlp`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import prod
from typing import Literal

import torch
from torch import nn

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
    """Strided convolutions, and transposed ones back."""
    encoder = nn.Sequential(
        downsampler(sample_shape, width=width, activation=nn.SiLU, layers=layers),
        nn.Linear(prod(bottom_shape(sample_shape, width=width)), 2 * latent_dim),
    )
    return encoder, upsampler(sample_shape, latent_dim=latent_dim, width=width, activation=nn.SiLU, layers=layers)


def residual(sample_shape: Sequence[int], *, latent_dim: int, width: int, layers: Layers) -> Coder:
    """Strided convolutions with a residual block after each, and the mirror image back."""
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
    """Patches of 4x4 or 2x2 pixels to `width` channels, linear layers of 16 and 8 times the width, and back."""
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
