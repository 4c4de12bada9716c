"""A chain's evaluator: features once, shared by every metric, with the same numbers for real against real beside them.

`Evaluation` is the settings; `prepare` fits the feature spaces on the real training set; `Evaluator.evaluate` scores
one generation. The classifier's metrics stand under their own name, those of other spaces under a prefix
(`pca/recall`); where there is no classifier, the first space takes its place.

`_floor` is the value that as many real training samples get in place of synthetic ones; of novelty, held-out ones.
`_low` and `_high` are a t-interval about the value, from the spread over disjoint batches of the generation's samples.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from platformdirs import user_cache_path
from torch import Tensor

from collapsar.errors import UsageError, check_fraction, check_positive
from collapsar.metrics import suite
from collapsar.metrics.comparison import Classified, Comparison, RealReference
from collapsar.metrics.downstream import DownstreamTask
from collapsar.metrics.measuring import Measure, measure, measure_spread
from collapsar.metrics.memorisation import TrainingSide, prepare_training_side
from collapsar.metrics.spaces.feature_cache import checksum, load_or_measure
from collapsar.metrics.spaces.features import FeatureSpace, FittedSpace, IdentitySpace, RealSamples
from collapsar.metrics.uncertainty import describe_shortage
from collapsar.seeding import derive_seed

logger = logging.getLogger(__name__)

PRIMARY_SPACE = "classifier"
MOST_SAMPLES = 10_000
MEASURING_SEED = 0  # of what belongs to the measuring stick, and is the same in every chain


@dataclass(frozen=True)
class Scores:
    """One generation's scores, as they stand in the record.

    Attributes:
        metrics: Values by metric key.
        class_shares: Share of each class among "real" and "synthetic" samples; empty without classes.
        feature_spaces: What each space was fitted on, by its name.
        num_synthetic: Synthetic samples that were measured.
        num_real: Held-out real samples that they were measured against.
        num_batches: Batches whose spread gives `_low` and `_high`; 0 where there are none.
        batch_size: Synthetic samples in each of them.
    """

    metrics: dict[str, float]
    class_shares: dict[str, list[float]]
    feature_spaces: dict[str, dict[str, Any]]
    num_synthetic: int
    num_real: int
    num_batches: int
    batch_size: int


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
        metrics: Groups of metrics, by the names in `conf/evaluation`.
        num_samples: Held-out real samples, and as many synthetic ones; null takes the whole test set, at most
            10,000.
        num_neighbours: k of the neighbour metrics.
        num_batches: Disjoint batches of a generation's samples that give `_low` and `_high`; 0 for none.
        batch_metrics: Groups of metrics that get them.
        confidence: Of these intervals.
        low_confidence: Below this probability of its most probable class a sample looks like none.
        num_bins: Clusters of the real samples, for NDB.
        num_training: Samples of the real training set, and of the pool, that novelty is asked against.
        downstream: The task that synthetic samples are tried on.
        accelerator: Where features are computed: `auto`, `cpu` or `cuda`.
        cache_folder: Where fitted spaces and real sides are kept; null takes a per-user cache folder.

    Raises:
        UsageError: a value out of range, or a group that does not exist.
    """

    spaces: Mapping[str, FeatureSpace]
    metrics: Sequence[str]
    num_samples: int | None
    num_neighbours: int
    num_batches: int
    batch_metrics: Sequence[str]
    confidence: float
    low_confidence: float
    num_bins: int
    num_training: int
    downstream: DownstreamTask
    accelerator: str
    cache_folder: str | None

    def __post_init__(self) -> None:
        check_positive(num_neighbours=self.num_neighbours, num_bins=self.num_bins)
        check_fraction(confidence=self.confidence, low_confidence=self.low_confidence)
        if self.num_samples is not None:
            check_positive(num_samples=self.num_samples)
        if self.num_batches < 0 or self.num_batches == 1:
            raise UsageError(f"num_batches must be 0 or at least 2: got {self.num_batches}")
        if self.num_training < 2:
            raise UsageError(f"num_training must be at least 2: got {self.num_training}")
        in_spaces, others = self.measures(), ("classes", "downstream")
        for name, groups, allowed in (
            ("metrics", self.metrics, (*in_spaces, *others)),
            ("batch_metrics", self.batch_metrics, tuple(in_spaces)),
        ):
            if unknown := [group for group in groups if group not in allowed]:
                raise UsageError(f"{name} must be among {', '.join(allowed)}: got {', '.join(unknown)}")

    def measures(self) -> dict[str, Measure]:
        """The groups of metrics that are measured in every space."""
        bins_seed = derive_seed(MEASURING_SEED, 0, "bins")
        return {
            "frechet": suite.frechet,
            "frechet_debiased": suite.frechet_debiased,
            "frechet_relative": suite.frechet_relative,
            "frechet_infinity": suite.frechet_infinity,
            "kernel": suite.kernel,
            "support": suite.support,
            "support_clipped": suite.support_clipped,
            "support_symmetric": suite.support_symmetric,
            "support_tail": suite.support_tail,
            "recall_by_class": suite.recall_by_class,
            "coverage_by_class": suite.coverage_by_class,
            "bins": partial(suite.bins, num_bins=self.num_bins, seed=bins_seed),
            "diversity": suite.diversity,
            "novelty": suite.novelty,
        }

    def describe_floor(self) -> str:
        """All settings that the floor depends on, as text."""
        settings = (self.metrics, self.num_neighbours, self.low_confidence, self.num_bins, self.downstream)
        return " ".join(repr(setting) for setting in settings)

    def sample_size(self, num_real: int) -> int:
        """How many samples of each kind are measured, where so many real ones are held out."""
        return self.num_samples or min(num_real, MOST_SAMPLES)

    def check(self, *, num_real: int) -> None:
        """Refuse sample sizes that the held-out set cannot serve.

        Raises:
            UsageError: more samples than there are, or more neighbours or bins than samples.
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
        if "bins" in self.metrics and self.num_bins > num_samples:
            raise UsageError(
                f"evaluation.num_bins must be at most the number of samples: got {self.num_bins} "
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
        warn_of_shortage(by_rank, num_samples=self.sample_size(len(real.test)))
        # Vectors are cheap to measure, and often drawn anew for each seed: keeping them would fill the folder.
        kept_in = cache_folder if real.train.ndim > 2 else None
        return Evaluator(by_rank, real=real, evaluation=self, known_modes=known_modes, cache_folder=kept_in)


class Evaluator:
    """Scores generations against a fixed subset of the held-out real set.

    Args:
        spaces: Fitted feature spaces; the first gives the keys without prefix.
        real: The real sets.
        evaluation: The settings.
        known_modes: The modes of data whose modes are known.
        cache_folder: Where real sides are kept for other chains; None keeps none.
    """

    def __init__(
        self,
        spaces: Mapping[str, FittedSpace],
        *,
        real: RealSamples,
        evaluation: Evaluation,
        known_modes: KnownModes | None,
        cache_folder: Path | None,
    ) -> None:
        self.primary_space, self.known_modes = next(iter(spaces.values())), known_modes
        self.num_synthetic = evaluation.sample_size(len(real.test))
        self.num_training = evaluation.num_training if "novelty" in evaluation.metrics else 0
        self._evaluation, self._measures, self._real = evaluation, evaluation.measures(), real
        test = choose(len(real.test), num_samples=self.num_synthetic)
        self._held_out = real.test[test]
        self._labels = None if real.test_labels is None else real.test_labels[test].long()
        training = real.train[choose(len(real.train), num_samples=evaluation.num_training)]
        self._references = {
            f"{name}/" if index else "": RealReference(
                space=space,
                held_out=self._held_out,
                labels=None if self._labels is None else self._labels.to(space.device),
                training=training,
                num_neighbours=evaluation.num_neighbours,
                folder=cache_folder,
            )
            for index, (name, space) in enumerate(spaces.items())
        }
        self._judge = next((prefix for prefix, side in self._references.items() if side.space.head is not None), None)
        self._feature_spaces = {name: space.describe() for name, space in spaces.items()}
        floor = self._keep_floor(cache_folder)
        self._floor = {f"{key}_floor": value for key, value in floor.items()}

    @cached_property
    def real_train_features(self) -> Tensor:
        """Features of the real training set in the first space, for selections that look at it."""
        return self.primary_space.extract(self._real.train)

    def evaluate(self, samples: Tensor, *, seed: int, generation: int, pool: Tensor | None = None) -> Scores:
        """Score one generation on its first `num_synthetic` samples.

        Args:
            samples: The model's samples.
            seed: The experiment's seed.
            generation: The model's generation.
            pool: Samples that the model was trained on, two at least; `num_training` of them are used, for novelty
                against the pool. None leaves it out.
        """
        samples = samples[: self.num_synthetic]
        comparisons = self._compare(samples, seed=seed, generation=generation, pool=pool)
        classified = comparisons[""].classified
        spread = measure_spread(
            comparisons,
            groups=self._evaluation.batch_metrics,
            measures=self._measures,
            num_batches=self._evaluation.num_batches,
            confidence=self._evaluation.confidence,
        )
        metrics = self._measure(
            samples,
            comparisons=comparisons,
            labels=classified.classes if classified else None,
            groups=self._evaluation.metrics,
        )
        return Scores(
            metrics=keep_finite(metrics | spread.around(metrics) | self._floor),
            class_shares=suite.class_histogram(classified) if classified else {},
            feature_spaces=self._feature_spaces,
            num_synthetic=len(samples),
            num_real=len(self._held_out),
            num_batches=spread.num_batches,
            batch_size=spread.batch_size,
        )

    def _compare(
        self, samples: Tensor, *, seed: int, generation: int, pool: Tensor | None = None
    ) -> dict[str, Comparison]:
        """The samples against the real side in each space, by the prefix of its keys; only here they are embedded."""
        features = {prefix: reference.space.extract(samples) for prefix, reference in self._references.items()}
        pools: dict[str, TrainingSide] = {}
        if pool is not None and self.num_training:
            pool = pool[choose(len(pool), num_samples=self.num_training)]
            pools = {
                prefix: prepare_training_side(reference.space.extract(pool))
                for prefix, reference in self._references.items()
            }
        classified = self._classify(features)
        return {
            prefix: Comparison(
                real=reference,
                features=features[prefix],
                classified=classified,
                pool=pools.get(prefix),
                seed=seed,
                generation=generation,
            )
            for prefix, reference in self._references.items()
        }

    def _classify(self, features: Mapping[str, Tensor]) -> Classified | None:
        if self._judge is None:
            return None
        judge = self._references[self._judge]
        return Classified(real_classes=judge.classes, probabilities=judge.space.classify(features[self._judge]))

    def _measure(
        self,
        samples: Tensor,
        *,
        comparisons: Mapping[str, Comparison],
        labels: Tensor | None,
        groups: Sequence[str],
    ) -> dict[str, float]:
        """The groups of metrics in the spaces, of classes, and of the samples themselves."""
        evaluation, classified = self._evaluation, comparisons[""].classified
        metrics = measure(comparisons, groups=groups, measures=self._measures)
        if classified is not None and "classes" in groups:
            metrics |= suite.classes(classified, low_confidence=evaluation.low_confidence)
        if labels is not None and self._labels is not None and "downstream" in groups:
            metrics |= suite.downstream(
                samples,
                labels=labels,
                test=self._held_out,
                test_labels=self._labels,
                num_classes=self._real.num_classes,
                task=evaluation.downstream,
                device=self.primary_space.device,
            )
        if self.known_modes is not None:
            metrics |= suite.known_modes(samples, centres=self.known_modes.centres, mode_sd=self.known_modes.mode_sd)
        return metrics

    def _keep_floor(self, folder: Path | None) -> dict[str, float]:
        """The floor, measured once for all chains that would measure the same."""
        chosen = choose(len(self._real.train), num_samples=self.num_synthetic)
        samples, labels = self._real.train[chosen], self._real.train_labels
        labels = None if labels is None else labels[chosen].long()

        def compute() -> dict[str, float]:
            return self._measure_floor(samples, labels) | self._measure_novelty_floor()

        if folder is None:
            return compute()
        named = {"samples": samples, "labels": labels, "held-out labels": self._labels}
        measured = {name: tensor for name, tensor in named.items() if tensor is not None}
        sides = {prefix: reference.key for prefix, reference in self._references.items()}
        content = f"{version('collapsar')} {checksum(measured)} {sides} {self._evaluation.describe_floor()}"
        digest = blake2b(content.encode(), digest_size=16).hexdigest()
        return load_or_measure(folder / f"floor-{digest}.pt", key=content, measure=compute)

    def _measure_floor(self, samples: Tensor, labels: Tensor | None) -> dict[str, float]:
        """Real training samples in place of synthetic ones; nothing where there are too few of them."""
        if len(samples) < self.num_synthetic:
            return {}
        return self._measure(
            samples,
            comparisons=self._compare(samples, seed=MEASURING_SEED, generation=0),
            labels=labels,
            groups=[group for group in self._evaluation.metrics if group != "novelty"],
        )

    def _measure_novelty_floor(self) -> dict[str, float]:
        """Held-out real samples in place of synthetic ones: training samples are no news to themselves."""
        if not self.num_training:
            return {}
        comparisons = {
            prefix: Comparison(
                real=reference,
                features=reference.features,
                classified=None,
                pool=None,
                seed=MEASURING_SEED,
                generation=0,
            )
            for prefix, reference in self._references.items()
        }
        return measure(comparisons, groups=["novelty"], measures=self._measures)


def suits(space: FeatureSpace, real: RealSamples) -> bool:
    """Vectors are measured as they are, images in every other space."""
    return isinstance(space, IdentitySpace) == (real.train.ndim == 2)


def choose(num_available: int, *, num_samples: int) -> Tensor:
    """Indices of a fixed random subset; the same in every chain, so that all are compared with the same samples."""
    if num_samples >= num_available:
        return torch.arange(num_available)
    generator = torch.Generator().manual_seed(MEASURING_SEED)
    return torch.randperm(num_available, generator=generator)[:num_samples]


def keep_finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Without values that could not be measured, such as a ratio to nothing: a record never holds NaN."""
    return {key: value for key, value in metrics.items() if math.isfinite(value)}


def warn_of_shortage(spaces: Mapping[str, FittedSpace], *, num_samples: int) -> None:
    """One warning about the space that needs most samples, where they are too few."""
    widest = max(spaces.values(), key=lambda space: space.feature_dim)
    if (shortage := describe_shortage(num_samples=num_samples, feature_dim=widest.feature_dim)) is not None:
        logger.warning("%s", shortage)
