"""Stacked MNIST: three digits as the red, green and blue channel of one image, which gives 1,000 known modes.

Unrolled GAN (Metz et al. 2017), VEEGAN (Srivastava et al. 2017, section 5.2) and PacGAN (Lin et al. 2018, section 4.2)
count on it which modes a model captures. They draw images at random; here the digit is drawn first, so that all modes
are equally likely. The measuring stick (frozen classifier) is that of grey images, which reads each channel by itself.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from collapsar.data.real_data import Factor, Factors, RealData, Sizes, Source, StickSplit
from collapsar.data.sources.real import MNIST
from collapsar.foundations.errors import UsageError, check_not_negative, check_positive
from collapsar.foundations.samples import Samples, concatenate
from collapsar.foundations.seeding import make_generator
from collapsar.judging.spaces.base import FeatureSpace, FittedSpace
from collapsar.judging.spaces.embedders import join
from collapsar.judging.spaces.stick import load_stick, stick_features

COLOURS = ("red", "green", "blue")
NUM_DIGITS = 10
SAMPLE_SHAPE = [len(COLOURS), 28, 28]


class StackedMNIST(Source):
    """Stacks of three official training images, or test images; a label is the number that they spell, red first."""

    name = "stacked_mnist"
    factors: Factors

    def __init__(
        self, *, sample_shape: list[int], num_train: int, num_test: int, num_reserve: int, root: str | None, seed: int
    ) -> None:
        check_positive(**{"data.num_train": num_train, "data.num_test": num_test})
        check_not_negative(**{"data.num_reserve": num_reserve})
        if list(sample_shape) != SAMPLE_SHAPE:
            raise UsageError(f"data.sample_shape must be {SAMPLE_SHAPE}: got {sample_shape}")
        sizes, num_classes = Sizes(num_train, num_test, num_reserve), NUM_DIGITS ** len(COLOURS)
        super().__init__(sample_shape=sample_shape, sizes=sizes, num_classes=num_classes)
        self.digits, self.seed = MNIST(sample_shape=[1, 28, 28], num_train=None, root=root), seed
        levels = {colour: tuple(f"{colour}_{number}" for number in range(NUM_DIGITS)) for colour in COLOURS}
        equal = (1 / NUM_DIGITS,) * NUM_DIGITS
        self.factors = Factors(tuple(Factor(colour, names, equal) for colour, names in levels.items()))

    def read(self) -> RealData:
        """All sets. Stacks of images that the measuring stick was not trained on are kept from feature spaces too."""
        official = self.digits.load()
        assert official.stick_split is not None, "MNIST keeps a part from sticks"
        images = (official.train, official.test, official.train, official.stick_split.unseen)
        sizes = asdict(self.sizes) | {"unseen": self.sizes.test}
        train, test, reserve, unseen = (
            stacked(some, size, factors=self.factors, generator=make_generator(self.seed, 0, f"real {name}"))
            for some, (name, size) in zip(images, sizes.items(), strict=True)
        )
        return RealData(
            train=train,
            test=test,
            num_classes=self.num_classes,
            reserve=reserve if len(reserve) else None,
            stick_split=StickSplit(concatenate([train, unseen]), len(train) + torch.arange(len(unseen))),
            factors=self.factors,
        )


def stacked(images: Samples, num_samples: int, *, factors: Factors, generator: torch.Generator) -> Samples:
    """For each colour, draw a digit and then one of its grey images, with replacement; `images` hold every digit."""
    assert images.labels is not None, "MNIST is labelled"
    digits = factors.draw(num_samples, generator=generator)  # [sample, colour]
    counts = images.labels.bincount(minlength=NUM_DIGITS)
    order, starts = images.labels.argsort(stable=True), counts.cumsum(0) - counts
    draws = torch.rand(digits.shape, generator=generator, dtype=torch.float64)
    chosen = order[starts[digits] + (draws * counts[digits]).long()]
    return Samples(images.values[chosen, 0], factors.labels(digits))


@dataclass(frozen=True, kw_only=True)
class StackedStickSpace(FeatureSpace):
    """The features of a grey-image stick for every channel; a class is a combination of the channels' classes."""

    name = "stacked_stick"
    has_classes = True
    is_stick = True

    stick: str
    stick_version: int
    chunk_size: int

    def check(self, *, sample_shape: Sequence[int], num_classes: int) -> None:
        grey = load_stick(self.stick, version=self.stick_version).architecture
        num_channels, *sides = sample_shape
        if tuple(sides) != grey.sample_shape[1:] or num_classes != grey.num_classes**num_channels:
            images = f"images {list(grey.sample_shape)}, each of {grey.num_classes} classes"
            problem = f"the {self.stick} stick reads stacks of {images}: got {list(sample_shape)} of {num_classes}"
            raise UsageError(f"{problem}; choose data=stacked_mnist")

    def fit(self, real: RealData, *, device: torch.device, cache_dir: Path) -> FittedSpace:
        """The stick without training. Channels are independent, so accuracies multiply."""
        self.check(sample_shape=real.train.shape, num_classes=real.num_classes)
        grey = stick_features(self.stick, version=self.stick_version, device=device, chunk_size=self.chunk_size)
        assert grey.head is not None, "a stick is a classifier"
        assert grey.test_accuracy is not None, "a stick is a classifier"
        num_channels, factors = real.train.shape[0], real.factors.factors if real.factors else ()
        return replace(
            grey,
            name=f"{self.stick}_stick_by_channel",
            feature_dim=num_channels * grey.feature_dim,
            embedder=EncoderByChannel(grey.embedder),
            head=HeadByChannel(grey.head, num_channels=num_channels),
            test_accuracy=grey.test_accuracy**num_channels,
            factor_accuracy={factor.name: grey.test_accuracy for factor in factors},
            sample_shape=None,
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
