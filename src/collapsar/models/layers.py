"""What a body puts around its layers: norms, dropout and extra layers, the same words for every body.

Every hidden activation of a body has the norm before it and the dropout after it; `depth` says how many units a stage
has beyond its own. What one unit is depends on the body: see `vae_bodies.py` and `gan_bodies.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd
from typing import Literal

from torch import nn

from collapsar.errors import UsageError

Norm = Literal["none", "batch", "group", "layer"]
MOST_DEPTH = 100
CHANNELS_PER_GROUP = 8  # fewer where they do not divide a layer's channels


@dataclass(frozen=True, kw_only=True)
class Layers:
    """What stands between the layers of a network.

    Args:
        norm: `batch` (Ioffe & Szegedy 2015, arXiv:1502.03167), `layer` (Ba et al. 2016, arXiv:1607.06450), `group`
            (Wu & He 2018, arXiv:1803.08494; 8 channels a group) or `none`.
        depth: Units that each stage has beyond its own.
        dropout: Share of activations that is dropped in training, in [0, 1) (Srivastava et al. 2014).
    """

    norm: Norm
    depth: int = 0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.depth <= MOST_DEPTH:
            raise UsageError(f"model.depth must lie between 0 and {MOST_DEPTH}, or be null: got {self.depth}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"model.dropout must be at least 0 and below 1, or null: got {self.dropout}")

    def activated(
        self, num_channels: int, activation: Callable[[], nn.Module], *, is_image: bool = True
    ) -> list[nn.Module]:
        """A hidden activation of so many channels, with its norm before it and its dropout after it."""
        return [
            *self.normalised(num_channels, is_image=is_image),
            activation(),
            *([nn.Dropout(self.dropout)] if self.dropout else []),
        ]

    def normalised(self, num_channels: int, *, is_image: bool = True) -> list[nn.Module]:
        """The norm of so many channels of images [N, C, H, W] or vectors [N, C]; nothing where there is none."""
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


def num_groups(num_channels: int) -> int:
    """Groups of 8 channels, or of the largest part of 8 that divides them."""
    channels_per_group = gcd(num_channels, CHANNELS_PER_GROUP)
    if channels_per_group == 1:
        raise UsageError(
            f"model.norm=group needs an even number of channels in each layer: got {num_channels}; "
            "change the width, or set model.norm=layer"
        )
    return num_channels // channels_per_group


def without_last(network: nn.Module) -> nn.Sequential:
    """All layers of a stack but the last one, shared with it."""
    assert isinstance(network, nn.Sequential), "every body is a stack"
    return network[:-1]


def scaled(size: int, factor: float | None) -> int:
    """A size times a factor, rounded, 1 at least; null leaves it.

    Raises:
        UsageError: the factor is not positive.
    """
    if factor is None:
        return size
    if factor <= 0:
        raise UsageError(f"model.width_factor and model.latent_factor must be positive, or null: got {factor}")
    return max(1, round(size * factor))
