"""The interface of real data: a chain can be checked against shape, sizes and classes before any data are read."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from collapsar.data.factors import Factors
from collapsar.data.real_data import KnownModes, RealData
from collapsar.errors import UsageError, check_not_negative, check_positive, printable
from collapsar.samples import Samples
from collapsar.seeding import make_generator


@dataclass(frozen=True)
class Sizes:
    """Number of samples in each of a source's sets."""

    train: int
    test: int
    reserve: int


class Source(ABC):
    """A source of real data; its attributes are known before any data are read."""

    name: ClassVar[str]  # as in conf/data
    sample_shape: list[int]  # of one sample; models are sized from it
    sizes: Sizes  # of the sets that `load` gives
    num_classes: int  # labels run from 0 to num_classes - 1; 0 if samples have none
    labels_are_computed: bool = False  # whether a label follows from a number in the sample, so it cannot change alone
    known_modes: KnownModes | None = None  # of the truth, if it is a mixture of known ones

    def __init__(self, *, sample_shape: list[int], sizes: Sizes, num_classes: int) -> None:
        self.sample_shape, self.sizes, self.num_classes = sample_shape, sizes, num_classes

    def completed(self, recipe: Callable[..., Any]) -> Callable[..., Any]:
        """A model's recipe, with the settings filled in that it leaves null and only the data know."""
        return recipe

    @property
    def factors(self) -> Factors | None:
        """The factors that samples are drawn from, if labels are combinations of known ones."""
        return None

    @abstractmethod
    def read(self) -> RealData:
        """Read or draw all sets."""

    def read_file(self, path: Path) -> Samples:
        """Samples of this kind from a table, CSV or Parquet, that somebody else made; UsageError if it cannot be."""
        raise UsageError(f"{printable(str(path))} is a table, and the samples of {self.name} are no rows of one")

    def load(self) -> RealData:
        """All sets, checked to have the promised shape and sizes; UsageError if files are missing or damaged."""
        real = self.read()
        assert list(real.train.shape) == list(self.sample_shape), "conf/data states the shape"
        assert (len(real.train), len(real.test)) == (self.sizes.train, self.sizes.test), "sizes are known beforehand"
        return real


class DrawnSource(Source, ABC):
    """A source whose truth is known; each set is drawn from it with its own random stream."""

    def __init__(self, *, sample_shape: list[int], sizes: Sizes, num_classes: int, seed: int) -> None:
        super().__init__(sample_shape=sample_shape, sizes=sizes, num_classes=num_classes)
        check_positive(**{"data.num_train": sizes.train, "data.num_test": sizes.test})
        check_not_negative(**{"data.num_reserve": sizes.reserve})
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
