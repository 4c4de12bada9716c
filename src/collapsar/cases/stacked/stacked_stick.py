"""The measuring stick (frozen classifier) of grey images on stacks of them: it reads each channel by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from collapsar.data.real_data import RealData
from collapsar.errors import UsageError, check_positive
from collapsar.judging.spaces.base import FeatureSpace, FittedSpace, require_images
from collapsar.judging.spaces.embedders import join
from collapsar.judging.spaces.stick import load_stick


@dataclass(frozen=True, kw_only=True)
class StackedStickSpace(FeatureSpace):
    """The features of a grey-image stick for every channel; a class is a combination of the channels' classes."""

    name: ClassVar[str] = "stacked_stick"
    version: ClassVar[int] = 1
    has_classes: ClassVar[bool] = True
    is_stick: ClassVar[bool] = True

    stick: str
    stick_version: int
    chunk_size: int

    def __post_init__(self) -> None:
        check_positive(chunk_size=self.chunk_size)

    def check(self, *, sample_shape: Sequence[int], num_classes: int) -> None:
        grey = load_stick(self.stick, version=self.stick_version).architecture
        num_channels, *sides = sample_shape
        if tuple(sides) != grey.sample_shape[1:] or num_classes != grey.num_classes**num_channels:
            raise UsageError(
                f"the {self.stick} stick reads stacks of images {list(grey.sample_shape)}, each of {grey.num_classes} "
                f"classes: got {list(sample_shape)} of {num_classes}; choose data=stacked_mnist"
            )

    def fit(self, real: RealData, *, device: torch.device, cache_dir: Path) -> FittedSpace:
        """The stick without training. Channels are independent, so accuracies multiply."""
        require_images(real, space_name=f"stacked {self.stick} stick's")
        self.check(sample_shape=real.train.shape, num_classes=real.num_classes)
        stick = load_stick(self.stick, version=self.stick_version)
        encoder, head = stick.network()
        num_channels, factors = real.train.shape[0], real.factors.factors if real.factors else ()
        return FittedSpace(
            name=f"{self.stick}_stick_by_channel",
            feature_dim=num_channels * stick.architecture.widths[-1],
            embedder=EncoderByChannel(encoder),
            head=HeadByChannel(head, num_channels=num_channels),
            test_accuracy=stick.test_accuracy**num_channels,
            content_hash=stick.content_hash,
            version=stick.version,
            device=device,
            chunk_size=self.chunk_size,
            factor_accuracy={factor.name: stick.test_accuracy for factor in factors},
        )


class EncoderByChannel(nn.Module):
    """Apply an encoder of grey images to every channel and concatenate the features."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Float[Tensor, "sample channel height width"]) -> Float[Tensor, "sample feature"]:
        features: Tensor = self.encoder(images.flatten(0, 1).unsqueeze(1))
        return features.unflatten(0, images.shape[:2]).flatten(1)


class HeadByChannel(nn.Module):
    """Log-probabilities of every combination of classes, one class from each channel."""

    def __init__(self, head: nn.Module, *, num_channels: int) -> None:
        super().__init__()
        self.head, self.num_channels = head, num_channels

    def forward(self, features: Float[Tensor, "sample feature"]) -> Float[Tensor, "sample combination"]:
        return join([self.head(each) for each in features.chunk(self.num_channels, dim=1)])
