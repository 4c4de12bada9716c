"""Blocks of the SN-GAN bodies (Miyato et al. 2018, arXiv:1802.05957), and their initial weights.

As in the authors' code, weights of `sn_conv` are normal with standard deviation .02, those of `sn_residual` follow
Glorot & Bengio (2010), times sqrt 2 in the 3x3 convolutions of a block, and all biases are 0.
"""

from collections.abc import Callable
from math import sqrt

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from collapsar.models.layers import Layers

Wrap = Callable[[nn.Module], nn.Module]
NORMAL_SD = 0.02  # of the weights of `sn_conv`

Features = Float[Tensor, "sample channel height width"]
Doubled = Float[Tensor, "sample channel 2*height 2*width"]
Halved = Float[Tensor, "sample channel height//2 width//2"]


class Centred(nn.Module):
    """Rescales images from [0, 1] to [-1, 1]."""

    def forward(self, images: Features) -> Features:
        return 2 * images - 1


class GlobalSum(nn.Module):
    """Sums features over the whole image."""

    def forward(self, features: Features) -> Float[Tensor, "sample channel"]:
        return features.sum((2, 3))


class UpBlock(nn.Module):
    """Doubles the sides: norm, ReLU, nearest upsampling, convolution, norm, ReLU, convolution; a 1x1 shortcut."""

    def __init__(self, width: int, *, layers: Layers) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *layers.activated(width, nn.ReLU),
            nn.Upsample(scale_factor=2),
            block_convolution(width, width),
            *layers.activated(width, nn.ReLU),
            block_convolution(width, width),
        )
        self.shortcut = begun_glorot(nn.Conv2d(width, width, kernel_size=1))

    def forward(self, features: Features) -> Doubled:
        beside = F.interpolate(self.shortcut(features), scale_factor=2)  # equals upsampling first, but is cheaper
        return self.branch(features) + beside


class FirstBlock(nn.Module):
    """The critic's first block, on pixels: it halves the sides and has no activation before its first convolution."""

    def __init__(self, channels: int, width: int, *, wrap: Wrap, layers: Layers) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            wrap(block_convolution(channels, width)),
            *layers.activated(width, nn.ReLU),
            wrap(block_convolution(width, width)),
            nn.AvgPool2d(2),
        )
        self.shortcut = wrap(begun_glorot(nn.Conv2d(channels, width, kernel_size=1)))

    def forward(self, images: Features) -> Float[Tensor, "sample feature height//2 width//2"]:
        return self.branch(images) + self.shortcut(F.avg_pool2d(images, 2))


class DownBlock(nn.Module):
    """A block of the critic that halves the sides."""

    def __init__(self, width: int, *, wrap: Wrap, layers: Layers) -> None:
        super().__init__()
        self.branch = nn.Sequential(*plain_branch(width, wrap=wrap, layers=layers), nn.AvgPool2d(2))
        self.shortcut = wrap(begun_glorot(nn.Conv2d(width, width, kernel_size=1)))

    def forward(self, features: Features) -> Halved:
        return self.branch(features) + self.shortcut(F.avg_pool2d(features, 2))


class PlainBlock(nn.Module):
    """A block that keeps the sides."""

    def __init__(self, width: int, *, wrap: Wrap, layers: Layers) -> None:
        super().__init__()
        self.branch = nn.Sequential(*plain_branch(width, wrap=wrap, layers=layers))

    def forward(self, features: Features) -> Features:
        return features + self.branch(features)


def plain_branch(width: int, *, wrap: Wrap, layers: Layers) -> list[nn.Module]:
    """Two convolutions, each after an activation."""
    return [
        *layers.activated(width, nn.ReLU),
        wrap(block_convolution(width, width)),
        *layers.activated(width, nn.ReLU),
        wrap(block_convolution(width, width)),
    ]


def unwrapped(layer: nn.Module) -> nn.Module:
    """The layer unchanged, as in generators."""
    return layer


def block_convolution(before: int, after: int) -> nn.Module:
    """A 3x3 convolution with the initial weights of a block."""
    return begun_glorot(nn.Conv2d(before, after, kernel_size=3, padding=1), gain=sqrt(2))


def begun_glorot(layer: nn.Linear | nn.Conv2d, *, gain: float = 1.0) -> nn.Module:
    """The layer with uniform initial weights by Glorot & Bengio (2010), and biases 0."""
    nn.init.xavier_uniform_(layer.weight, gain=gain)
    return without_shift(layer)


def begun_normal(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """The layer with normal initial weights of standard deviation .02, and biases 0."""
    nn.init.normal_(layer.weight, std=NORMAL_SD)
    return without_shift(layer)


def without_shift(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """The layer with its bias, if it has one, set to zero."""
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
