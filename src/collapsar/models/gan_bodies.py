"""Bodies of the GAN: generators and critics sized from the shape of the data, chosen by name.

    conv         transposed convolutions, and strided ones in the critic, as in DCGAN (Radford et al. 2016)
    sn_conv      the standard CNN of SN-GAN (Miyato et al. 2018, arXiv:1802.05957, table 3); the paper's width is 64
    sn_residual  its ResNet for 32x32 pixels (table 4); the paper's widths are 256 in the generator, 128 in the critic

Generators map latents to the logits of an image, critics an image in [0, 1] to one logit. `wrap` is applied to every
layer of a critic that has weights, the last one too. The paper's networks begin at 4x4 pixels and double three times;
here the sides of the data say where they begin (28 at 7, 8 at 4) and how often they double.

Weights of `sn_conv` begin normal with standard deviation .02, those of `sn_residual` by Glorot & Bengio (2010), times
sqrt 2 in the 3x3 convolutions of a block, and all biases at 0: as in the authors' code. Their critics see images in
[-1, 1], and under a spectral norm that range matters: so do these two, while the critic of `conv` sees [0, 1].
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod, sqrt
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from collapsar.models.networks import bottom_shape, check_image_shape, downsampler, stage_channels, upsampler

Body = Literal["conv", "sn_conv", "sn_residual"]
Wrap = Callable[[nn.Module], nn.Module]
NORMAL_SD = 0.02  # of the weights of `sn_conv`
LEAK = 0.1  # slope below zero in the critic of `sn_conv` (Miyato et al. 2018, appendix B.4)
DOWNSAMPLINGS = 2  # at most, in the critic of `sn_residual`: its other two blocks keep the sides


@dataclass(frozen=True, kw_only=True)
class Rivals:
    """The two networks of a GAN.

    Attributes:
        generator: Latents to logits of images.
        critic: Images in [0, 1] to one logit each.
    """

    generator: nn.Module
    critic: nn.Module


def make_rivals(
    body: Body, sample_shape: Sequence[int], *, latent_dim: int, generator_width: int, critic_width: int, wrap: Wrap
) -> Rivals:
    """The generator and the critic of a body, with weights channels-last."""
    make_generator, make_critic = NETWORKS[body]
    generator = make_generator(sample_shape, latent_dim=latent_dim, width=generator_width)
    critic = make_critic(sample_shape, width=critic_width, wrap=wrap)
    return Rivals(
        generator=generator.to(memory_format=torch.channels_last),
        critic=critic.to(memory_format=torch.channels_last),
    )


def conv_generator(sample_shape: Sequence[int], *, latent_dim: int, width: int) -> nn.Module:
    """A linear layer and transposed 4x4 convolutions with batch norm before each (`networks.py`)."""
    return upsampler(sample_shape, latent_dim=latent_dim, width=width, activation=nn.ReLU, has_batch_norm=True)


def conv_critic(sample_shape: Sequence[int], *, width: int, wrap: Wrap) -> nn.Module:
    """4x4 convolutions of stride two, and a linear layer (`networks.py`)."""
    return nn.Sequential(
        downsampler(sample_shape, width=width, activation=lambda: nn.LeakyReLU(0.2), wrap=wrap),
        wrap(nn.Linear(prod(bottom_shape(sample_shape, width=width)), 1)),
    )


def sn_conv_generator(sample_shape: Sequence[int], *, latent_dim: int, width: int) -> nn.Module:
    """A linear layer, transposed 4x4 convolutions that double the sides and halve the channels, and a 3x3 one."""
    channels, _, _ = check_image_shape(sample_shape)
    narrowest, height, image_width = bottom_shape(sample_shape, width=width)
    bottom = (2 * narrowest, height, image_width)
    stages = [bottom[0], *reversed(stage_channels(sample_shape, width=width)[1:])]
    layers: list[nn.Module] = [
        begun_normal(nn.Linear(latent_dim, prod(bottom))),
        nn.Unflatten(1, bottom),
        nn.BatchNorm2d(bottom[0]),
        nn.ReLU(),
    ]
    for before, after in pairwise(stages):
        doubling = nn.ConvTranspose2d(before, after, kernel_size=4, stride=2, padding=1)
        layers += [begun_normal(doubling), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, begun_normal(nn.Conv2d(width, channels, kernel_size=3, padding=1)))


def sn_conv_critic(sample_shape: Sequence[int], *, width: int, wrap: Wrap) -> nn.Module:
    """For each halving a 3x3 convolution that widens and a 4x4 one of stride two; a last 3x3 one; a linear layer."""
    narrowest, height, image_width = bottom_shape(sample_shape, width=width)
    last = 2 * narrowest
    layers: list[nn.Module] = [Centred()]
    for before, after in pairwise(stage_channels(sample_shape, width=width)):
        widening = nn.Conv2d(before, after, kernel_size=3, padding=1)
        halving = nn.Conv2d(after, after, kernel_size=4, stride=2, padding=1)
        layers += [wrap(begun_normal(widening)), nn.LeakyReLU(LEAK), wrap(begun_normal(halving)), nn.LeakyReLU(LEAK)]
    layers += [wrap(begun_normal(nn.Conv2d(narrowest, last, kernel_size=3, padding=1))), nn.LeakyReLU(LEAK)]
    return nn.Sequential(*layers, nn.Flatten(), wrap(begun_normal(nn.Linear(last * height * image_width, 1))))


def sn_residual_generator(sample_shape: Sequence[int], *, latent_dim: int, width: int) -> nn.Module:
    """A linear layer, a block of constant width for each doubling of the sides, and a 3x3 convolution."""
    channels, _, _ = check_image_shape(sample_shape)
    _, height, image_width = bottom_shape(sample_shape, width=width)
    bottom, num_doublings = (width, height, image_width), len(stage_channels(sample_shape, width=width)) - 1
    return nn.Sequential(
        begun_glorot(nn.Linear(latent_dim, prod(bottom))),
        nn.Unflatten(1, bottom),
        *(UpBlock(width) for _ in range(num_doublings)),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        begun_glorot(nn.Conv2d(width, channels, kernel_size=3, padding=1)),
    )


def sn_residual_critic(sample_shape: Sequence[int], *, width: int, wrap: Wrap) -> nn.Module:
    """Blocks that halve the sides twice (once, if they are small), two that do not, a global sum, a linear layer."""
    channels, _, _ = check_image_shape(sample_shape)
    num_halvings = len(stage_channels(sample_shape, width=width)) - 1
    return nn.Sequential(
        Centred(),
        FirstBlock(channels, width, wrap=wrap),
        *(DownBlock(width, wrap=wrap) for _ in range(1, min(num_halvings, DOWNSAMPLINGS))),
        *(PlainBlock(width, wrap=wrap) for _ in range(2)),
        nn.ReLU(),
        GlobalSum(),
        wrap(begun_glorot(nn.Linear(width, 1, bias=False))),
    )


NETWORKS: dict[Body, tuple[Callable[..., nn.Module], Callable[..., nn.Module]]] = {
    "conv": (conv_generator, conv_critic),
    "sn_conv": (sn_conv_generator, sn_conv_critic),
    "sn_residual": (sn_residual_generator, sn_residual_critic),
}

Features = Float[Tensor, "sample channel height width"]
Doubled = Float[Tensor, "sample channel 2*height 2*width"]
Halved = Float[Tensor, "sample channel height//2 width//2"]


class Centred(nn.Module):
    """Images from [0, 1] to [-1, 1]."""

    def forward(self, images: Features) -> Features:
        return 2 * images - 1


class GlobalSum(nn.Module):
    """Features summed over the whole image."""

    def forward(self, features: Features) -> Float[Tensor, "sample channel"]:
        return features.sum((2, 3))


class UpBlock(nn.Module):
    """Doubles the sides: norm, ReLU, nearest pixels, convolution, norm, ReLU, convolution; a 1x1 one beside them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            block_convolution(width, width),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            block_convolution(width, width),
        )
        self.shortcut = begun_glorot(nn.Conv2d(width, width, kernel_size=1))

    def forward(self, features: Features) -> Doubled:
        beside = F.interpolate(self.shortcut(features), scale_factor=2)  # the same as the other way round, but cheaper
        return self.branch(features) + beside


class FirstBlock(nn.Module):
    """The critic's first block, on pixels: it halves the sides and has no activation before its first convolution."""

    def __init__(self, channels: int, width: int, *, wrap: Wrap) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            wrap(block_convolution(channels, width)),
            nn.ReLU(),
            wrap(block_convolution(width, width)),
            nn.AvgPool2d(2),
        )
        self.shortcut = wrap(begun_glorot(nn.Conv2d(channels, width, kernel_size=1)))

    def forward(self, images: Features) -> Float[Tensor, "sample feature height//2 width//2"]:
        return self.branch(images) + self.shortcut(F.avg_pool2d(images, 2))


class DownBlock(nn.Module):
    """A block of the critic that halves the sides."""

    def __init__(self, width: int, *, wrap: Wrap) -> None:
        super().__init__()
        self.branch = nn.Sequential(*plain_branch(width, wrap=wrap), nn.AvgPool2d(2))
        self.shortcut = wrap(begun_glorot(nn.Conv2d(width, width, kernel_size=1)))

    def forward(self, features: Features) -> Halved:
        return self.branch(features) + self.shortcut(F.avg_pool2d(features, 2))


class PlainBlock(nn.Module):
    """A block of the critic that keeps the sides."""

    def __init__(self, width: int, *, wrap: Wrap) -> None:
        super().__init__()
        self.branch = nn.Sequential(*plain_branch(width, wrap=wrap))

    def forward(self, features: Features) -> Features:
        return features + self.branch(features)


def plain_branch(width: int, *, wrap: Wrap) -> list[nn.Module]:
    """Two convolutions, each after an activation."""
    return [nn.ReLU(), wrap(block_convolution(width, width)), nn.ReLU(), wrap(block_convolution(width, width))]


def block_convolution(before: int, after: int) -> nn.Module:
    """A 3x3 convolution as it begins in a block."""
    return begun_glorot(nn.Conv2d(before, after, kernel_size=3, padding=1), gain=sqrt(2))


def begun_glorot(layer: nn.Linear | nn.Conv2d, *, gain: float = 1.0) -> nn.Module:
    """The layer with weights drawn anew by Glorot & Bengio (2010), uniformly."""
    nn.init.xavier_uniform_(layer.weight, gain=gain)
    return without_shift(layer)


def begun_normal(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """The layer with weights drawn anew, normal with standard deviation .02."""
    nn.init.normal_(layer.weight, std=NORMAL_SD)
    return without_shift(layer)


def without_shift(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """The layer with its bias, if it has one, at zero."""
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
