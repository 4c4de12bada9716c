"""The floor: metric values of as many real samples in place of synthetic ones (`Metric.floor` says which).

It is stored on disk for all chains that would measure the same.
"""

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

import torch
from torch import Tensor

from collapsar.judging.comparison import Comparison, compare
from collapsar.judging.evaluator import Measure, measure
from collapsar.judging.metric_keys import METRICS
from collapsar.judging.reference import MEASURING_SEED, RealReference
from collapsar.judging.spaces.feature_cache import checksum, load_or_compute
from collapsar.records.recipes import flattened
from collapsar.records.settings import path_of_others
from collapsar.samples import Samples

FLOOR_VERSION = 2  # raise it if floors are measured differently and numbers change


def load_floor(
    references: Mapping[str, RealReference], samples: Samples, *, measures: Mapping[str, Measure], folder: Path | None
) -> dict[str, float]:
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


def measure_floor(
    references: Mapping[str, RealReference], samples: Samples, *, measures: Mapping[str, Measure]
) -> dict[str, float]:
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


def describe_floor(
    references: Mapping[str, RealReference], samples: Samples, *, measures: Mapping[str, Measure]
) -> str:
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
