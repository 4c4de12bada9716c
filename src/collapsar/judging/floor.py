"""The floor: metric values of as many real samples in place of synthetic ones.

No measuring stick (frozen classifier) has seen these samples, if the data reserve such; else they are training samples.
Novelty takes held-out samples instead, because training samples are in the training set. The floor is stored on disk
for all chains that would measure the same.
"""

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

from collapsar.judging.comparison import Comparison, compare
from collapsar.judging.measuring import Measure, measure
from collapsar.judging.metric_keys import version_of
from collapsar.judging.reference import MEASURING_SEED, RealReference
from collapsar.judging.spaces.feature_cache import checksum, load_or_measure
from collapsar.records.recipes import flattened
from collapsar.records.settings import path_of_others
from collapsar.samples import Samples

FLOOR_VERSION = 2  # raise it if floors are measured differently and numbers change
NOVELTY = "novelty"
PRIVACY = "privacy"  # no floor: it compares with held-out samples itself, and training samples would count as copies


def load_floor(
    references: Mapping[str, RealReference], samples: Samples, *, measures: Mapping[str, Measure], folder: Path | None
) -> dict[str, float]:
    """The floor by metric key without the suffix, loaded from the folder or measured.

    Args:
        references: The real side in each space, by key prefix.
        samples: Real samples in place of synthetic ones, as many as a generation's measured samples.
        measures: Measures by group.
        folder: Folder of stored floors; None stores nothing.
    """
    if folder is None:
        return measure_floor(references, samples, measures=measures)
    content = describe_floor(references, samples, measures=measures)
    digest = blake2b(content.encode(), digest_size=16).hexdigest()
    return load_or_measure(
        folder / f"floor-{digest}.pt",
        key=content,
        measure=lambda: measure_floor(references, samples, measures=measures),
    )


def measure_floor(
    references: Mapping[str, RealReference], samples: Samples, *, measures: Mapping[str, Measure]
) -> dict[str, float]:
    """The floor by metric key; only that of novelty if the samples are fewer than the held-out ones."""
    others = [each for group, each in measures.items() if group not in (NOVELTY, PRIVACY)]
    floor: dict[str, float] = {}
    if all(len(samples) >= len(real.held_out) for real in references.values()):
        floor |= measure(compare(references, samples, pool=None, seed=MEASURING_SEED, generation=0), others)
    if NOVELTY in measures:
        floor |= measure(_compare_held_out(references), [measures[NOVELTY]])
    return floor


def describe_floor(
    references: Mapping[str, RealReference], samples: Samples, *, measures: Mapping[str, Measure]
) -> str:
    """Text of all that the floor depends on: samples, labels, real sides, and measures with version and settings."""
    real = next(iter(references.values()))
    given = {"samples": samples.values, "labels": samples.labels, "held-out labels": real.held_out.labels}
    sides = {prefix: (reference.key, reference.num_neighbours) for prefix, reference in references.items()}
    groups = {
        group: (version_of(group), flattened(each).keywords, *path_of_others(flattened(each).func))
        for group, each in measures.items()
    }
    digests = checksum({name: tensor for name, tensor in given.items() if tensor is not None})
    table = f" {real.table.fingerprint}" if real.table else ""
    return f"{FLOOR_VERSION} {digests} {sides} {groups}{table}"


def _compare_held_out(references: Mapping[str, RealReference]) -> dict[str, Comparison]:
    """The held-out samples in place of synthetic ones; the real side already has their features."""
    return {
        prefix: Comparison(
            real=real,
            samples=real.held_out,
            features=real.features,
            classified=None,
            pool=None,
            is_first=not prefix,
            seed=MEASURING_SEED,
            generation=0,
        )
        for prefix, real in references.items()
    }
