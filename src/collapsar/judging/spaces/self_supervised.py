"""A feature space learned from real images without their labels.

The classifier's encoder learns by contrast (SimCLR, Chen et al. 2020, https://arxiv.org/abs/2002.05709, equation 1): a
batch holds two augmented views of each image, and each view must find the other one. A linear probe measures the
features; nothing else uses the labels.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from collapsar.data.real_data import RealData
from collapsar.foundations.errors import UsageError, check_fraction, check_positive
from collapsar.foundations.samples import to_model_range
from collapsar.judging.spaces.base import FeatureSpace, FittedSpace, labels_of, load_or_train
from collapsar.judging.spaces.embedders import Encoder, TrainingBudget, build_seeded, embed, train_classifier
from collapsar.judging.spaces.preprocessing import Augmentation


class SimilarityLogits(nn.Module):
    """Cosine similarity of each view to each other view, over the temperature: logits of which view is its pair."""

    def __init__(self, *, feature_dim: int, temperature: float) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(feature_dim, feature_dim), nn.ReLU(), nn.Linear(feature_dim, 32))
        self.temperature = temperature

    def forward(self, features: Float[Tensor, "view feature"]) -> Float[Tensor, "view view"]:
        directions = F.normalize(self.project(features), dim=1)
        is_self = torch.eye(len(features), dtype=torch.bool, device=features.device)
        return (directions @ directions.T / self.temperature).masked_fill(is_self, -torch.inf)


@dataclass(frozen=True, kw_only=True)
class SelfSupervisedSpace(FeatureSpace):
    """Features of an encoder trained by contrast on the real training images, without labels."""

    name = "self_supervised"

    feature_dim: int
    temperature: float  # divides the similarities
    budget: TrainingBudget  # a batch holds two views of batch_size images
    augmentation: Augmentation  # makes the views; features learn to ignore it
    min_accuracy: float  # of a linear probe on the real test set, if it has labels; below it `fit` raises UsageError
    seed: int  # of the encoder, which belongs to the space and not to a chain
    chunk_size: int

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature, feature_dim=self.feature_dim, chunk_size=self.chunk_size)
        check_fraction(min_accuracy=self.min_accuracy)

    def fit(self, real: RealData, *, device: torch.device, cache_dir: Path) -> FittedSpace:
        encoder = build_seeded(partial(Encoder, real.train.shape, feature_dim=self.feature_dim), seed=self.seed)
        train, lowest = partial(self._train, encoder, real, device), self.min_accuracy
        key, accuracy = load_or_train(self, real, encoder, cache_dir=cache_dir, train=train, min_accuracy=lowest)
        return self.fitted(encoder, key, feature_dim=self.feature_dim, device=device, test_accuracy=accuracy)

    def _train(self, encoder: nn.Module, real: RealData, device: torch.device) -> dict[str, Tensor]:
        images = real.train.values.to(device)
        other_view = torch.arange(2 * self.budget.batch_size, device=device).roll(self.budget.batch_size)

        def draw_batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
            # Without replacement: a second copy of an image in the batch would count as a wrong answer.
            order = torch.rand(len(images), generator=generator).topk(self.budget.batch_size).indices
            batch = to_model_range(images[order.to(device)])
            return self.augmentation(batch.repeat(2, 1, 1, 1), generator=generator), other_view

        build = partial(SimilarityLogits, feature_dim=self.feature_dim, temperature=self.temperature)
        contrast = build_seeded(build, seed=self.seed + 1)
        if len(images) < self.budget.batch_size:
            problem = f"batch_size must not exceed {len(images)} images: got {self.budget.batch_size}"
            raise UsageError(f"{problem}; set evaluation.spaces.self_supervised.budget.batch_size")
        network = nn.Sequential(encoder, contrast).to(device)
        train_classifier(network, draw_batch, budget=self.budget, seed=self.seed)
        return {**encoder.state_dict(), **self._probe(encoder, real, device)}

    @torch.no_grad()
    def _probe(self, encoder: nn.Module, real: RealData, device: torch.device) -> dict[str, Tensor]:
        train_labels, test_labels = labels_of(real)
        if train_labels is None or test_labels is None:
            return {}
        train, test = (
            embed(part.values, encoder, chunk_size=self.chunk_size, device=device).cpu()
            for part in (real.train, real.test)
        )
        is_right = probe(train, train_labels.cpu(), test=test) == test_labels.cpu()
        return {"test_accuracy": is_right.to(torch.float64).mean()}


def probe(
    features: Float[Tensor, "sample feature"], labels: Int[Tensor, " sample"], *, test: Float[Tensor, "test feature"]
) -> Int[Tensor, " test"]:
    """Predict the classes of test features by a least-squares linear classifier in float64; no settings, no seed."""
    columns, test_columns = (F.pad(part.to(torch.float64), (0, 1), value=1.0) for part in (features, test))
    targets = F.one_hot(labels.to(torch.int64)).to(torch.float64)
    weights = torch.linalg.lstsq(columns, targets, driver="gelsd").solution
    return (test_columns @ weights).argmax(dim=1)
