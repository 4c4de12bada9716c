"""Stacked MNIST: three digits as the red, green and blue channel of one image, which gives 1,000 known modes.

Unrolled GAN (Metz et al. 2017), VEEGAN (Srivastava et al. 2017, section 5.2) and PacGAN (Lin et al. 2018, section 4.2)
count on it which modes a model captures. They draw images at random; here the digit is drawn first, so that all modes
are equally likely.
"""

from dataclasses import asdict
from typing import Final

import torch

from collapsar.data.factors import Factor, Factors
from collapsar.data.real_data import RealData, StickSplit
from collapsar.data.sources.real import MNIST
from collapsar.data.sources.source import Sizes, Source
from collapsar.errors import UsageError, check_positive
from collapsar.samples import Samples, concatenate
from collapsar.seeding import make_generator

COLOURS: Final = ("red", "green", "blue")
NUM_DIGITS: Final = 10
SAMPLE_SHAPE: Final = [len(COLOURS), 28, 28]


class StackedMNIST(Source):
    """Stacks of three MNIST digits; training stacks of official training images, test stacks of official test images.

    A label is the number that the digits spell, red first.

    Args:
        sample_shape: [3, 28, 28].
        num_train: Training samples of generation 0.
        num_test: Held-out samples.
        num_reserve: For regimes that take fresh real samples; 0 for none.
        root: Folder in torchvision's layout; null takes COLLAPSAR_DATA, else a per-user cache folder.
        seed: The experiment's seed.

    Raises:
        UsageError: a size is out of range, or the shape is another one.
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
        if num_reserve < 0:
            raise UsageError(f"data.num_reserve must be at least 0: got {num_reserve}")
        if list(sample_shape) != SAMPLE_SHAPE:
            raise UsageError(f"data.sample_shape must be {SAMPLE_SHAPE}: got {sample_shape}")
        super().__init__(
            sample_shape=sample_shape,
            sizes=Sizes(num_train, num_test, num_reserve),
            num_classes=NUM_DIGITS ** len(COLOURS),
        )
        self.digits = MNIST(sample_shape=[1, 28, 28], num_train=None, root=root)
        self.seed = seed

    @property
    def factors(self) -> Factors:
        equal = (1 / NUM_DIGITS,) * NUM_DIGITS
        return Factors(
            tuple(
                Factor(colour, tuple(f"{colour}_{digit}" for digit in range(NUM_DIGITS)), equal) for colour in COLOURS
            )
        )

    def read(self) -> RealData:
        """All sets. Stacks of images that the measuring stick was not trained on are kept from feature spaces too."""
        official = self.digits.load()
        assert official.stick_split is not None, "MNIST keeps a part from sticks"
        images = {"train": official.train, "test": official.test, "reserve": official.train}
        train, test, reserve = (
            self._stacks(images[name], size, purpose=name) for name, size in asdict(self.sizes).items()
        )
        unseen = self._stacks(official.stick_split.unseen, self.sizes.test, purpose="unseen")
        return RealData(
            train=train,
            test=test,
            num_classes=self.num_classes,
            reserve=reserve if len(reserve) else None,
            stick_split=StickSplit(
                official=concatenate([train, unseen]), unseen_indices=len(train) + torch.arange(len(unseen))
            ),
            factors=self.factors,
        )

    def _stacks(self, images: Samples, num_samples: int, *, purpose: str) -> Samples:
        return stacked(
            images, num_samples, factors=self.factors, generator=make_generator(self.seed, 0, f"real {purpose}")
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
