"""The feature space of a small classifier that is trained on the real data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from collapsar.data.real_data import RealData
from collapsar.errors import UsageError, check_fraction, check_positive
from collapsar.judging.spaces.base import FeatureSpace, FittedSpace, load_or_train, require_images
from collapsar.judging.spaces.embedders import Encoder, TrainingBudget, build_seeded, make_head, train_classifier
from collapsar.judging.spaces.preprocessing import Augmentation
from collapsar.samples import to_model_range


@dataclass(frozen=True, kw_only=True)
class ClassifierSpace(FeatureSpace):
    """The penultimate features of a small classifier, trained on the real training set and frozen.

    Args:
        augmentation: Without it, the classifier misreads noisy digits, which then look like dropped classes.
        min_accuracy: `fit` raises UsageError if the accuracy on the real test set is lower.
        seed: Seed of the classifier, which belongs to the space and not to a chain.
    """

    name: ClassVar[str] = "classifier"
    version: ClassVar[int] = 1
    has_classes: ClassVar[bool] = True

    feature_dim: int
    budget: TrainingBudget
    augmentation: Augmentation
    min_accuracy: float
    seed: int
    chunk_size: int

    def __post_init__(self) -> None:
        check_positive(feature_dim=self.feature_dim, chunk_size=self.chunk_size)
        check_fraction(min_accuracy=self.min_accuracy)

    def check(self, *, sample_shape: Sequence[int], num_classes: int) -> None:
        if not num_classes:
            raise UsageError(f"the {self.name} space needs labelled real data: use the pca or self_supervised space")

    def fit(self, real: RealData, *, device: torch.device, cache_dir: Path) -> FittedSpace:
        require_images(real, space_name=self.name)
        self.check(sample_shape=real.train.shape, num_classes=real.num_classes)
        encoder = build_seeded(
            lambda: Encoder(image_shape=real.train.shape, feature_dim=self.feature_dim), seed=self.seed
        )
        num_levels = real.factors.num_levels if real.factors else ()
        head = build_seeded(
            lambda: make_head(self.feature_dim, num_classes=real.num_classes, num_levels=num_levels),
            seed=self.seed + 1,
        )
        network = nn.Sequential(encoder, head)
        key, weights, test_accuracy = load_or_train(
            self,
            real,
            cache_dir=cache_dir,
            train=lambda: self._train(network, real, device),
            min_accuracy=self.min_accuracy,
        )
        network.load_state_dict(weights)
        return FittedSpace(
            name=self.name,
            feature_dim=self.feature_dim,
            embedder=encoder,
            head=head,
            test_accuracy=test_accuracy,
            content_hash=key,
            version=self.version,
            device=device,
            chunk_size=self.chunk_size,
        )

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
