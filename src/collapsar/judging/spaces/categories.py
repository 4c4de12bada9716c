"""The feature space of categories, whose class is their value."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from collapsar.data.real_data import RealData
from collapsar.foundations.errors import UsageError
from collapsar.judging.spaces.base import FeatureSpace, FittedSpace, content_hash


@dataclass(frozen=True, kw_only=True)
class CategorySpace(FeatureSpace):
    """Features are the samples themselves, numbers of categories; each surely has the class of its number."""

    name = "categories"
    has_classes = True
    takes_vectors = True

    def fit(self, real: RealData, *, device: torch.device, cache_dir: Path) -> FittedSpace:
        values, labels = real.train.values, real.train.labels
        if not real.num_classes or labels is None or values.shape[1:] != (1,) or not torch.equal(values[:, 0], labels):
            raise UsageError("the categories space takes numbers of categories: choose data=categorical")
        key, head = content_hash(self, real), CategoryLogits(real.num_classes)
        return self.fitted(nn.Identity(), key, feature_dim=1, device=device, head=head, chunk_size=len(real.train))


class CategoryLogits(nn.Module):
    """Logits whose softmax is 1 for the class that the feature is, and 0 for the others."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.one_hot(features[:, 0].round().long(), self.num_classes).float().log()
