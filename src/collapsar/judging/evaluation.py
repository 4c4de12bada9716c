"""The settings of what is measured, and how they make a chain's evaluator.

`prepare` makes the feature spaces, chooses the held-out samples and measures the floor. The measuring stick's space
comes first (its name among the settings is `classifier`); where there is none, the first that suits the data does.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from platformdirs import user_cache_path

from collapsar.data.factors import Factors
from collapsar.data.real_data import RealData
from collapsar.errors import UsageError, check_fraction, check_positive
from collapsar.judging.downstream import DownstreamTask
from collapsar.judging.evaluator import Evaluator
from collapsar.judging.extra import ExtraMetrics
from collapsar.judging.floor import NOVELTY, load_floor
from collapsar.judging.measuring import Measure
from collapsar.judging.metric_keys import METRICS, find_measure
from collapsar.judging.plugins import load_cases
from collapsar.judging.reference import RealReference, choose
from collapsar.judging.spaces.base import FeatureSpace, FittedSpace, labels_of
from collapsar.metrics.uncertainty import describe_shortage
from collapsar.samples import Samples

logger = logging.getLogger(__name__)

PRIMARY_SPACE = "classifier"
MOST_SAMPLES = 10_000
ACCELERATORS = ("auto", "cpu", "cuda", "gpu")


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
        accelerator: Where features are computed: `auto`, `cpu`, or `cuda`, which may be called `gpu` too; not on MPS,
            which has no float64.
        cache_folder: Where fitted spaces and real sides are kept; null takes a per-user cache folder.
        table: What comes to it where samples are rows of a table; null: nothing.

    Raises:
        UsageError: a value out of range, a group that does not exist, or an accelerator that this machine lacks.
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
    table: ExtraMetrics | None = None

    def __post_init__(self) -> None:
        check_positive(num_neighbours=self.num_neighbours, num_bins=self.num_bins)
        check_fraction(low_confidence=self.low_confidence)
        if not 0 < self.confidence < 1:
            raise UsageError(f"confidence must lie between 0 and 1, without either: got {self.confidence}")
        find_device(self.accelerator)
        if self.num_samples is not None:
            check_positive(num_samples=self.num_samples)
        if self.num_batches < 0 or self.num_batches == 1:
            raise UsageError(f"num_batches must be 0 or at least 2: got {self.num_batches}")
        if self.num_training < 2:
            raise UsageError(f"num_training must be at least 2: got {self.num_training}")
        known = [*measured_groups(), *(self.table.groups() if self.table else ())]
        of_tables = self.table.metrics if self.table else ()
        for name, groups in (
            ("metrics", self.metrics),
            ("batch_metrics", self.batch_metrics),
            ("table.metrics", of_tables),
        ):
            if unknown := [group for group in groups if group not in known]:
                raise UsageError(
                    f"{name} must be among {', '.join(known)}: got {', '.join(unknown)}; measures of tables come with "
                    "table_metrics@evaluation.table=default"
                )

    def sample_size(self, num_real: int) -> int:
        """How many samples of each kind are measured, where so many real ones are held out."""
        return self.num_samples or min(num_real, MOST_SAMPLES)

    def check(self, *, num_real: int, sample_shape: Sequence[int], num_classes: int) -> None:
        """Refuse feature spaces that do not suit the data, and sample sizes that the held-out set cannot serve.

        Raises:
            UsageError: one of these: no space is left, more samples than there are, or more neighbours or bins than
                samples.
        """
        for space in self._suitable(sample_shape).values():
            space.check(sample_shape=sample_shape, num_classes=num_classes)
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

    def names_before_keys(self, sample_shape: Sequence[int]) -> list[str]:
        """The spaces whose names stand before the keys of what is measured in them: all but the first."""
        return list(self._suitable(sample_shape))[1:]

    @property
    def device(self) -> torch.device:
        """Where features are computed."""
        return find_device(self.accelerator)

    @property
    def cache_dir(self) -> Path:
        """Where fitted spaces and real sides are kept."""
        return Path(self.cache_folder) if self.cache_folder else user_cache_path("collapsar") / "spaces"

    def measures(self, factors: Factors | None) -> dict[str, Measure]:
        """All measures by group, each with its settings, of data with these known factors or without any."""
        groups: dict[str, Callable[..., dict[str, float]]] = {}
        for name in measured_groups():
            metric = METRICS[name]
            if factors is not None and metric.of_factors is not None:
                groups[name] = partial(find_measure(metric.of_factors), factors=factors)
            else:
                assert metric.measure is not None, "it is measured"
                groups[name] = find_measure(metric.measure)
        return groups | {
            "bins": partial(groups["bins"], num_bins=self.num_bins),
            "classes": partial(groups["classes"], low_confidence=self.low_confidence),
            "downstream": partial(groups["downstream"], task=self.downstream),
            **(self.table.groups() if self.table else {}),
        }

    def prepare(self, real: RealData) -> Evaluator:
        """Fit the spaces on what measuring sticks may see, and measure the floor.

        The floor is of real samples that no space has seen; where the data keep none from them, of training samples.

        Raises:
            UsageError: no space suits the data, or one is not good enough to be trusted.
        """
        suitable = self._suitable(real.train.shape)
        if self.table and real.table:
            self.table.check(real.table)
        seen = real.for_sticks()
        spaces = {
            name: space.fit(seen, device=self.device, cache_dir=self.cache_dir) for name, space in suitable.items()
        }
        warn_of_shortage(spaces, num_samples=self.sample_size(len(real.test)))
        # Vectors are cheap to measure, and often drawn anew for each seed: keeping them would fill the folder.
        kept_in = self.cache_dir if len(real.train.shape) > 1 or real.table is not None else None
        train_labels, test_labels = labels_of(real)
        train, test = Samples(real.train.values, train_labels), Samples(real.test.values, test_labels)
        test = test[choose(len(test), num_samples=self.sample_size(len(test)))]
        references = {
            f"{name}/" if index else "": RealReference(
                name=name,
                space=space,
                held_out=test,
                training=train.values[choose(len(train), num_samples=self.num_training)],
                num_classes=real.num_classes,
                known_modes=real.known_modes,
                num_neighbours=self.num_neighbours,
                folder=kept_in,
                table=real.table,
            )
            for index, (name, space) in enumerate(spaces.items())
        }
        groups = [*self.metrics, *(self.table.metrics if self.table and real.table else ())]
        every = self.measures(real.factors)
        measures = {group: measure for group, measure in every.items() if group in groups}
        unseen = real.stick_split.unseen if real.stick_split and real.num_classes else train
        in_place = unseen[choose(len(unseen), num_samples=len(test))]  # of synthetic samples
        return Evaluator(
            references=references,
            floor=load_floor(references, in_place, measures=measures, folder=kept_in),
            measures=list(measures.values()),
            batch_measures=[every[group] for group in self.batch_metrics],
            num_batches=self.num_batches,
            confidence=self.confidence,
            num_training=self.num_training if NOVELTY in self.metrics else 0,
            factors=real.factors,
            picture=real.picture,
        )

    def _suitable(self, sample_shape: Sequence[int]) -> dict[str, FeatureSpace]:
        """Vectors are measured as they are, images in every other space; the stick's comes first.

        Raises:
            UsageError: no space suits the data.
        """
        is_vector = len(sample_shape) == 1
        names = sorted(self.spaces, key=lambda name: name != PRIMARY_SPACE)
        suitable = {name: self.spaces[name] for name in names if self.spaces[name].takes_vectors == is_vector}
        if not suitable:
            raise UsageError(f"none of the feature spaces {', '.join(self.spaces)} suits this data")
        return suitable


def measured_groups() -> list[str]:
    """The names that `evaluation.metrics` may hold, but for those of `evaluation.table`."""
    load_cases()
    return [name for name, metric in METRICS.items() if metric.measure is not None]


def find_device(accelerator: str) -> torch.device:
    """The device that a setting names.

    Raises:
        UsageError: no such setting, or no such device.
    """
    if accelerator not in ACCELERATORS:
        raise UsageError(f"evaluation.accelerator must be among {', '.join(ACCELERATORS)}: got {accelerator}")
    has_cuda = torch.cuda.is_available()
    if accelerator in ("cuda", "gpu") and not has_cuda:
        raise UsageError(
            f"evaluation.accelerator={accelerator} needs a CUDA device, and there is none: set it to auto or cpu"
        )
    return torch.device("cuda" if has_cuda and accelerator != "cpu" else "cpu")


def warn_of_shortage(spaces: Mapping[str, FittedSpace], *, num_samples: int) -> None:
    """One warning about the space that needs most samples, where they are too few."""
    widest = max(spaces.values(), key=lambda space: space.feature_dim)
    if (shortage := describe_shortage(num_samples=num_samples, feature_dim=widest.feature_dim)) is not None:
        logger.warning("%s", shortage)
