"""A chain's evaluator: one generation's samples in, the metrics of its record out, by the keys of `metric_keys`.

Measures run in all feature spaces; intervals come from batches of one generation's samples. The floor is the metrics of
as many real samples in place of synthetic ones (`Metric.floor` says which), stored for all chains that would measure
the same.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from collapsar.data.real_data import Factors, RowFormat
from collapsar.foundations.recipes import flattened
from collapsar.foundations.samples import Samples
from collapsar.foundations.settings import path_of_others
from collapsar.judging.comparison import MEASURING_SEED, Comparison, RealReference, choose, compare
from collapsar.judging.metric_keys import METRICS, bounds_of
from collapsar.judging.progress import advance
from collapsar.judging.spaces.base import checksum, load_or_compute
from collapsar.judging.suite import Values, class_histogram, factor_histogram

Measure = Callable[[Comparison], Values]
Measures = Mapping[str, Measure]
References = Mapping[str, RealReference]
FLOOR_VERSION = 2  # raise it if floors are measured differently and numbers change
NUM_PICTURED = 12  # samples whose nearest real image is kept for the page


class ExtraMetrics(ABC):
    """Extra groups of metrics for rows of a table (`evaluation.table`), the interface for a case study's own."""

    metrics: Sequence[str]  # groups to measure

    @abstractmethod
    def groups(self) -> Mapping[str, Measure]:
        """All available measures by group, with their settings."""

    @abstractmethod
    def check(self, table: RowFormat) -> None:
        """Raise UsageError, with what to set, if the settings do not suit these rows."""


@dataclass(frozen=True)
class Scores:
    """One generation's scores, as they stand in the record.

    `class_shares` is empty without classes, `factor_shares` without known factors, whose combinations are no classes
    there. `pictures` has "real" held-out images and the "nearest" real image to each of the first samples, of the
    training set if novelty is measured, else of the held-out set; it is empty for other samples than images.
    """

    metrics: dict[str, float]
    class_shares: dict[str, list[float]]  # of each class, among "real" and "synthetic" samples
    factor_shares: dict[str, dict[str, float]]  # by level: "known", and as the classifier reads "real" and "synthetic"
    feature_spaces: dict[str, dict[str, Any]]  # descriptions by name; `fid_by` is the library that computed the FID
    num_synthetic: int  # measured
    num_real: int  # held-out ones that they are measured against
    num_batches: int  # whose spread gives `_low` and `_high`; 0 for none
    batch_size: int
    pictures: dict[str, Tensor] = field(compare=False)  # tensors have no single truth
    table_picture: dict[str, Any] | None = None  # the page's picture of a table's rows, as plain JSON


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """Scores all generations of a chain against one real side."""

    references: Mapping[str, RealReference]  # the real side in each space, by key prefix; the first prefix is empty
    floor: Mapping[str, float]  # values of real samples by metric key
    measures: Mapping[str, Measure]  # of all samples, by group
    batch_measures: Mapping[str, Measure]  # of each batch
    num_batches: int  # disjoint batches of a generation's samples, for intervals; 0 for none
    confidence: float  # level of the intervals
    num_training: int  # samples of a pool for novelty; 0 if novelty is not measured
    factors: Factors | None
    picture: Callable[..., dict[str, Any]] | None  # makes `table_picture` from real and synthetic rows

    @property
    def num_synthetic(self) -> int:
        """How many samples of a generation to measure: as many as the held-out real ones."""
        return len(self.references[""].held_out)

    def evaluate(self, samples: Samples, *, seed: int, generation: int, pool: Samples | None = None) -> Scores:
        """Score one generation; the arguments are those of `compare`."""
        return self.score(self.compare(samples, seed=seed, generation=generation, pool=pool))

    def compare(
        self, samples: Samples, *, seed: int, generation: int, pool: Samples | None = None
    ) -> dict[str, Comparison]:
        """A generation's first `num_synthetic` samples against the real side, by key prefix.

        `pool` holds at least two samples that the model was trained on, for novelty against the pool; `num_training` of
        them are used. None leaves it out.
        """
        chosen = None
        if pool is not None and self.num_training:
            chosen = pool.values[choose(len(pool), num_samples=self.num_training)]
        measured = samples[: self.num_synthetic]
        return compare(self.references, measured, pool=chosen, seed=seed, generation=generation)

    def score(self, comparisons: Mapping[str, Comparison]) -> Scores:
        """The scores of compared samples."""
        metrics, first = measure(comparisons, self.measures), comparisons[""]
        batches = self._batches(first)
        of_batches = [
            measure({prefix: each.take(batch) for prefix, each in comparisons.items()}, self.batch_measures)
            for batch in batches
        ]
        intervals = intervals_around(metrics, of_batches, confidence=self.confidence)
        floor = {f"{key}_floor": value for key, value in self.floor.items()}
        classified, factors = first.classified, self.factors
        return Scores(
            metrics=metrics | intervals | floor,
            class_shares=class_histogram(classified) if classified and factors is None else {},
            factor_shares=factor_histogram(classified, factors=factors) if classified and factors else {},
            feature_spaces={
                each.real.name: each.real.space.describe()
                | ({"fid_by": each.fid_by} if f"{prefix}fid" in metrics else {})
                for prefix, each in comparisons.items()
            },
            num_synthetic=len(first.samples),
            num_real=len(first.real.held_out),
            num_batches=len(batches),
            batch_size=len(batches[0]) if batches else 0,
            pictures=self._pictures(first) if first.samples.values.dtype == torch.uint8 else {},
            table_picture=self.picture(real=first.real.rows, synthetic=first.rows) if self.picture else None,
        )

    def _batches(self, first: Comparison) -> tuple[Tensor, ...]:
        """Indices of disjoint batches of equal size; none if a batch is too small for k neighbours."""
        size = len(first.samples) // self.num_batches if self.num_batches else 0
        return torch.arange(size * self.num_batches).split(size) if size > first.real.num_neighbours else ()

    def _pictures(self, first: Comparison) -> dict[str, Tensor]:
        real, training = first.real, first.real.training_side if self.num_training else None
        references = training.features if training else real.features
        _, nearest = first.nearest(references, chosen=slice(NUM_PICTURED))
        images = real.training if training else real.held_out.values
        return {"real": real.held_out.values[:NUM_PICTURED], "nearest": images[nearest.cpu()]}


def measure(comparisons: Mapping[str, Comparison], measures: Mapping[str, Measure]) -> dict[str, float]:
    """The finite values of all measures (by group) in all spaces (by key prefix): a record never holds NaN."""
    values: dict[str, float] = {}
    for prefix, comparison in comparisons.items():
        for group, each in measures.items():
            if not (prefix and group in METRICS and METRICS[group].of_first_space):
                values |= {f"{prefix}{key}": value for key, value in each(comparison).items() if math.isfinite(value)}
            advance("metrics measured", of=len(comparisons) * len(measures))
    return values


def intervals_around(metrics: Values, batches: Sequence[Values], *, confidence: float) -> Values:
    """`_low` and `_high` of each value that all batches of the samples have, cut to the metric's bounds.

    The centre is the value of all samples, because a batch's own value is biased by its smaller size. The width is that
    of Student's t-interval of the batches' mean. No bootstrap: a set drawn with replacement holds duplicates, which
    bias neighbour metrics and the Fréchet distance.
    """
    ends: dict[str, float] = {}
    quantile = float(stats.t.ppf(0.5 + confidence / 2.0, df=len(batches) - 1))
    for key in batches[0] if len(batches) > 1 else ():
        if key in metrics and all(key in batch for batch in batches):
            values = torch.tensor([batch[key] for batch in batches], dtype=torch.float64)
            mean = float(values.mean())
            high = mean + quantile * float(values.std()) / math.sqrt(len(batches))
            if math.isfinite(high):
                half_width, (lowest, highest) = high - mean, bounds_of(key)
                ends[f"{key}_low"] = max(metrics[key] - half_width, lowest)
                ends[f"{key}_high"] = min(metrics[key] + half_width, highest)
    return ends


def load_floor(references: References, samples: Samples, *, measures: Measures, folder: Path | None) -> Values:
    """The floor by metric key without the suffix, loaded from the folder or measured; without a folder, not stored.

    `samples` are real ones in place of synthetic ones, as many as a generation's measured samples.
    """
    if folder is None:
        return measure_floor(references, samples, measures=measures)

    def compute() -> dict[str, Tensor]:
        floor = measure_floor(references, samples, measures=measures)
        return {key: torch.tensor(value, dtype=torch.float64) for key, value in floor.items()}

    content = describe_floor(references, samples, measures=measures)
    digest = blake2b(content.encode(), digest_size=16).hexdigest()
    stored = load_or_compute(folder / f"floor-{digest}.pt", key=content, compute=compute)
    return {key: float(value) for key, value in stored.items() if value.isfinite()}  # version 0.2 stored NaN too


def measure_floor(references: References, samples: Samples, *, measures: Measures) -> Values:
    """The floor by metric key; only that of held-out samples if the samples are fewer than these."""
    kinds = {group: METRICS[group].floor if group in METRICS else "unseen" for group in measures}
    unseen, held_out = (
        {group: measures[group] for group in measures if kinds[group] == kind} for kind in ("unseen", "held out")
    )
    floor: dict[str, float] = {}
    if all(len(samples) >= len(real.held_out) for real in references.values()):
        floor |= measure(compare(references, samples, pool=None, seed=MEASURING_SEED, generation=0), unseen)
    of_held_out = {  # the real side already has their features
        prefix: Comparison(real=real, samples=real.held_out, features=real.features, seed=MEASURING_SEED, generation=0)
        for prefix, real in references.items()
        if held_out
    }
    return floor | measure(of_held_out, held_out)


def describe_floor(references: References, samples: Samples, *, measures: Measures) -> str:
    """Text of all that the floor depends on: samples, labels, real sides, and measures with version and settings."""
    real = next(iter(references.values()))
    given = {"samples": samples.values, "labels": samples.labels, "held-out labels": real.held_out.labels}
    sides = {prefix: (reference.key, reference.num_neighbours) for prefix, reference in references.items()}
    groups = {
        group: (
            METRICS[group].version if group in METRICS else 1,
            flattened(each).keywords,
            *path_of_others(flattened(each).func),
        )
        for group, each in measures.items()
    }
    digests = checksum({name: tensor for name, tensor in given.items() if tensor is not None})
    table = f" {real.table.fingerprint}" if real.table else ""
    return f"{FLOOR_VERSION} {digests} {sides} {groups}{table}"
