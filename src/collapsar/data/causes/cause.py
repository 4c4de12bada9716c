"""Causes: defects of the real training set that a chain begins with.

pool[0] = cause(real training set). Only that set gets the defect: regimes and the judge see it, as a laboratory would;
the reserve, the test set and everything that measures the chain stay clean. Several causes are planted in a fixed
order, however they are listed: samples left out, wrong labels, poor photographs, copies. Each has its own random
stream, so adding a cause does not change the draws of the others.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Int64
from torch import Tensor

from collapsar.data.real_data import Factors, RealData
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.foundations.seeding import make_generator


class Cause(ABC):
    """A defect of a training set."""

    name: ClassVar[str]
    stage: ClassVar[int]  # causes of lower stages are planted first
    needs_labels: ClassVar[bool] = False  # it reads or changes classes
    needs_images: ClassVar[bool] = False  # it refuses vectors
    changes_labels: ClassVar[bool] = False

    @abstractmethod
    def plant(self, samples: Samples, *, num_classes: int, generator: torch.Generator) -> Samples:
        """The training set with the defect; `samples` itself is not changed. `num_classes` is 0 without classes."""

    def for_factors(self, factors: Factors | None) -> "Cause":
        """This cause adapted to the factors of the data, None if they have none; most causes ignore them."""
        return self

    def num_left(self, num_samples: int, *, num_classes: int) -> int:
        """How many of `num_samples` are left if the classes are equally large; known before data are read."""
        return num_samples

    def check(self, *, sample_shape: Sequence[int], num_classes: int) -> None:
        """Raise UsageError, with what to choose instead, if the data cannot have the defect."""
        if self.needs_labels and not num_classes:
            problem = f"cause={self.name} needs classes, and the data have none"
            raise UsageError(f"{problem}: choose data=digits or another set of images")
        if self.needs_images and len(sample_shape) == 1:
            raise UsageError(f"cause={self.name} needs images: choose data=digits or another set of images")


def plant_all(causes: Mapping[str, Cause], real: RealData, *, seed: int) -> RealData:
    """The real sets with the causes planted into the training set; UsageError if no sample is left."""
    train = real.train
    for name, cause in in_order(causes):
        generator = make_generator(seed, 0, f"cause {name}")
        train = cause.plant(train, num_classes=real.num_classes, generator=generator)
        if not len(train):
            raise UsageError(f"cause={name} leaves no real sample: set it weaker")
    if real.table is not None and any(cause.changes_labels for cause in causes.values()):
        train = replace(train, values=real.table.with_classes(train.values, labels_of(train)))
    return replace(real, train=train)


def num_planted(causes: Mapping[str, Cause], num_samples: int, *, num_classes: int) -> int:
    """Size of the training set after all causes if its classes are equally large; known before data are read."""
    for _, cause in in_order(causes):
        num_samples = cause.num_left(num_samples, num_classes=num_classes)
    return num_samples


def checked_causes(
    causes: Any, *, sample_shape: Sequence[int], num_classes: int, factors: Factors | None
) -> dict[str, Cause]:
    """The causes by name, adapted to the data; UsageError if a value is no cause, or the data cannot have it."""
    if not isinstance(causes, Mapping):
        raise UsageError(f"cause must hold causes by name: got {causes!r}; choose files of conf/cause")
    planted: dict[str, Cause] = {}
    for name, cause in causes.items():
        if not isinstance(cause, Cause):
            raise UsageError(f"cause.{name} must be a cause: got {cause!r}; choose a file of conf/cause")
        planted[name] = cause.for_factors(factors)
        planted[name].check(sample_shape=sample_shape, num_classes=num_classes)
    return planted


def in_order(causes: Mapping[str, Cause]) -> list[tuple[str, Cause]]:
    """Causes with their names, in the order in which they are planted."""
    return sorted(causes.items(), key=lambda named: (named[1].stage, named[0]))


def labels_of(samples: Samples) -> Int64[Tensor, " sample"]:
    """The labels of labelled samples."""
    assert samples.labels is not None, "data without classes are refused beforehand"
    return samples.labels
