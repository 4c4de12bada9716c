"""Convolutional stacks sized from the shape of the data: 8x8 digits, 28x28 MNIST, 32x32 CIFAR, 1 or 3 channels.

A side is halved while it is even and above four pixels (8 -> 4, 28 -> 14 -> 7, 32 -> 16 -> 8 -> 4); the number of
channels doubles with each halving. Downsampling and upsampling stacks mirror each other. Weights lie channels-last,
which makes the transposed convolutions two to three times faster on a CPU. A unit of extra depth is a 3x3 convolution
that keeps the sides; it stands after each convolution on the way down and before each on the way up.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod

import torch
from torch import nn

from collapsar.errors import UsageError
from collapsar.models.layers import Layers, Wrap, convolution, unwrapped

SMALLEST_SIDE = 4


def check_image_shape(sample_shape: Sequence[int]) -> tuple[int, int, int]:
    """The shape as (channels, height, width); UsageError if the stacks cannot be sized from it."""
    if len(sample_shape) != 3 or sample_shape[0] < 1 or not all(num_halvings(side) for side in sample_shape[1:]):
        raise UsageError(
            f"sample_shape must be [channels, height, width] with even sides above {SMALLEST_SIDE} pixels: "
            f"got {list(sample_shape)}; model=table_vae, table_gan and flow, and analytic models, take vectors"
        )
    channels, height, width = sample_shape
    return channels, height, width


def num_halvings(side: int) -> int:
    """How often a side is halved until it is odd or at most four pixels."""
    return 0 if side % 2 or side <= SMALLEST_SIDE else 1 + num_halvings(side // 2)


def bottom_shape(sample_shape: Sequence[int], *, width: int) -> tuple[int, int, int]:
    """Channels, height and width of the stage with the smallest sides."""
    _, *stages = stage_channels(sample_shape, width=width)
    return stages[-1], sample_shape[1] >> len(stages), sample_shape[2] >> len(stages)


def stage_channels(sample_shape: Sequence[int], *, width: int) -> list[int]:
    """Channels at each stage boundary, from the image down to the bottom."""
    channels, *sides = check_image_shape(sample_shape)
    return [channels, *(width * 2**stage for stage in range(min(map(num_halvings, sides))))]


def downsampler(
    sample_shape: Sequence[int],
    *,
    width: int,
    activation: Callable[[], nn.Module],
    layers: Layers,
    wrap: Wrap = unwrapped,
) -> nn.Sequential:
    """Image [N, C, H, W] to flat features [N, prod(bottom_shape)]; `wrap` is applied to each convolution."""
    stack: list[nn.Module] = []
    for before, after in pairwise(stage_channels(sample_shape, width=width)):
        halving = nn.Conv2d(before, after, kernel_size=4, stride=2, padding=1)
        stack += [wrap(halving), *layers.activated(after, activation)]
        stack += extra_convolutions(after, activation=activation, layers=layers, wrap=wrap)
    return nn.Sequential(*stack, nn.Flatten()).to(memory_format=torch.channels_last)


def upsampler(
    sample_shape: Sequence[int], *, latent_dim: int, width: int, activation: Callable[[], nn.Module], layers: Layers
) -> nn.Sequential:
    """Latents [N, latent_dim] to logits of an image [N, C, H, W]."""
    bottom = bottom_shape(sample_shape, width=width)
    stack: list[nn.Module] = [nn.Linear(latent_dim, prod(bottom)), nn.Unflatten(1, bottom)]
    for before, after in pairwise(reversed(stage_channels(sample_shape, width=width))):
        stack += layers.activated(before, activation)
        stack += extra_convolutions(before, activation=activation, layers=layers)
        stack += [nn.ConvTranspose2d(before, after, kernel_size=4, stride=2, padding=1)]
    return nn.Sequential(*stack).to(memory_format=torch.channels_last)


def extra_convolutions(
    num_channels: int, *, activation: Callable[[], nn.Module], layers: Layers, wrap: Wrap = unwrapped
) -> list[nn.Module]:
    """The extra units of a stage: 3x3 convolutions that keep its shape."""
    units: list[nn.Module] = []
    for _ in range(layers.depth):
        units += [wrap(convolution(num_channels, num_channels)), *layers.activated(num_channels, activation)]
    return units
