"""Two sets of samples in one feature space: what several metrics share is computed once, when it is first asked for.

`RealReference` is the real side, frozen for a chain and kept on disk for the next one; `Comparison` sets one batch of
synthetic samples against it; `Classified` is how a classifier sees both.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from collapsar.metrics.frechet import Moments, compute_moments, mean_kernel
from collapsar.metrics.memorisation import TrainingSide, prepare_training_side
from collapsar.metrics.modes import RealBins, fit_bins
from collapsar.metrics.neighbours.balls import Membership
from collapsar.metrics.neighbours.scores import RealSide, count_members, prepare_real_side
from collapsar.metrics.spaces.feature_cache import checksum, load_or_compute
from collapsar.metrics.spaces.features import FittedSpace
from collapsar.seeding import make_generator

KEPT_VERSION = 1  # of what is kept on disk; a change of numbers raises it


@dataclass(frozen=True, kw_only=True)
class RealReference:
    """The real side of one feature space.

    Args:
        space: Where distances are measured.
        held_out: Real samples that synthetic ones are measured against.
        labels: Their true classes, or None.
        training: Real samples that the first model was trained on, or some of them; what novelty is asked against.
        num_neighbours: k of the balls.
        folder: Where what is computed is kept for other chains; None keeps nothing.
    """

    space: FittedSpace
    held_out: Tensor
    labels: Int64[Tensor, " sample"] | None
    training: Tensor
    num_neighbours: int
    folder: Path | None

    @cached_property
    def features(self) -> Float[Tensor, "sample feature"]:
        return self._keep("features", lambda: {"features": self.space.extract(self.held_out)})["features"]

    @cached_property
    def classes(self) -> Int64[Tensor, " sample"]:
        """Most probable class of each held-out sample, in a space that has classes."""
        return self.space.classify(self.features).argmax(1)

    @cached_property
    def side(self) -> RealSide:
        """Radii of the real balls."""

        def compute() -> dict[str, Tensor]:
            side = prepare_real_side(self.features, num_neighbours=self.num_neighbours)
            return {
                "radii": side.radii,
                "nearest_distances": side.nearest_distances,
                "clipped_counts": side.clipped_counts,
            }

        kept = self._keep(f"balls{self.num_neighbours}", compute)
        return RealSide(features=self.features, num_neighbours=self.num_neighbours, **kept)

    @cached_property
    def moments(self) -> Moments:
        def compute() -> dict[str, Tensor]:
            moments = compute_moments(self.features)
            return {"mean": moments.mean, "covariance": moments.covariance}

        return Moments(num_samples=len(self.features), **self._keep("moments", compute))

    @cached_property
    def kernel_mean(self) -> float:
        """KID's term of the real samples alone."""

        def compute() -> dict[str, Tensor]:
            return {"mean": torch.tensor(mean_kernel(self.features), dtype=torch.float64)}

        return float(self._keep("kernel", compute)["mean"])

    @cached_property
    def training_side(self) -> TrainingSide:
        def compute() -> dict[str, Tensor]:
            side = prepare_training_side(self.space.extract(self.training))
            return {"features": side.features, "nearest_distances": side.nearest_distances}

        return TrainingSide(**self._keep("training", compute))

    def bins(self, num_bins: int, *, seed: int) -> RealBins:
        """Clusters of the held-out features."""

        def compute() -> dict[str, Tensor]:
            bins = fit_bins(self.features, num_bins=num_bins, seed=seed)
            return {"centres": bins.centres, "counts": bins.counts}

        if (num_bins, seed) not in self._bins:
            self._bins[num_bins, seed] = RealBins(**self._keep(f"bins{num_bins}-{seed}", compute))
        return self._bins[num_bins, seed]

    @cached_property
    def _bins(self) -> dict[tuple[int, int], RealBins]:
        return {}

    @cached_property
    def key(self) -> str:
        """A digest of all that the real side is made from."""
        samples = checksum({"held_out": self.held_out, "training": self.training})
        content = [KEPT_VERSION, self.space.name, self.space.content_hash, self.space.device.type, samples]
        return blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()

    def _keep(self, part: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        if self.folder is None:
            return compute()
        path = self.folder / f"real-{self.space.name}-{part}-{self.key}.pt"
        kept = load_or_compute(path, key=f"{part} {self.key}", compute=compute)
        return {name: tensor.to(self.space.device) for name, tensor in kept.items()}


@dataclass(frozen=True, kw_only=True)
class Classified:
    """Real and synthetic samples as one classifier sees them: its errors are on both sides, and cancel.

    Args:
        real_classes: Most probable class of each held-out real sample.
        probabilities: Class probabilities of each synthetic sample.
    """

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
    """One batch of synthetic samples against the real side, in one feature space.

    Args:
        real: The real side.
        features: Features of the synthetic samples.
        classified: How the classifier sees both sides; None where there is none.
        pool: Samples that the model was trained on; None where they are not known.
        seed: The experiment's seed.
        generation: Whose samples these are.
    """

    real: RealReference
    features: Float[Tensor, "synthetic feature"]
    classified: Classified | None
    pool: TrainingSide | None
    seed: int
    generation: int

    @cached_property
    def members(self) -> Membership:
        """Who lies in whose ball."""
        return count_members(real=self.real.side, synthetic=self.features)

    @cached_property
    def moments(self) -> Moments:
        return compute_moments(self.features)

    def make_generator(self, purpose: str) -> torch.Generator:
        """For a metric that shuffles; metrics and spaces never share a stream."""
        return make_generator(self.seed, self.generation, f"evaluate {self.real.space.name} {purpose}")

    def take(self, chosen: Int64[Tensor, " chosen"]) -> "Comparison":
        """The same comparison of the chosen synthetic samples only."""
        chosen = chosen.to(self.features.device)
        classified = self.classified
        if classified is not None:
            classified = replace(classified, probabilities=classified.probabilities[chosen])
        return replace(self, features=self.features[chosen], classified=classified)
