"""The floor: the values that as many real samples get in place of synthetic ones.

They are real samples that no measuring stick has seen, else training samples, measured as a generation is. For novelty
they are held-out ones: a training sample is always found in the training set. A floor is kept on disk for all chains
that would measure the same.
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

FLOOR_VERSION = 2  # of how floors are measured; a change of numbers raises it
NOVELTY = "novelty"
PRIVACY = "privacy"  # has its baseline in itself, held-out samples, and training samples would be copies


def load_floor(
    references: Mapping[str, RealReference], samples: Samples, *, measures: Mapping[str, Measure], folder: Path | None
) -> dict[str, float]:
    """The floor by metric key, without its suffix; measured unless the folder holds it.

    Args:
        references: The real side in each space, by the prefix of its keys.
        samples: Real samples in place of synthetic ones, as many as of these are measured.
        measures: What is measured, by group.
        folder: Where floors are kept; None keeps none.
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
    """The floor by metric key; of novelty alone where there are fewer samples than held-out ones."""
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
    """All that the floor depends on, as text: samples, labels, real sides, and measures with version and settings."""
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
    """The held-out samples in place of synthetic ones; their features are kept with the real side."""
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
