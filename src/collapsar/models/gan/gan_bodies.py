"""Bodies of the GAN: generators and critics sized from the shape of the data, chosen by name.

    conv         transposed convolutions, and strided ones in the critic, as in DCGAN (Radford et al. 2016)
    sn_conv      the standard CNN of SN-GAN (Miyato et al. 2018, arXiv:1802.05957, table 3); the paper's width is 64
    sn_residual  its ResNet for 32x32 pixels (table 4); the paper's widths are 256 in the generator, 128 in the critic

Generators map latents to the logits of an image, critics an image in [0, 1] to one logit. `wrap` is applied to every
layer of a critic that has weights, the last one too. Only generators have norms, as in the papers. A unit of extra
depth (`layers.py`) is a 3x3 convolution for each stage in `conv` and `sn_conv`, a residual block for each stage in
`sn_residual`, in generator and critic alike. The generators of the SN-GAN paper begin at 4x4 pixels and double three
times; here the data's sides decide where they begin (28 at 7, 8 at 4) and how often they double. Its critics see images
in [-1, 1], and under a spectral norm the range matters. So both `sn_` critics rescale images to it; `conv` does not.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod
from typing import Literal

import torch
from torch import nn

from collapsar.models.conditioning import LabelledLatents, ProjectionCritic, begun_vectors
from collapsar.models.gan.gan_blocks import (
    Centred,
    DownBlock,
    GlobalSum,
    UpBlock,
    begun_glorot,
    begun_normal,
    plain_block,
)
from collapsar.models.layers import PLAIN, Layers, Wrap, convolution, without_last
from collapsar.models.networks import bottom_shape, downsampler, extra_convolutions, stage_channels, upsampler

Body = Literal["conv", "sn_conv", "sn_residual"]
LEAK = 0.1  # slope below zero in the critic of `sn_conv` (Miyato et al. 2018, appendix B.4)
GENERATOR_LAYERS = Layers(norm="batch")  # the default of all generators
DOWNSAMPLINGS = 2  # at most, in the critic of `sn_residual`: its other two blocks keep the sides


def make_rivals(
    body: Body,
    sample_shape: Sequence[int],
    *,
    latent_dim: int,
    generator_width: int,
    critic_width: int,
    wrap: Wrap,
    generator_layers: Layers = GENERATOR_LAYERS,
    critic_layers: Layers = PLAIN,
    num_classes: int | None = None,
) -> tuple[nn.Module, nn.Module]:
    """A body's generator and critic, with channels-last weights; they take classes if `num_classes` is set."""
    make_generator, make_critic = NETWORKS[body]
    input_dim = latent_dim if num_classes is None else 2 * latent_dim
    generator = make_generator(sample_shape, latent_dim=input_dim, width=generator_width, layers=generator_layers)
    critic = make_critic(sample_shape, width=critic_width, wrap=wrap, layers=critic_layers)
    if num_classes is not None:
        generator = LabelledLatents(generator, num_classes=num_classes, latent_dim=latent_dim)
        *_, head = critic.children()
        assert isinstance(head, nn.Linear), "every critic ends in one"
        vectors = begun_vectors(num_classes, feature_dim=head.in_features)
        critic = ProjectionCritic(without_last(critic), head=head, vectors=wrap(vectors))
    return generator.to(memory_format=torch.channels_last), critic.to(memory_format=torch.channels_last)


def conv_generator(sample_shape: Sequence[int], *, latent_dim: int, width: int, layers: Layers) -> nn.Module:
    """A linear layer and transposed 4x4 convolutions with a norm before each (`networks.py`)."""
    return upsampler(sample_shape, latent_dim=latent_dim, width=width, activation=nn.ReLU, layers=layers)


def conv_critic(sample_shape: Sequence[int], *, width: int, wrap: Wrap, layers: Layers) -> nn.Module:
    """4x4 convolutions of stride two, and a linear layer (`networks.py`)."""
    return nn.Sequential(
        downsampler(sample_shape, width=width, activation=lambda: nn.LeakyReLU(0.2), layers=layers, wrap=wrap),
        wrap(nn.Linear(prod(bottom_shape(sample_shape, width=width)), 1)),
    )


def sn_conv_generator(sample_shape: Sequence[int], *, latent_dim: int, width: int, layers: Layers) -> nn.Module:
    """A linear layer, transposed 4x4 convolutions that double the sides and halve the channels, and a 3x3 one."""
    channels, *stages = stage_channels(sample_shape, width=width)
    narrowest, *sides = bottom_shape(sample_shape, width=width)
    bottom = (2 * narrowest, *sides)
    stack: list[nn.Module] = [
        begun_normal(nn.Linear(latent_dim, prod(bottom))),
        nn.Unflatten(1, bottom),
        *layers.activated(2 * narrowest, nn.ReLU),
    ]
    for before, after in pairwise([2 * narrowest, *reversed(stages)]):
        doubling = nn.ConvTranspose2d(before, after, kernel_size=4, stride=2, padding=1)
        stack += [begun_normal(doubling), *layers.activated(after, nn.ReLU)]
        stack += extra_convolutions(after, activation=nn.ReLU, wrap=begun_normal, layers=layers)
    return nn.Sequential(*stack, begun_normal(convolution(width, channels)))


def sn_conv_critic(sample_shape: Sequence[int], *, width: int, wrap: Wrap, layers: Layers) -> nn.Module:
    """For each halving a widening 3x3 convolution and a 4x4 one of stride two; a last 3x3 one; a linear layer."""
    narrowest, *sides = bottom_shape(sample_shape, width=width)
    last = 2 * narrowest

    def begun(layer: nn.Linear | nn.Conv2d) -> nn.Module:
        return wrap(begun_normal(layer))

    stack: list[nn.Module] = [Centred()]
    for before, after in pairwise(stage_channels(sample_shape, width=width)):
        widening, halving = convolution(before, after), nn.Conv2d(after, after, kernel_size=4, stride=2, padding=1)
        stack += [begun(widening), *layers.activated(after, leaky), begun(halving), *layers.activated(after, leaky)]
        stack += extra_convolutions(after, activation=leaky, wrap=begun, layers=layers)
    stack += [begun(convolution(narrowest, last)), *layers.activated(last, leaky)]
    return nn.Sequential(*stack, nn.Flatten(), begun(nn.Linear(last * prod(sides), 1)))


def leaky() -> nn.Module:
    """The activation in the critic of `sn_conv`."""
    return nn.LeakyReLU(LEAK)


def sn_residual_generator(sample_shape: Sequence[int], *, latent_dim: int, width: int, layers: Layers) -> nn.Module:
    """A linear layer, a block of constant width for each doubling of the sides, and a 3x3 convolution."""
    channels, *stages = stage_channels(sample_shape, width=width)
    _, *sides = bottom_shape(sample_shape, width=width)
    bottom = (width, *sides)
    stack: list[nn.Module] = [begun_glorot(nn.Linear(latent_dim, prod(bottom))), nn.Unflatten(1, bottom)]
    for _ in stages:
        stack += [UpBlock(width, layers=layers), *(plain_block(width, layers=layers) for _ in range(layers.depth))]
    return nn.Sequential(*stack, *layers.activated(width, nn.ReLU), begun_glorot(convolution(width, channels)))


def sn_residual_critic(sample_shape: Sequence[int], *, width: int, wrap: Wrap, layers: Layers) -> nn.Module:
    """Blocks that halve the sides twice (small sides once), two that keep them, a global sum, a linear layer."""
    channels, *stages = stage_channels(sample_shape, width=width)
    stack: list[nn.Module] = [Centred()]
    for number in range(min(len(stages), DOWNSAMPLINGS)):
        before = width if number else channels
        stack += [DownBlock(before, width, wrap=wrap, layers=layers, is_on_pixels=number == 0)]
        stack += [plain_block(width, wrap=wrap, layers=layers) for _ in range(layers.depth)]
    return nn.Sequential(
        *stack,
        *(plain_block(width, wrap=wrap, layers=layers) for _ in range(2)),
        *layers.activated(width, nn.ReLU),
        GlobalSum(),
        wrap(begun_glorot(nn.Linear(width, 1, bias=False))),
    )


NETWORKS: dict[Body, tuple[Callable[..., nn.Module], Callable[..., nn.Module]]] = {
    "conv": (conv_generator, conv_critic),
    "sn_conv": (sn_conv_generator, sn_conv_critic),
    "sn_residual": (sn_residual_generator, sn_residual_critic),
}
