"""Blocks of the SN-GAN bodies (Miyato et al. 2018, arXiv:1802.05957), and their initial weights.

As in the authors' code, weights of `sn_conv` are normal with standard deviation .02, those of `sn_residual` follow
Glorot & Bengio (2010), times sqrt 2 in the 3x3 convolutions of a block, and all biases are 0.
"""

from math import sqrt

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from collapsar.models.layers import Layers, Residual, Wrap, convolution, unwrapped
from collapsar.models.shapes import Images

NORMAL_SD = 0.02  # of the weights of `sn_conv`


class Centred(nn.Module):
    """Rescales images from [0, 1] to [-1, 1]."""

    def forward(self, images: Images) -> Images:
        return 2 * images - 1


class GlobalSum(nn.Module):
    """Sums features over the whole image."""

    def forward(self, features: Images) -> Float[Tensor, "sample channel"]:
        return features.sum((2, 3))


class UpBlock(nn.Module):
    """Doubles the sides: norm, ReLU, nearest upsampling, convolution, norm, ReLU, convolution; a 1x1 shortcut."""

    def __init__(self, width: int, *, layers: Layers) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *layers.activated(width, nn.ReLU),
            nn.Upsample(scale_factor=2),
            *two_convolutions(width, width, layers=layers),
        )
        self.shortcut = begun_glorot(nn.Conv2d(width, width, kernel_size=1))

    def forward(self, features: Images) -> Float[Tensor, "sample channel 2*height 2*width"]:
        beside = F.interpolate(self.shortcut(features), scale_factor=2)  # equals upsampling first, but is cheaper
        return self.branch(features) + beside


class DownBlock(nn.Module):
    """A block of the critic that halves the sides; on pixels it begins with a convolution, not with an activation."""

    def __init__(self, before: int, after: int, *, wrap: Wrap, layers: Layers, is_on_pixels: bool) -> None:
        super().__init__()
        activated = [] if is_on_pixels else layers.activated(before, nn.ReLU)
        convolutions = two_convolutions(before, after, wrap=wrap, layers=layers)
        self.branch = nn.Sequential(*activated, *convolutions, nn.AvgPool2d(2))
        self.shortcut = wrap(begun_glorot(nn.Conv2d(before, after, kernel_size=1)))

    def forward(self, features: Images) -> Float[Tensor, "sample feature height//2 width//2"]:
        return self.branch(features) + self.shortcut(F.avg_pool2d(features, 2))


def plain_block(width: int, *, layers: Layers, wrap: Wrap = unwrapped) -> Residual:
    """A block that keeps the sides."""
    return Residual(*layers.activated(width, nn.ReLU), *two_convolutions(width, width, layers=layers, wrap=wrap))


def two_convolutions(before: int, after: int, *, layers: Layers, wrap: Wrap = unwrapped) -> list[nn.Module]:
    """Two convolutions with an activation between them."""
    first = wrap(block_convolution(before, after))
    return [first, *layers.activated(after, nn.ReLU), wrap(block_convolution(after, after))]


def block_convolution(before: int, after: int) -> nn.Module:
    """A 3x3 convolution with the initial weights of a block."""
    return begun_glorot(convolution(before, after), gain=sqrt(2))


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
