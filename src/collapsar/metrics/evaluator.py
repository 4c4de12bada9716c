"""A chain's evaluator: features once, shared by every metric, with the same numbers for real against real beside them.

`Evaluation` is the settings; `prepare` fits the feature spaces on the real training set and measures the floor;
`Evaluator.evaluate` scores one generation. The classifier's metrics stand under their own name, those of other spaces
under a prefix (`pca/recall`); where there is no classifier, the first space takes its place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from platformdirs import user_cache_path
from torch import Tensor

from collapsar.errors import UsageError, check_positive
from collapsar.metrics.features import FeatureSpace, FittedSpace, IdentitySpace, RealSamples
from collapsar.metrics.frechet import frechet_distance
from collapsar.metrics.modes import class_shares, known_mode_scores, mode_scores
from collapsar.metrics.neighbours import neighbour_scores

PRIMARY_SPACE = "classifier"
MOST_SAMPLES = 10_000


@dataclass(frozen=True)
class Scores:
    """One generation's scores, as they stand in the record.

    Attributes:
        metrics: Values by metric key.
        class_shares: Share of each class among "real" and "synthetic" samples; empty without classes.
        feature_spaces: What each space was fitted on, by its name.
        num_synthetic: Synthetic samples that were measured.
        num_real: Held-out real samples that they were measured against.
    """

    metrics: dict[str, float]
    class_shares: dict[str, list[float]]
    feature_spaces: dict[str, dict[str, Any]]
    num_synthetic: int
    num_real: int


@dataclass(frozen=True)
class KnownModes:
    """Equally likely, round modes: their centres [mode, dimension] and standard deviation in each dimension."""

    centres: Tensor
    mode_sd: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is measured, and on how many samples.

    Args:
        spaces: Feature spaces by name; those that suit the data are used.
        num_samples: Held-out real samples, and as many synthetic ones; null takes the whole test set, at most
            10,000.
        num_neighbours: k of the neighbour metrics.
        accelerator: Where features are computed: `auto`, `cpu` or `cuda`.
        cache_folder: Where fitted spaces are kept; null takes a per-user cache folder.

    Raises:
        UsageError: a value out of range.
    """

    spaces: Mapping[str, FeatureSpace]
    num_samples: int | None
    num_neighbours: int
    accelerator: str
    cache_folder: str | None

    def __post_init__(self) -> None:
        check_positive(num_neighbours=self.num_neighbours)
        if self.num_samples is not None:
            check_positive(num_samples=self.num_samples)

    def sample_size(self, num_real: int) -> int:
        """How many samples of each kind are measured, where so many real ones are held out."""
        return self.num_samples or min(num_real, MOST_SAMPLES)

    def check(self, *, num_real: int) -> None:
        """Refuse sample sizes that the held-out set cannot serve.

        Raises:
            UsageError: more samples than there are, or more neighbours than samples.
        """
        num_samples = self.sample_size(num_real)
        if num_samples > num_real:
            raise UsageError(
                f"evaluation.num_samples must be at most the {num_real} held-out samples: got {num_samples}"
            )
        if self.num_neighbours >= num_samples:
            raise UsageError(
                f"evaluation.num_neighbours must be below the number of samples: got {self.num_neighbours} "
                f"for {num_samples} samples"
            )

    def prepare(self, real: RealSamples, *, known_modes: KnownModes | None) -> "Evaluator":
        """Fit the spaces on the real training set, and measure the floor.

        Args:
            real: The real sets.
            known_modes: The modes of data whose modes are known.

        Raises:
            UsageError: no space suits the data, or one is not good enough to be trusted.
        """
        device = torch.device("cuda" if self.accelerator == "auto" and torch.cuda.is_available() else "cpu")
        if self.accelerator == "cuda":
            device = torch.device("cuda")
        cache_folder = Path(self.cache_folder) if self.cache_folder else user_cache_path("collapsar") / "spaces"
        spaces = {
            name: space.fit(real, device=device, cache_dir=cache_folder)
            for name, space in self.spaces.items()
            if suits(space, real)
        }
        if not spaces:
            raise UsageError(f"none of the feature spaces {', '.join(self.spaces)} suits this data")
        by_rank = dict(sorted(spaces.items(), key=lambda item: item[0] != PRIMARY_SPACE))
        return Evaluator(by_rank, real=real, evaluation=self, known_modes=known_modes)


class Evaluator:
    """Scores generations against a fixed subset of the held-out real set.

    Args:
        spaces: Fitted feature spaces; the first gives the keys without prefix.
        real: The real sets.
        evaluation: The settings.
        known_modes: The modes of data whose modes are known.
    """

    def __init__(
        self,
        spaces: Mapping[str, FittedSpace],
        *,
        real: RealSamples,
        evaluation: Evaluation,
        known_modes: KnownModes | None,
    ) -> None:
        self.spaces, self.num_neighbours = spaces, evaluation.num_neighbours
        self.primary_space, self.known_modes = next(iter(spaces.values())), known_modes
        self._train_samples = real.train
        self.num_classes = real.num_classes
        num_samples = evaluation.sample_size(len(real.test))
        held_out = choose(real.test, num_samples=num_samples)
        self._real = {name: space.extract(held_out) for name, space in spaces.items()}
        self.num_synthetic = num_samples
        self.real_shares: list[float] = []
        floor = choose(real.train, num_samples=min(num_samples, len(real.train)))
        self._floor = {f"{key}_floor": value for key, value in self._measure(floor)[0].items()}

    @cached_property
    def real_train_features(self) -> Tensor:
        """Features of the real training set in the first space, for selections that look at it."""
        return self.primary_space.extract(self._train_samples)

    def evaluate(self, samples: Tensor, *, seed: int, generation: int) -> Scores:
        """Score one generation on its first `num_synthetic` samples."""
        metrics, shares = self._measure(samples[: self.num_synthetic])
        return Scores(
            metrics={**metrics, **self._floor},
            class_shares=shares,
            feature_spaces={name: space.describe() for name, space in self.spaces.items()},
            num_synthetic=self.num_synthetic,
            num_real=self.num_synthetic,
        )

    def _measure(self, samples: Tensor) -> tuple[dict[str, float], dict[str, list[float]]]:
        metrics: dict[str, float] = {}
        shares: dict[str, list[float]] = {}
        for index, (name, space) in enumerate(self.spaces.items()):
            real, synthetic = self._real[name], space.extract(samples)
            prefix = f"{name}/" if index else ""
            metrics |= {
                f"{prefix}{key}": value for key, value in self._distances(real=real, synthetic=synthetic).items()
            }
            if space.head is not None and not shares:
                class_metrics, shares = self._classes(space, real=real, synthetic=synthetic)
                metrics |= class_metrics
        if self.known_modes is not None:
            scores = known_mode_scores(
                samples, centres=self.known_modes.centres, standard_deviation=self.known_modes.mode_sd
            )
            metrics["modes_captured"] = float(scores.num_captured)
            metrics["high_quality_share"] = scores.high_quality_share
            metrics["reverse_kl"] = scores.reverse_kl
        return metrics, shares

    def _distances(self, *, real: Tensor, synthetic: Tensor) -> dict[str, float]:
        scores = neighbour_scores(real=real, synthetic=synthetic, num_neighbours=self.num_neighbours)
        return {
            "fid": frechet_distance(real=real, synthetic=synthetic),
            "precision": scores.precision,
            "recall": scores.recall,
            "density": scores.density,
            "coverage": scores.coverage,
        }

    def _classes(
        self, space: FittedSpace, *, real: Tensor, synthetic: Tensor
    ) -> tuple[dict[str, float], dict[str, list[float]]]:
        """The histogram of predicted classes; the real one is predicted too, so that errors of both sides cancel."""
        real_classes, classes = (space.classify(features).argmax(1).cpu() for features in (real, synthetic))
        scores = mode_scores(real=real_classes, synthetic=classes, num_classes=self.num_classes)
        metrics = {
            "class_entropy": scores.entropy,
            "class_kl": scores.kl,
            "classes_dropped": float(scores.num_dropped),
        }
        shares = {
            "real": class_shares(real_classes, num_classes=self.num_classes).tolist(),
            "synthetic": class_shares(classes, num_classes=self.num_classes).tolist(),
        }
        return metrics, shares


def suits(space: FeatureSpace, real: RealSamples) -> bool:
    """Vectors are measured as they are, images in every other space."""
    return isinstance(space, IdentitySpace) == (real.train.ndim == 2)


def choose(samples: Tensor, *, num_samples: int) -> Tensor:
    """A fixed random subset; the same in every run, so that chains are compared with the same real samples."""
    if num_samples == len(samples):
        return samples
    return samples[torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))[:num_samples]]
