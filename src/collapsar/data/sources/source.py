"""Where real data come from; what a chain can be checked against is known before anything is read."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch

from collapsar.data.factors import Factors
from collapsar.data.real_data import KnownModes, RealData
from collapsar.errors import UsageError, check_positive
from collapsar.samples import Samples
from collapsar.seeding import make_generator


@dataclass(frozen=True)
class Sizes:
    """Number of samples in each of a source's sets."""

    train: int
    test: int
    reserve: int


class Source(ABC):
    """Where real data come from; what a chain can be checked against is known before anything is read.

    Args:
        sample_shape: Shape of one sample, which models are sized from.
        sizes: Of the sets that `load` gives.
        num_classes: Labels run from 0 to num_classes - 1; 0 where samples have none.

    Attributes:
        name: As in conf/data.
        labels_are_computed: Whether a label follows from a number of the sample, so that no other one can be given.
    """

    name: ClassVar[str]
    labels_are_computed: bool = False

    def __init__(self, *, sample_shape: list[int], sizes: Sizes, num_classes: int) -> None:
        self.sample_shape, self.sizes, self.num_classes = sample_shape, sizes, num_classes

    @property
    def known_modes(self) -> KnownModes | None:
        """The modes of the truth, where it is a mixture of known ones."""
        return None

    def completed(self, recipe: Callable[..., Any]) -> Callable[..., Any]:
        """The recipe of a model, told what it leaves open (null) and only the data know."""
        return recipe

    @property
    def factors(self) -> Factors | None:
        """What samples are drawn from, where labels are combinations of known factors."""
        return None

    @abstractmethod
    def read(self) -> RealData:
        """All sets."""

    def load(self) -> RealData:
        """The sets as chains take them: of the promised shape and sizes.

        Raises:
            UsageError: files are missing or damaged.
        """
        real = self.read()
        assert list(real.train.shape) == list(self.sample_shape), "conf/data states the shape"
        assert (len(real.train), len(real.test)) == (self.sizes.train, self.sizes.test), "sizes are known beforehand"
        return real


class DrawnSource(Source, ABC):
    """A source whose truth is known, so that every set is drawn from it, from a random stream of its own.

    Args:
        sample_shape: Shape of one sample.
        sizes: Of the sets.
        num_classes: Labels run from 0 to num_classes - 1; 0 where samples have none.
        seed: The experiment's seed.

    Raises:
        UsageError: a size that cannot be drawn.
    """

    def __init__(self, *, sample_shape: list[int], sizes: Sizes, num_classes: int, seed: int) -> None:
        super().__init__(sample_shape=sample_shape, sizes=sizes, num_classes=num_classes)
        check_positive(num_test=sizes.test)
        if sizes.train < 1:
            raise UsageError(f"data.num_train must be at least 1: got {sizes.train}")
        if sizes.reserve < 0:
            raise UsageError(f"data.num_reserve must be at least 0: got {sizes.reserve}")
        self.seed = seed

    @abstractmethod
    def draw(self, num_samples: int, generator: torch.Generator) -> Samples:
        """Independent draws from the truth."""

    def read(self) -> RealData:
        train, test, reserve = (
            self.draw(size, make_generator(self.seed, 0, f"real {name}")) for name, size in asdict(self.sizes).items()
        )
        return RealData(
            train=train,
            test=test,
            num_classes=self.num_classes,
            reserve=reserve if len(reserve) else None,
            known_modes=self.known_modes,
            factors=self.factors,
        )
