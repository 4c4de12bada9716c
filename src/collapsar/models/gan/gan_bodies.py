"""Bodies of the GAN: generators and critics sized from the shape of the data, chosen by name.

    conv         transposed convolutions, and strided ones in the critic, as in DCGAN (Radford et al. 2016)
    sn_conv      the standard CNN of SN-GAN (Miyato et al. 2018, arXiv:1802.05957, table 3); the paper's width is 64
    sn_residual  its ResNet for 32x32 pixels (table 4); the paper's widths are 256 in the generator, 128 in the critic

Generators map latents to the logits of an image, critics an image in [0, 1] to one logit. `wrap` is applied to every
layer of a critic that has weights. Only generators have norms, as in the papers. A unit of extra depth (`layers.py`) is
a 3x3 convolution for each stage in `conv` and `sn_conv`, a residual block for each stage in `sn_residual`. The paper's
generators begin at 4x4 pixels and double three times; here the data's sides decide (28: at 7; 8: at 4). Its critics
see images in [-1, 1], as both `sn_` critics do here, and its authors' code has the same initial weights.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import prod, sqrt
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from collapsar.models.conditioning import OneHotLatents, ProjectionCritic, begun_vectors
from collapsar.models.layers import (
    PLAIN,
    Layers,
    Residual,
    Wrap,
    bottom_shape,
    convolution,
    downsampler,
    extra_convolutions,
    stage_channels,
    unwrapped,
    upsampler,
)
from collapsar.models.shapes import Images

Body = Literal["conv", "sn_conv", "sn_residual"]
NORMAL_SD = 0.02  # of the weights of `sn_conv`
LEAKY = partial(nn.LeakyReLU, 0.1)  # slope below zero in the critic of `sn_conv` (Miyato et al. 2018, appendix B.4)
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
    logit_scale: float | None = None,
    num_classes: int | None = None,
) -> tuple[nn.Module, nn.Module]:
    """A body's generator and critic, with channels-last weights; they take classes if `num_classes` is set.

    A `logit_scale` multiplies the critic's last features: under a spectral norm logits else stay near 0, where no loss
    saturates (Lin et al. 2021, arXiv:2009.02773, scale every layer).
    """
    make_generator, make_critic = NETWORKS[body]
    input_dim = latent_dim if num_classes is None else latent_dim + num_classes + 1
    generator = make_generator(sample_shape, latent_dim=input_dim, width=generator_width, layers=generator_layers)
    *features, head = make_critic(sample_shape, width=critic_width, wrap=wrap, layers=critic_layers).children()
    features += [] if logit_scale is None else [Affine(logit_scale)]
    critic: nn.Module = nn.Sequential(*features, head)
    if num_classes is not None:
        generator = OneHotLatents(generator, num_classes=num_classes)
        assert isinstance(head, nn.Linear), "every critic ends in one"
        vectors = wrap(begun_vectors(num_classes, feature_dim=head.in_features))
        critic = ProjectionCritic(nn.Sequential(*features), head=head, vectors=vectors)
    return generator.to(memory_format=torch.channels_last), critic.to(memory_format=torch.channels_last)


def conv_critic(sample_shape: Sequence[int], *, width: int, wrap: Wrap, layers: Layers) -> nn.Module:
    """4x4 convolutions of stride two, and a linear layer (`layers.py`)."""
    narrowest, *sides = bottom_shape(sample_shape, width=width)
    leaky, deviation = partial(nn.LeakyReLU, 0.2), deviation_maps(layers)
    *down, flatten = downsampler(sample_shape, width=width, activation=leaky, layers=layers, wrap=wrap)
    head = wrap(nn.Linear((narrowest + len(deviation)) * prod(sides), 1))
    return nn.Sequential(nn.Sequential(*down, *deviation, flatten), head)


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
    last, deviation = 2 * narrowest, deviation_maps(layers)

    def begun(layer: nn.Linear | nn.Conv2d) -> nn.Module:
        return wrap(begun_normal(layer))

    stack: list[nn.Module] = [Affine(2.0, shift=-1.0)]  # from [0, 1] to [-1, 1]
    for before, after in pairwise(stage_channels(sample_shape, width=width)):
        widening, halving = convolution(before, after), nn.Conv2d(after, after, kernel_size=4, stride=2, padding=1)
        stack += [begun(widening), *layers.activated(after, LEAKY), begun(halving), *layers.activated(after, LEAKY)]
        stack += extra_convolutions(after, activation=LEAKY, wrap=begun, layers=layers)
    stack += [begun(convolution(narrowest, last)), *layers.activated(last, LEAKY)]
    return nn.Sequential(*stack, *deviation, nn.Flatten(), begun(nn.Linear((last + len(deviation)) * prod(sides), 1)))


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
    deviation = deviation_maps(layers)
    stack: list[nn.Module] = [Affine(2.0, shift=-1.0)]  # from [0, 1] to [-1, 1]
    for number in range(min(len(stages), DOWNSAMPLINGS)):
        before = width if number else channels
        stack += [DownBlock(before, width, wrap=wrap, layers=layers, is_on_pixels=number == 0)]
        stack += [plain_block(width, wrap=wrap, layers=layers) for _ in range(layers.depth)]
    return nn.Sequential(
        *stack,
        *(plain_block(width, wrap=wrap, layers=layers) for _ in range(2)),
        *layers.activated(width, nn.ReLU),
        *deviation,
        GlobalSum(),
        wrap(begun_glorot(nn.Linear(width + len(deviation), 1, bias=False))),
    )


NETWORKS: dict[Body, tuple[Callable[..., nn.Module], Callable[..., nn.Module]]] = {
    "conv": (partial(upsampler, activation=nn.ReLU), conv_critic),
    "sn_conv": (sn_conv_generator, sn_conv_critic),
    "sn_residual": (sn_residual_generator, sn_residual_critic),
}


class Affine(nn.Module):
    """Multiplies features by a factor and adds a shift."""

    def __init__(self, factor: float, *, shift: float = 0.0) -> None:
        super().__init__()
        self.factor, self.shift = factor, shift

    def forward(self, features: Tensor) -> Tensor:
        return self.factor * features + self.shift


class MinibatchDeviation(nn.Module):
    """Appends a map that says how much the samples of a group differ (Karras et al. 2018, arXiv:1710.10196, section 3).

    It is a standard deviation averaged over features. Groups are formed in order; a rest gets the last group's value.
    """

    def __init__(self, group_size: int) -> None:
        super().__init__()
        self.group_size = group_size

    def forward(self, features: Images) -> Float[Tensor, "sample feature height width"]:
        size = min(self.group_size, len(features))
        groups = features[: len(features) // size * size].float().unflatten(0, (-1, size))
        variance = (groups - groups.mean(1, keepdim=True)).square().mean(1)  # `var` takes eight times as long
        values = variance.add(1e-8).sqrt().mean((1, 2, 3)).to(features.dtype)  # 1e-8 as in the authors' code
        own = torch.cat([values.repeat_interleave(size), values[-1:].expand(len(features) % size)])
        return torch.cat([features, own[:, None, None, None].expand(-1, 1, *features.shape[2:])], dim=1)


def deviation_maps(layers: Layers) -> list[nn.Module]:
    """The critic's `MinibatchDeviation`, which adds one map to the last features; empty without a group size."""
    return [] if layers.group_size is None else [MinibatchDeviation(layers.group_size)]


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
    """Two convolutions with an activation between them; initial weights are those of Glorot, times sqrt 2."""
    first = wrap(begun_glorot(convolution(before, after), gain=sqrt(2)))
    last = wrap(begun_glorot(convolution(after, after), gain=sqrt(2)))
    return [first, *layers.activated(after, nn.ReLU), last]


def begun_glorot(layer: nn.Linear | nn.Conv2d, *, gain: float = 1.0) -> nn.Module:
    """The layer with uniform initial weights by Glorot & Bengio (2010), and biases 0."""
    nn.init.xavier_uniform_(layer.weight, gain=gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def begun_normal(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """The layer with normal initial weights of standard deviation .02, and biases 0."""
    nn.init.normal_(layer.weight, std=NORMAL_SD)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
