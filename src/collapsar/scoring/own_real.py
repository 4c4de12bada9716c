"""A user's own real samples as the sets of a source, with their floor, and a stick that another data set brings."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from collapsar.data.real_data import RealData
from collapsar.data.sources.source import Source
from collapsar.judging.evaluator import Evaluator
from collapsar.judging.floor import load_floor
from collapsar.judging.reference import choose
from collapsar.judging.spaces.base import FeatureSpace, FittedSpace
from collapsar.samples import Samples


def split_own(
    own: Samples, *, num_synthetic: int, train: Samples | None, trains_stick: bool, num_classes: int
) -> tuple[RealData, Samples | None]:
    """A user's real samples as the sets of a source, and further ones for the floor; None if there are too few.

    They are split at random, the same way in every run. A stick that is trained here gets half of them, so that it has
    seen none that it measures, unless the user gives a training set. As many as there are synthetic samples are
    measured with; as many others, or samples of the training set, give the floor.
    """
    order = torch.randperm(len(own), generator=torch.Generator().manual_seed(0))
    num_for_stick = len(own) // 2 if trains_stick and train is None else 0
    for_stick, others = own[order[:num_for_stick]], order[num_for_stick:]
    num_samples = min(len(others), num_synthetic)
    test, rest = own[others[:num_samples].sort().values], own[others[num_samples:].sort().values]
    further = rest if len(rest) >= num_samples else None
    if train is not None and further is None and len(train) >= num_samples and not trains_stick:
        further = train[choose(len(train), num_samples=num_samples)]
    if train is None:
        train = for_stick if num_for_stick else rest if further else own
    return RealData(train=train, test=test, num_classes=num_classes), further


def with_floor(evaluator: Evaluator, further: Samples | None) -> tuple[Evaluator, int]:
    """The evaluator with the floor of further real samples, and its size; without any, that of two halves."""
    references = dict(evaluator.references)
    first = references[""]
    if further is not None:
        size = evaluator.num_synthetic
        further = further[choose(len(further), num_samples=size)]
    else:
        size = len(first.held_out) // 2
        halves = torch.randperm(len(first.held_out), generator=torch.Generator().manual_seed(1))
        held_out, further = first.held_out[halves[:size]], first.held_out[halves[size : 2 * size]]
        if size <= first.num_neighbours:
            return evaluator, 0
        references = {
            prefix: replace(real, held_out=held_out, training=further.values) for prefix, real in references.items()
        }
    floor = load_floor(references, further, measures=evaluator.measures, folder=first.folder)
    return replace(evaluator, floor=floor), size


@dataclass(frozen=True, kw_only=True)
class StickOfItsData(FeatureSpace):
    """A stick that is fitted on the data set that it belongs to, whatever it measures."""

    stick: FeatureSpace
    source: Source

    has_classes, is_stick = True, True

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.stick.name

    def fit(self, real: RealData, *, device: torch.device, cache_dir: Path) -> FittedSpace:
        own = real if self.stick.is_stick else self.source.load().for_sticks()
        return self.stick.fit(own, device=device, cache_dir=cache_dir)
