"""Stacked MNIST: three digits as the red, green and blue channel of one image, which gives 1,000 known modes.

Unrolled GAN (Metz et al. 2017), VEEGAN (Srivastava et al. 2017, section 5.2) and PacGAN (Lin et al. 2018, section 4.2)
count on it which modes a model captures. They draw images at random; here the digit is drawn first, so that all modes
are equally likely.
"""

from dataclasses import asdict

import torch

from collapsar.data.factors import Factor, Factors
from collapsar.data.real_data import RealData, StickSplit
from collapsar.data.sources.real import MNIST
from collapsar.data.sources.source import Sizes, Source
from collapsar.errors import UsageError, check_not_negative, check_positive
from collapsar.samples import Samples, concatenate
from collapsar.seeding import make_generator

COLOURS = ("red", "green", "blue")
NUM_DIGITS = 10
SAMPLE_SHAPE = [len(COLOURS), 28, 28]


class StackedMNIST(Source):
    """Stacks of three MNIST digits; training stacks of official training images, test stacks of official test images.

    A label is the number that the digits spell, red first.
    """

    name = "stacked_mnist"

    def __init__(
        self,
        *,
        sample_shape: list[int],
        num_train: int,
        num_test: int,
        num_reserve: int,
        root: str | None,
        seed: int,
    ) -> None:
        check_positive(**{"data.num_train": num_train, "data.num_test": num_test})
        check_not_negative(**{"data.num_reserve": num_reserve})
        if list(sample_shape) != SAMPLE_SHAPE:
            raise UsageError(f"data.sample_shape must be {SAMPLE_SHAPE}: got {sample_shape}")
        sizes, num_classes = Sizes(num_train, num_test, num_reserve), NUM_DIGITS ** len(COLOURS)
        super().__init__(sample_shape=sample_shape, sizes=sizes, num_classes=num_classes)
        self.digits = MNIST(sample_shape=[1, 28, 28], num_train=None, root=root)
        self.seed = seed

    @property
    def factors(self) -> Factors:
        names = {colour: tuple(f"{colour}_{digit}" for digit in range(NUM_DIGITS)) for colour in COLOURS}
        equal = (1 / NUM_DIGITS,) * NUM_DIGITS
        return Factors(tuple(Factor(colour, levels, equal) for colour, levels in names.items()))

    def read(self) -> RealData:
        """All sets. Stacks of images that the measuring stick was not trained on are kept from feature spaces too."""
        official = self.digits.load()
        assert official.stick_split is not None, "MNIST keeps a part from sticks"
        images = {"train": official.train, "test": official.test, "reserve": official.train}
        images["unseen"] = official.stick_split.unseen
        sizes = asdict(self.sizes) | {"unseen": self.sizes.test}
        train, test, reserve, unseen = (
            stacked(images[name], size, factors=self.factors, generator=make_generator(self.seed, 0, f"real {name}"))
            for name, size in sizes.items()
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
    """Stacks of grey images: for each colour, draw a digit and then one of its images, with replacement.

    `images` are labelled and hold some of every digit; `factors` has a digit for each colour.
    """
    assert images.labels is not None, "MNIST is labelled"
    digits = factors.draw(num_samples, generator=generator)  # [sample, colour]
    counts = images.labels.bincount(minlength=NUM_DIGITS)
    order, starts = images.labels.argsort(stable=True), counts.cumsum(0) - counts
    draws = torch.rand(digits.shape, generator=generator, dtype=torch.float64)
    chosen = order[starts[digits] + (draws * counts[digits]).long()]
    return Samples(images.values[chosen, 0], factors.labels(digits))
