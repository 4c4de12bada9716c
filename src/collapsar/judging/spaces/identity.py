"""The feature space of vectors themselves."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from collapsar.data.real_data import RealData
from collapsar.errors import UsageError
from collapsar.judging.spaces.base import FeatureSpace, FittedSpace, content_hash


@dataclass(frozen=True, kw_only=True)
class IdentitySpace(FeatureSpace):
    """Features are the samples themselves; for vectors, whose geometry is known."""

    name: ClassVar[str] = "identity"
    version: ClassVar[int] = 1
    takes_vectors: ClassVar[bool] = True

    def fit(self, real: RealData, *, device: torch.device, cache_dir: Path) -> FittedSpace:
        if real.train.values.ndim != 2:
            raise UsageError(
                f"the identity space takes vectors [sample, dimension]: got {tuple(real.train.values.shape)}"
            )
        return FittedSpace(
            name=self.name,
            feature_dim=real.train.values.shape[1],
            embedder=nn.Identity(),
            content_hash=content_hash(self, real),
            version=self.version,
            device=device,
            chunk_size=len(real.train),
        )
