"""Bodies of the flow: networks from a position x_t, its time and its class to the velocity there.

    unet  residual blocks of 3x3 convolutions on patches of pixels, with sides halved until a side is odd or at most 4,
          and back up with skip connections (Ronneberger et al. 2015, arXiv:1505.04597)
    mlp   residual blocks of linear layers on all values

Time, as sines and cosines, and a learnt vector of the class scale and shift each block's second norm (as in Dhariwal &
Nichol 2021, arXiv:2105.05233, "adaptive group norm"). Blocks start as their skip path, which is the identity if sizes
match; the last layer starts at zero.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import log, prod
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from collapsar.foundations.errors import UsageError
from collapsar.models.layers import Layers, begun_at_zero, check_image_shape, convolution, num_halvings
from collapsar.models.shapes import Images, Labels, PerSample, Values

Body = Literal["unet", "mlp"]
UNITS_PER_WIDTH = 8  # hidden units of the mlp
NUM_BLOCKS = 3  # of the mlp
NUM_FREQUENCIES = 32  # of time
HIGHEST_FREQUENCY = 100.0  # radians from noise to data


class Context(nn.Module):
    """Network from time and class to the vector that blocks take."""

    frequencies: Float[Tensor, " frequency"]

    def __init__(self, size: int, *, num_classes: int | None) -> None:
        super().__init__()
        exponents = torch.linspace(0, log(HIGHEST_FREQUENCY), NUM_FREQUENCIES)
        self.register_buffer("frequencies", exponents.exp(), persistent=False)
        self.first, self.second = nn.Linear(2 * NUM_FREQUENCIES, size), nn.Linear(size, size)
        self.vectors = None if num_classes is None else nn.Embedding(num_classes + 1, size)

    def forward(self, time: PerSample, labels: Labels | None) -> Float[Tensor, "sample context"]:
        angles = time[:, None] * self.frequencies
        context = self.second(F.silu(self.first(torch.cat([angles.sin(), angles.cos()], dim=1))))
        return F.silu(context if self.vectors is None else context + self.vectors(labels))


class TimedBlock(nn.Module):
    """skip(x) + last(act((1 + scale) norm(first(act(norm(x)))) + shift)), with scale and shift from the context."""

    def __init__(self, before: int, after: int, *, context_size: int, layers: Layers, is_image: bool) -> None:
        super().__init__()
        layer: Callable[[int, int], nn.Module] = convolution if is_image else nn.Linear
        self.first = nn.Sequential(*layers.normalised(before, is_image=is_image), nn.SiLU(), layer(before, after))
        self.norm = nn.Sequential(*layers.normalised(after, is_image=is_image))
        self.modulation = nn.Linear(context_size, 2 * after)
        self.last = nn.Sequential(nn.SiLU(), nn.Dropout(layers.dropout), begun_at_zero(layer(after, after)))
        self.skip: nn.Module = nn.Identity()
        if before != after:
            self.skip = nn.Conv2d(before, after, kernel_size=1) if is_image else nn.Linear(before, after)
        self.trailing = (1, 1) if is_image else ()

    def forward(
        self, features: Float[Tensor, "sample channel ..."], context: Float[Tensor, "sample context"]
    ) -> Float[Tensor, "sample channels ..."]:
        scale, shift = self.modulation(context).unflatten(1, (2, -1, *self.trailing)).unbind(1)
        hidden = torch.addcmul(shift, self.norm(self.first(features)), 1 + scale)
        return self.skip(features) + self.last(hidden)


class UNet(nn.Module):
    """A U-Net on patches of pixels, whose sides must divide those of an image.

    The first stage has `width` channels, the others twice as many. A unit of extra depth is a block in each stage.
    """

    def __init__(
        self, sample_shape: Sequence[int], *, width: int, patch_side: int, num_classes: int | None, layers: Layers
    ) -> None:
        super().__init__()
        channels, *sides = check_image_shape(sample_shape)
        if any(side % patch_side for side in sides):
            raise UsageError(f"model.patch_side must divide both sides of an image, {sides}: got {patch_side}")
        context_size, num_stages = 4 * width, 1 + min(num_halvings(side // patch_side) for side in sides)
        widths = [width if stage == 0 else 2 * width for stage in range(num_stages)]

        block = partial(TimedBlock, context_size=context_size, layers=layers, is_image=True)
        halving = partial(nn.Conv2d, kernel_size=2, stride=2)
        doubling = partial(nn.ConvTranspose2d, kernel_size=2, stride=2)

        def blocks(before: int, after: int) -> nn.ModuleList:
            return nn.ModuleList(block(size, after) for size in [before, *[after] * layers.depth])

        self.context = Context(context_size, num_classes=num_classes)
        self.begin = nn.Sequential(nn.PixelUnshuffle(patch_side), convolution(channels * patch_side**2, width))
        self.down = nn.ModuleList(blocks(size, size) for size in widths)
        self.shrink = nn.ModuleList(halving(fine, coarse) for fine, coarse in pairwise(widths))
        self.middle = blocks(widths[-1], widths[-1])
        self.grow = nn.ModuleList(doubling(coarse, fine) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(blocks(2 * size, size) for size in widths[:-1])
        self.end = nn.Sequential(
            *layers.normalised(width),
            nn.SiLU(),
            begun_at_zero(convolution(width, channels * patch_side**2)),
            nn.PixelShuffle(patch_side),
        )
        self.to(memory_format=torch.channels_last)

    def forward(self, position: Images, time: PerSample, labels: Labels | None) -> Images:
        context = self.context(time, labels)
        features, passed = self.begin(position), []
        for stage, blocks in enumerate(self.down):
            features = through(blocks, self.shrink[stage - 1](features) if stage else features, context)
            passed.append(features)
        features = through(self.middle, passed.pop(), context)
        for stage in reversed(range(len(passed))):
            both = torch.cat([self.grow[stage](features), passed[stage]], dim=1)
            features = through(self.up[stage], both, context)
        velocity: Tensor = self.end(features)
        return velocity


class MLP(nn.Module):
    """Linear layers with three residual blocks between them, and one more for each unit of extra depth.

    Hidden layers have 8 times `width` units; `patch_side` is ignored.
    """

    def __init__(
        self, sample_shape: Sequence[int], *, width: int, patch_side: int, num_classes: int | None, layers: Layers
    ) -> None:
        super().__init__()
        num_units, num_values = UNITS_PER_WIDTH * width, prod(sample_shape)
        self.context = Context(num_units, num_classes=num_classes)
        self.begin = nn.Linear(num_values, num_units)
        self.blocks = nn.ModuleList(
            TimedBlock(num_units, num_units, context_size=num_units, layers=layers, is_image=False)
            for _ in range(NUM_BLOCKS + layers.depth)
        )
        self.end = nn.Sequential(
            *layers.normalised(num_units, is_image=False), nn.SiLU(), begun_at_zero(nn.Linear(num_units, num_values))
        )

    def forward(self, position: Values, time: PerSample, labels: Labels | None) -> Values:
        features = through(self.blocks, self.begin(position.flatten(1)), self.context(time, labels))
        velocity: Tensor = self.end(features)
        return velocity.reshape(position.shape)


BODIES: dict[Body, type[UNet] | type[MLP]] = {"unet": UNet, "mlp": MLP}


def through(blocks: nn.Module, features: Tensor, context: Tensor) -> Tensor:
    """Features after all blocks in turn."""
    for block in blocks.children():
        features = block(features, context)
    return features
