"""The real side of one feature space, and synthetic samples compared with it: the input of every measure.

What metrics need of real samples is computed on first use, stays the same for a whole chain, and is stored on disk for
the next one. All generations of all chains are compared with the same random subset of the held-out samples.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance

from collapsar.data.real_data import KnownModes, RowFormat
from collapsar.foundations.samples import UNLABELLED, Samples
from collapsar.foundations.seeding import derive_seed, make_generator
from collapsar.judging.metric_modules import SUPPORT, GivenFeatures, NeighbourMetric
from collapsar.judging.spaces.base import FittedSpace, checksum, load_or_compute
from collapsar.metrics import frechet
from collapsar.metrics.frechet import Moments, compute_moments, mean_kernel
from collapsar.metrics.memorisation import TrainingSide, prepare_training_side
from collapsar.metrics.modes import RealBins, fit_bins
from collapsar.metrics.neighbours.balls import Membership
from collapsar.metrics.neighbours.nearest import find_nearest
from collapsar.metrics.neighbours.scores import RealSide, prepare_real_side

KEPT_VERSION = 1  # of the stored files; raise it if their numbers change
MEASURING_SEED = 0  # for random draws that are the same in every chain
MAX_TORCHMETRICS_DIMENSIONS = 512  # torchmetrics' general eigenvalue routine takes cubic time


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


@dataclass(frozen=True, kw_only=True)
class Classified:
    """Classes of held-out real samples and class probabilities of synthetic ones, by one classifier with its errors."""

    real_classes: Int64[Tensor, " sample"]
    probabilities: Float[Tensor, "synthetic class"]

    @cached_property
    def classes(self) -> Int64[Tensor, " synthetic"]:
        """Most probable class of each synthetic sample."""
        return self.probabilities.argmax(1)

    @property
    def num_classes(self) -> int:
        return self.probabilities.shape[1]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Samples with their features and a classifier's answers; computes once what metrics share."""

    real: RealReference
    samples: Samples  # synthetic, with labels if the model gives them
    features: Float[Tensor, "synthetic feature"]
    classified: Classified | None = None  # None without a classifier
    pool: TrainingSide | None = None  # samples that the model was trained on; None if they are unknown
    seed: int  # the experiment's
    generation: int

    @property
    def support(self) -> dict[str, float]:
        """Precision, recall, density and coverage by name."""
        return self._neighbours[0]

    @property
    def members(self) -> Membership:
        """Which samples lie in which balls."""
        return self._neighbours[1]

    @cached_property
    def _neighbours(self) -> tuple[dict[str, float], Membership]:
        metric = NeighbourMetric(real_side=self.real.side)
        metric.update(self.features, real=False)
        scores = metric.compute()
        members = metric.neighbourhoods.members
        assert members is not None, "compute leaves them"
        return {name: float(scores[name]) for name in SUPPORT}, members

    @cached_property
    def fid(self) -> float:
        """Fréchet distance, computed by the library in `fid_by`."""
        if self.fid_by == "torchmetrics":
            metric = self.real.frechet_metric
            metric.reset()
            metric.update(self.features, real=False)
            return max(float(metric.compute()), 0.0)
        if self._has_full_moments:
            return frechet.frechet_distance_from_moments(real=self.real.moments, synthetic=self.moments)
        return frechet.frechet_distance(real=self.real.features, synthetic=self.features)

    @cached_property
    def fid_by(self) -> Literal["torchmetrics", "collapsar"]:
        """Which library computes the FID: torchmetrics, unless it would lose digits or take long.

        It would if a covariance is nearly singular or has many dimensions. Our own distance uses covariance factors.
        """
        if not self._has_full_moments or self.features.shape[1] > MAX_TORCHMETRICS_DIMENSIONS:
            return "collapsar"
        is_reliable = self.real.moments.is_well_conditioned and self.moments.is_well_conditioned
        return "torchmetrics" if is_reliable else "collapsar"

    @property
    def _has_full_moments(self) -> bool:
        return min(len(self.real.features), len(self.features)) > self.features.shape[1]

    @cached_property
    def moments(self) -> Moments:
        return compute_moments(self.features)

    @cached_property
    def rows(self) -> pd.DataFrame:
        assert self.real.table is not None, "only tables have rows"
        return self.real.table.decode(self.samples.values.cpu())

    @property
    def labels(self) -> Int64[Tensor, " synthetic"] | None:
        """The samples' own labels; the classifier's answers if any label is unknown; None without a classifier."""
        own = self.samples.labels
        if own is not None and bool((own != UNLABELLED).all()):
            return own
        return self.classified.classes if self.classified else None

    def nearest(self, references: Tensor, *, chosen: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Distance and index of the reference nearest to each synthetic sample, or to each chosen one."""
        distances, indices = find_nearest(self.features[chosen], references=references, num_neighbours=1)
        return distances[:, 0], indices[:, 0]

    def make_generator(self, purpose: str) -> torch.Generator:
        """A generator for a metric that shuffles; no two metrics or spaces share a stream."""
        return make_generator(self.seed, self.generation, f"evaluate {self.real.space.name} {purpose}")

    def take(self, chosen: Int64[Tensor, " chosen"]) -> "Comparison":
        """The same comparison with the chosen synthetic samples only."""
        samples, chosen = self.samples[chosen], chosen.to(self.features.device)
        classified = self.classified
        if classified is not None:
            classified = replace(classified, probabilities=classified.probabilities[chosen])
        return replace(self, samples=samples, features=self.features[chosen], classified=classified)


def compare(
    references: Mapping[str, RealReference], samples: Samples, *, pool: Tensor | None, seed: int, generation: int
) -> dict[str, Comparison]:
    """Embed the samples in each space and compare them with its real side; all by key prefix, the first of which is "".

    `pool` holds samples that the model was trained on, for novelty against them; None leaves it out.
    """
    features = {prefix: real.space.extract(samples.values) for prefix, real in references.items()}
    classified = _read_classes(references[""], samples)
    for prefix, real in references.items():
        if real.space.head is not None:
            classified = Classified(real_classes=real.classes, probabilities=real.space.classify(features[prefix]))
            break
    return {
        prefix: Comparison(
            real=real,
            samples=samples,
            features=features[prefix],
            classified=classified,
            pool=None if pool is None else prepare_training_side(real.space.extract(pool)),
            seed=seed,
            generation=generation,
        )
        for prefix, real in references.items()
    }


def _read_classes(real: RealReference, samples: Samples) -> Classified | None:
    """The classes that the rows of a table hold; None if the samples are no rows or hold no class."""
    if real.table is None or (classes := real.table.classes(samples.values.cpu())) is None:
        return None
    of_real = real.table.classes(real.held_out.values)
    assert of_real is not None, "the same table"
    probabilities = torch.nn.functional.one_hot(classes, len(real.table.class_names)).float()
    device = real.space.device
    return Classified(real_classes=of_real.to(device), probabilities=probabilities.to(device))
