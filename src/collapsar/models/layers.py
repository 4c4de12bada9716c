"""Layers of every body: norms, dropout and extra depth, and convolutional stacks sized from the shape of the data.

`depth` is the number of extra units in each stage; `vae_bodies.py` and `gan_bodies.py` say what a unit is, here it is a
3x3 convolution after each one on the way down and before each on the way up. In stacks a side is halved while it is
even and above four pixels (28 -> 14 -> 7, 32 -> 16 -> 8 -> 4), and channels double with each halving. Weights lie
channels-last, which makes transposed convolutions two to three times faster on a CPU.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import gcd, prod, sqrt
from typing import Any, Literal

import torch
from torch import Tensor, nn

from collapsar.foundations.errors import UsageError

Norm = Literal["none", "batch", "group", "layer"]
InitialWeights = Literal["he"]
"""How initial weights are drawn if not as torch draws them."""
Wrap = Callable[[Any], nn.Module]
"""What is done to each layer with weights, such as a spectral norm."""
Activation = Callable[[], nn.Module]
unwrapped: Wrap = nn.Identity()
MOST_DEPTH = 100
CHANNELS_PER_GROUP = 8  # fewer if 8 does not divide a layer's channels


@dataclass(frozen=True, kw_only=True)
class Layers:
    """Norm, extra depth and dropout of a network.

    The norm is `batch` (Ioffe & Szegedy 2015, arXiv:1502.03167), `layer` (Ba et al. 2016, arXiv:1607.06450), `group`
    (Wu & He 2018, arXiv:1803.08494; 8 channels a group) or `none`. Dropout (Srivastava et al. 2014) is the share of
    activations that are dropped in training, in [0, 1). Only critics have a `group_size` (`gan_bodies.py`).
    """

    norm: Norm
    depth: int = 0
    dropout: float = 0.0
    group_size: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.depth <= MOST_DEPTH:
            raise UsageError(f"model.depth must lie between 0 and {MOST_DEPTH}, or be null: got {self.depth}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"model.dropout must be at least 0 and below 1, or null: got {self.dropout}")
        if self.group_size is not None and self.group_size < 2:
            raise UsageError(f"model.deviation_group_size must be at least 2, or null: got {self.group_size}")

    def activated(self, num_channels: int, activation: Activation, *, is_image: bool = True) -> list[nn.Module]:
        """A hidden activation with its norm before it and its dropout after it."""
        dropped = [nn.Dropout(self.dropout)] if self.dropout else []
        return [*self.normalised(num_channels, is_image=is_image), activation(), *dropped]

    def normalised(self, num_channels: int, *, is_image: bool = True) -> list[nn.Module]:
        """The norm for images [N, C, H, W] or vectors [N, C]; an empty list without a norm."""
        match self.norm:
            case "batch":
                return [nn.BatchNorm2d(num_channels) if is_image else nn.BatchNorm1d(num_channels)]
            case "group":
                return [nn.GroupNorm(num_groups(num_channels), num_channels)]
            case "layer":
                return [nn.GroupNorm(1, num_channels) if is_image else nn.LayerNorm(num_channels)]
            case _:
                return []


PLAIN = Layers(norm="none")


class Residual(nn.Module):
    """x + branch(x), for a stack of layers that keep the shape."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.branch(features)


def convolution(before: int, after: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps the sides."""
    return nn.Conv2d(before, after, kernel_size=3, padding=1)


def begun_at_zero(layer: nn.Module) -> nn.Module:
    """The layer with weights and biases set to zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def begin_as_he(network: nn.Module) -> None:
    """Give initial weights the variance 2 / inputs of He et al. (2015, arXiv:1502.01852); torch has 1 / (3 inputs).

    Biases and the last layer keep torch's, so that the first outputs stay small.
    """
    *hidden, _ = [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    for layer in hidden:
        layer.weight.data.mul_(sqrt(6))


def num_groups(num_channels: int) -> int:
    """Number of groups of 8 channels, or of 4 or 2 if 8 does not divide them."""
    channels_per_group = gcd(num_channels, CHANNELS_PER_GROUP)
    if channels_per_group == 1:
        problem = "model.norm=group needs an even number of channels in each layer"
        raise UsageError(f"{problem}: got {num_channels}; change the width, or set model.norm=layer")
    return num_channels // channels_per_group


def scaled(size: int, factor: float | None) -> int:
    """A size times a factor, rounded, at least 1; None leaves it. A factor that is not positive raises UsageError."""
    if factor is not None and factor <= 0:
        raise UsageError(f"model.width_factor and model.latent_factor must be positive, or null: got {factor}")
    return size if factor is None else max(1, round(size * factor))


SMALLEST_SIDE = 4


def check_image_shape(sample_shape: Sequence[int]) -> tuple[int, int, int]:
    """The shape as (channels, height, width); UsageError if the stacks cannot be sized from it."""
    if len(sample_shape) != 3 or sample_shape[0] < 1 or not all(num_halvings(side) for side in sample_shape[1:]):
        problem = f"sample_shape must be [channels, height, width] with even sides above {SMALLEST_SIDE} pixels"
        given = f"got {list(sample_shape)}; model=table_vae, table_gan and flow, and analytic models, take vectors"
        raise UsageError(f"{problem}: {given}")
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
    sample_shape: Sequence[int], *, width: int, activation: Activation, layers: Layers, wrap: Wrap = unwrapped
) -> nn.Sequential:
    """Image [N, C, H, W] to flat features [N, prod(bottom_shape)]; `wrap` is applied to each convolution."""
    stack: list[nn.Module] = []
    for before, after in pairwise(stage_channels(sample_shape, width=width)):
        halving = nn.Conv2d(before, after, kernel_size=4, stride=2, padding=1)
        stack += [wrap(halving), *layers.activated(after, activation)]
        stack += extra_convolutions(after, activation=activation, layers=layers, wrap=wrap)
    return nn.Sequential(*stack, nn.Flatten()).to(memory_format=torch.channels_last)


def upsampler(
    sample_shape: Sequence[int], *, latent_dim: int, width: int, activation: Activation, layers: Layers
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
    num_channels: int, *, activation: Activation, layers: Layers, wrap: Wrap = unwrapped
) -> list[nn.Module]:
    """The extra units of a stage: 3x3 convolutions that keep its shape."""
    units: list[nn.Module] = []
    for _ in range(layers.depth):
        units += [wrap(convolution(num_channels, num_channels)), *layers.activated(num_channels, activation)]
    return units
