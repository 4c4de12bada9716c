"""The feature space of a small classifier that is trained on the real data."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from collapsar.data.real_data import RealData
from collapsar.foundations.errors import UsageError, check_fraction, check_positive
from collapsar.foundations.samples import to_model_range
from collapsar.judging.spaces.base import FeatureSpace, FittedSpace, load_or_train
from collapsar.judging.spaces.embedders import Encoder, TrainingBudget, build_seeded, make_head, train_classifier
from collapsar.judging.spaces.preprocessing import Augmentation
from collapsar.judging.spaces.self_supervised import SelfSupervisedSpace

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ClassifierSpace(FeatureSpace):
    """The penultimate features of a small classifier, trained on the real training set and frozen.

    The first of the `sticks` that reads the real test set well enough is taken instead.
    """

    name = "classifier"
    has_classes = True

    feature_dim: int
    budget: TrainingBudget
    augmentation: Augmentation  # without it, the classifier misreads noisy digits, which then look like dropped classes
    min_accuracy: float  # on the real test set; below it `fit` raises UsageError
    seed: int  # of the classifier, which belongs to the space and not to a chain
    chunk_size: int
    sticks: Sequence[FeatureSpace] = ()
    min_stick_accuracy: float = 0.9  # on the real test set, from which a stick is taken
    without_classes: FeatureSpace | None = None  # the space of data without classes; null refuses them
    must_be_accurate: bool = True  # whether an inaccurate classifier is refused, not replaced by `without_classes`

    def __post_init__(self) -> None:
        check_positive(feature_dim=self.feature_dim, chunk_size=self.chunk_size)
        check_fraction(min_accuracy=self.min_accuracy, min_stick_accuracy=self.min_stick_accuracy)
        if not self.must_be_accurate and self.without_classes is None:
            raise UsageError("must_be_accurate=false needs without_classes, the space that stands in: set it")

    def check(self, *, sample_shape: Sequence[int], num_classes: int) -> None:
        if not num_classes and self.without_classes is None:
            raise UsageError(f"the {self.name} space needs labelled real data: use the pca or self_supervised space")

    def fit(self, real: RealData, *, device: torch.device, cache_dir: Path) -> FittedSpace:
        self.check(sample_shape=real.train.shape, num_classes=real.num_classes)
        if not real.num_classes:
            return self._without_classes(real, device=device, cache_dir=cache_dir, because="there are no classes")
        for stick in self.sticks:
            with suppress(UsageError):  # of another shape, or of another number of classes
                stick.check(sample_shape=real.train.shape, num_classes=real.num_classes)
                fitted = stick.fit(real, device=device, cache_dir=cache_dir)
                if (share := accuracy_of(fitted, real)) >= self.min_stick_accuracy:
                    return chosen(fitted, because=f"it reads {share:.1%} of the real test set")
        num_levels = real.factors.num_levels if real.factors else ()
        build_head = partial(make_head, self.feature_dim, num_classes=real.num_classes, num_levels=num_levels)
        encoder = build_seeded(partial(Encoder, real.train.shape, feature_dim=self.feature_dim), seed=self.seed)
        head = build_seeded(build_head, seed=self.seed + 1)
        network = nn.Sequential(encoder, head)
        train = partial(self._train, network, real, device)
        lowest = self.min_accuracy if self.must_be_accurate else 0.0
        key, accuracy = load_or_train(self, real, network, cache_dir=cache_dir, train=train, min_accuracy=lowest)
        if accuracy is not None and accuracy < self.min_accuracy:
            because = f"a classifier reads {accuracy:.1%} of the real test set, below min_accuracy"
            return self._without_classes(real, device=device, cache_dir=cache_dir, because=because)
        own = self.fitted(encoder, key, feature_dim=self.feature_dim, device=device, head=head, test_accuracy=accuracy)
        return chosen(own, because="no stick of the package reads the classes") if self.sticks else own

    def _without_classes(self, real: RealData, *, device: torch.device, cache_dir: Path, because: str) -> FittedSpace:
        space = self.without_classes
        assert space is not None, "checked beforehand"
        if isinstance(space, SelfSupervisedSpace) and space.budget.batch_size > len(real.train):
            space = replace(space, budget=replace(space.budget, batch_size=len(real.train)))
        return chosen(space.fit(real, device=device, cache_dir=cache_dir), because=because)

    def _train(self, network: nn.Sequential, real: RealData, device: torch.device) -> dict[str, Tensor]:
        train, test = real.train.to(device), real.test.to(device)
        assert train.labels is not None, "data with classes have labels"
        assert test.labels is not None, "data with classes have labels"
        images, labels = train.values, train.labels.long()

        def draw_batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
            chosen = torch.randint(len(images), (self.budget.batch_size,), generator=generator).to(device)
            return self.augmentation(to_model_range(images[chosen]), generator=generator), labels[chosen]

        train_classifier(network.to(device), draw_batch, budget=self.budget, seed=self.seed)
        predicted = [network(to_model_range(chunk)).argmax(dim=1) for chunk in test.values.split(self.chunk_size)]
        accuracy = (torch.cat(predicted) == test.labels).to(torch.float64).mean()
        return {**network.state_dict(), "test_accuracy": accuracy}


def accuracy_of(fitted: FittedSpace, real: RealData) -> float:
    """Share of the real test set whose class a fitted space reads."""
    assert real.test.labels is not None, "data with classes have labels"
    read = fitted.classify(fitted.extract(real.test.values)).argmax(1).cpu()
    return float((read == real.test.labels).double().mean())


def chosen(fitted: FittedSpace, *, because: str) -> FittedSpace:
    """A space that was chosen for the data, with the reason for the record."""
    logger.info("images are measured with %s: %s", fitted.name, because)
    return replace(fitted, chosen_because=because)
