"""The feature space of vectors themselves."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from collapsar.data.real_data import RealData
from collapsar.judging.spaces.base import FeatureSpace, FittedSpace, content_hash


@dataclass(frozen=True, kw_only=True)
class IdentitySpace(FeatureSpace):
    """Features are the samples themselves; for vectors, whose geometry is known."""

    name = "identity"
    takes_vectors = True

    def fit(self, real: RealData, *, device: torch.device, cache_dir: Path) -> FittedSpace:
        (feature_dim,), key = real.train.shape, content_hash(self, real)
        return self.fitted(nn.Identity(), key, feature_dim=feature_dim, device=device, chunk_size=len(real.train))
