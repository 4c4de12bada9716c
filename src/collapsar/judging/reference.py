"""The real side of one feature space: all that metrics need of real samples, computed on first use.

It stays the same for a whole chain and is stored on disk for the next one. All generations of all chains are compared
with the same random subset of the held-out samples.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from hashlib import blake2b
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance

from collapsar.data.real_data import KnownModes, RowFormat
from collapsar.judging.metric_modules import GivenFeatures
from collapsar.judging.spaces.base import FittedSpace, checksum, load_or_compute
from collapsar.metrics.frechet import Moments, compute_moments, mean_kernel
from collapsar.metrics.memorisation import TrainingSide, prepare_training_side
from collapsar.metrics.modes import RealBins, fit_bins
from collapsar.metrics.neighbours.scores import RealSide, prepare_real_side
from collapsar.samples import Samples
from collapsar.seeding import derive_seed

KEPT_VERSION = 1  # of the stored files; raise it if their numbers change
MEASURING_SEED = 0  # for random draws that are the same in every chain


@dataclass(frozen=True, kw_only=True)
class RealReference:
    """The real side of one feature space."""

    name: str  # of the space in the settings
    space: FittedSpace
    held_out: Samples  # real samples to compare synthetic ones with; labelled if the data have classes
    training: Tensor  # some or all real samples that the first model was trained on, for novelty
    num_classes: int  # 0 if the data have none
    known_modes: KnownModes | None
    num_neighbours: int  # k of the balls
    folder: Path | None  # where results are stored for other chains; None stores nothing
    table: RowFormat | None = None  # format of the vectors if they are rows of a table
    _bins: dict[int, RealBins] = field(default_factory=dict, init=False)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The held-out samples as rows of their table."""
        assert self.table is not None, "only tables have rows"
        return self.table.decode(self.held_out.values)

    @cached_property
    def features(self) -> Float[Tensor, "sample feature"]:
        return self._keep("features", lambda: {"features": self.space.extract(self.held_out.values)})["features"]

    @cached_property
    def labels(self) -> Int64[Tensor, " sample"] | None:
        """True class of each held-out sample, on the space's device; None if the data have no classes."""
        return None if self.held_out.labels is None else self.held_out.labels.to(self.space.device)

    @cached_property
    def classes(self) -> Int64[Tensor, " sample"]:
        """Most probable class of each held-out sample; the space must have classes."""
        return self.space.classify(self.features).argmax(1)

    @cached_property
    def side(self) -> RealSide:
        def compute() -> dict[str, Tensor]:
            side = prepare_real_side(self.features, num_neighbours=self.num_neighbours)
            return {"radii": side.radii, "clipped_counts": side.clipped_counts}

        kept = self._keep(f"radii{self.num_neighbours}", compute)
        return RealSide(features=self.features, num_neighbours=self.num_neighbours, **kept)

    @cached_property
    def moments(self) -> Moments:
        return Moments(**self._keep("moments", lambda: vars(compute_moments(self.features))))

    @cached_property
    def frechet_metric(self) -> FrechetInceptionDistance:
        """FID by torchmetrics, with the real side filled: reset it, update it with synthetic features, compute."""
        metric = FrechetInceptionDistance(feature=GivenFeatures(self.moments.mean), reset_real_features=False)
        metric.to(self.space.device).update(self.features, real=True)
        return metric

    @cached_property
    def kernel_mean(self) -> float:
        """The term of KID that depends on the real samples alone."""
        kept = self._keep("kernel", lambda: {"mean": torch.tensor(mean_kernel(self.features), dtype=torch.float64)})
        return float(kept["mean"])

    @cached_property
    def training_side(self) -> TrainingSide:
        kept = self._keep("training", lambda: vars(prepare_training_side(self.space.extract(self.training))))
        return TrainingSide(**kept)

    def bins(self, num_bins: int) -> RealBins:
        """Clusters of the held-out features; the same in every chain."""
        if num_bins not in self._bins:
            seed = derive_seed(MEASURING_SEED, 0, "bins")
            fit = partial(fit_bins, self.features, num_bins=num_bins, seed=seed)
            self._bins[num_bins] = RealBins(**self._keep(f"bins{num_bins}-{seed}", lambda: vars(fit())))
        return self._bins[num_bins]

    @cached_property
    def key(self) -> str:
        """A digest of all inputs of the real side."""
        samples = checksum({"held_out": self.held_out.values, "training": self.training})
        content = [KEPT_VERSION, self.space.name, self.space.content_hash, self.space.device.type, samples]
        return blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()

    def _keep(self, part: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        if self.folder is None:
            return compute()
        path = self.folder / f"real-{self.space.name}-{part}-{self.key}.pt"
        kept = load_or_compute(path, key=f"{part} {self.key}", compute=compute)
        return {name: tensor.to(self.space.device) for name, tensor in kept.items()}


def choose(num_available: int, *, num_samples: int) -> Int64[Tensor, " chosen"]:
    """Indices of a random subset that is the same in every chain; all indices if no more are available."""
    if num_samples >= num_available:
        return torch.arange(num_available)
    generator = torch.Generator().manual_seed(MEASURING_SEED)
    return torch.randperm(num_available, generator=generator)[:num_samples]
