"""One set of synthetic samples against the real side: what several metrics share is computed once.

A `Comparison` is what every measure takes: features in one space, the samples themselves with their labels, and how a
classifier sees both sides.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from collapsar.judging.reference import RealReference
from collapsar.metrics.frechet import (
    Moments,
    compute_moments,
    frechet_distance,
    frechet_distance_from_moments,
    is_well_conditioned,
)
from collapsar.metrics.memorisation import TrainingSide, prepare_training_side
from collapsar.metrics.neighbours.balls import Membership
from collapsar.samples import UNLABELLED, Samples
from collapsar.seeding import make_generator

MAX_TORCHMETRICS_DIMENSIONS = 512  # the time of its general eigenvalue routine grows with the cube


@dataclass(frozen=True, kw_only=True)
class Classified:
    """The classes of real and synthetic samples by one classifier, which errs on both sides alike.

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
    """Synthetic samples against the real side, in one feature space.

    Args:
        real: The real side.
        samples: The synthetic samples, with labels where the model gives them.
        features: Their features.
        classified: How the classifier sees both sides; None where there is none.
        pool: Samples that the model was trained on; None where they are not known.
        is_first: Whether this is the first space: what no feature enters is measured in that one only.
        seed: The experiment's seed.
        generation: Whose samples these are.
    """

    real: RealReference
    samples: Samples
    features: Float[Tensor, "synthetic feature"]
    classified: Classified | None
    pool: TrainingSide | None
    is_first: bool
    seed: int
    generation: int

    @property
    def support(self) -> dict[str, float]:
        """Precision, recall, density and coverage."""
        return self._neighbours[0]

    @property
    def members(self) -> Membership:
        """Who lies in whose ball."""
        return self._neighbours[1]

    @cached_property
    def _neighbours(self) -> tuple[dict[str, float], Membership]:
        metric = self.real.neighbour_metric
        metric.reset()
        metric.update(synthetic=self.features)
        scores = {name: float(value) for name, value in metric.compute().items()}
        assert metric.members is not None, "compute leaves them"
        return scores, metric.members

    @cached_property
    def fid(self) -> float:
        """Fréchet distance, by whom `fid_by` says."""
        real = self.real
        if self.fid_by == "torchmetrics":
            metric = real.frechet_metric
            metric.reset()
            metric.update(self.features, real=False)
            return max(float(metric.compute()), 0.0)
        if self._has_full_moments:
            return frechet_distance_from_moments(real=real.moments, synthetic=self.moments)
        return frechet_distance(real=real.features, synthetic=self.features)

    @cached_property
    def fid_by(self) -> Literal["torchmetrics", "collapsar"]:
        """Who computes the FID: torchmetrics, unless a covariance is nearly singular or has many dimensions.

        There torchmetrics loses digits or takes long; our own distance takes factors of the covariances.
        """
        is_reliable = (
            self._has_full_moments
            and self.features.shape[1] <= MAX_TORCHMETRICS_DIMENSIONS
            and self.real.is_well_conditioned
            and is_well_conditioned(self.moments)
        )
        return "torchmetrics" if is_reliable else "collapsar"

    @property
    def _has_full_moments(self) -> bool:
        """Whether there are more samples than dimensions on both sides."""
        return min(len(self.real.features), len(self.features)) > self.features.shape[1]

    @cached_property
    def moments(self) -> Moments:
        return compute_moments(self.features)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The synthetic samples as rows of their table."""
        assert self.real.table is not None, "only tables have rows"
        return self.real.table.decode(self.samples.values.cpu())

    @property
    def labels(self) -> Int64[Tensor, " synthetic"] | None:
        """Class of each synthetic sample: its own label, or the classifier's answer where a label is not known."""
        own = self.samples.labels
        if own is not None and bool((own != UNLABELLED).all()):
            return own
        return self.classified.classes if self.classified else None

    def make_generator(self, purpose: str) -> torch.Generator:
        """For a metric that shuffles; metrics and spaces never share a stream."""
        return make_generator(self.seed, self.generation, f"evaluate {self.real.space.name} {purpose}")

    def take(self, chosen: Int64[Tensor, " chosen"]) -> "Comparison":
        """The same comparison of the chosen synthetic samples only."""
        samples, chosen = self.samples[chosen], chosen.to(self.features.device)
        classified = self.classified
        if classified is not None:
            classified = replace(classified, probabilities=classified.probabilities[chosen])
        return replace(self, samples=samples, features=self.features[chosen], classified=classified)


def compare(
    references: Mapping[str, RealReference], samples: Samples, *, pool: Tensor | None, seed: int, generation: int
) -> dict[str, Comparison]:
    """Samples against the real side in each space, by the prefix of its keys; only here are samples embedded.

    Args:
        references: The real side in each space; the first space's prefix is empty.
        samples: Synthetic samples, or real ones in their place.
        pool: Samples that the model was trained on, for novelty against them; None leaves it out.
        seed: The experiment's seed.
        generation: Whose samples these are.
    """
    features = {prefix: real.space.extract(samples.values) for prefix, real in references.items()}
    classified = classify(references, features) or read_classes(next(iter(references.values())), samples)
    return {
        prefix: Comparison(
            real=real,
            samples=samples,
            features=features[prefix],
            classified=classified,
            pool=None if pool is None else prepare_training_side(real.space.extract(pool)),
            is_first=not prefix,
            seed=seed,
            generation=generation,
        )
        for prefix, real in references.items()
    }


def classify(references: Mapping[str, RealReference], features: Mapping[str, Tensor]) -> Classified | None:
    """What the first space with classes says of both sides; None where no space has any."""
    for prefix, real in references.items():
        if real.space.head is not None:
            return Classified(real_classes=real.classes, probabilities=real.space.classify(features[prefix]))
    return None


def read_classes(real: RealReference, samples: Samples) -> Classified | None:
    """The classes that rows of a table say they are of; None for samples that say none."""
    if real.table is None or (classes := real.table.classes(samples.values.cpu())) is None:
        return None
    of_real = real.table.classes(real.held_out.values)
    assert of_real is not None, "the same table"
    probabilities = torch.nn.functional.one_hot(classes, len(real.table.class_names)).float()
    device = real.space.device
    return Classified(real_classes=of_real.to(device), probabilities=probabilities.to(device))
