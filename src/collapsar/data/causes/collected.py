"""Causes that leave samples out, as if they had never been collected."""

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from collapsar.data.causes.cause import Cause, labels_of
from collapsar.data.real_data import Factors
from collapsar.foundations.errors import UsageError, check_fraction, check_positive
from collapsar.foundations.samples import Samples, to_model_range

SAMPLES_PER_CHUNK = 4096  # bounds memory only


@dataclass(frozen=True, kw_only=True)
class MissingClasses(Cause):
    """Some classes have no samples."""

    name, stage, needs_labels = "missing_classes", 0, True

    classes: list[int]

    def plant(self, samples: Samples, *, num_classes: int, generator: torch.Generator) -> Samples:
        return samples[~torch.isin(labels_of(samples), torch.tensor(self.classes, dtype=torch.int64))]

    def num_left(self, num_samples: int, *, num_classes: int) -> int:
        return num_samples * (num_classes - len(set(self.classes))) // num_classes

    def check(self, *, sample_shape: Sequence[int], num_classes: int) -> None:
        super().check(sample_shape=sample_shape, num_classes=num_classes)
        if not set(self.classes) < set(range(num_classes)):
            problem = f"cause.missing_classes.classes must be some, not all, of 0 to {num_classes - 1}"
            raise UsageError(f"{problem}: got {self.classes}; set others")


class SimplifiedWorld(Cause):
    """A simulator that lacks some levels of known factors: no sample has any of the levels `without`."""

    name, stage, needs_labels = "simplified_world", 0, True

    def __init__(self, *, without: list[str]) -> None:
        if not without:
            raise UsageError("cause.simplified_world.without must name a level of a factor at least: got none")
        self.without = without
        self._is_kept: Tensor | None = None  # by combination
        self._kept_share = 1.0

    def for_factors(self, factors: Factors | None) -> "SimplifiedWorld":
        if factors is None:
            raise UsageError("cause=simplified_world needs data of known factors: choose data=scenes")
        every, known = torch.arange(factors.num_combinations), {level.name: level for level in factors.levels}
        if unknown := [name for name in self.without if name not in known]:
            problem = f"cause.simplified_world.without must be among {', '.join(known)}"
            raise UsageError(f"{problem}: got {', '.join(unknown)}; set those")
        simplified = SimplifiedWorld(without=self.without)
        is_left_out = torch.stack([factors.has(known[name], every) for name in self.without]).any(0)
        simplified._is_kept, simplified._kept_share = ~is_left_out, float(factors.shares[~is_left_out].sum())
        if not simplified._kept_share:
            raise UsageError(f"cause.simplified_world.without leaves no sample: got {', '.join(self.without)}")
        return simplified

    def plant(self, samples: Samples, *, num_classes: int, generator: torch.Generator) -> Samples:
        assert self._is_kept is not None, "it befalls data of known factors"
        return samples[self._is_kept[labels_of(samples)]]

    def num_left(self, num_samples: int, *, num_classes: int) -> int:
        return round(self._kept_share * num_samples)


@dataclass(frozen=True, kw_only=True)
class LongTail(Cause):
    """Class sizes that fall exponentially from class 0 on (Cui et al. 2019, arXiv:1901.05555, section 5.1).

    Of n samples in K classes, class k keeps n/K factor^(-k / (K - 1)) random ones, or all if it has fewer.
    """

    name, stage, needs_labels = "long_tail", 1, True

    factor: int | float  # size of the first class divided by that of the last, at least 1

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise UsageError(f"cause.long_tail.factor must be at least 1: got {self.factor}")

    def class_sizes(self, num_samples: int, *, num_classes: int) -> list[int]:
        """The most samples that each class keeps, at least 1 each."""
        falls = [self.factor ** (-number / max(num_classes - 1, 1)) for number in range(num_classes)]
        return [max(1, round(num_samples / num_classes * fall)) for fall in falls]

    def plant(self, samples: Samples, *, num_classes: int, generator: torch.Generator) -> Samples:
        order = torch.randperm(len(samples), generator=generator)
        labels, sizes = labels_of(samples)[order], self.class_sizes(len(samples), num_classes=num_classes)
        kept = [order[labels == number][:size] for number, size in enumerate(sizes)]
        return samples[torch.cat(kept).sort().values]

    def num_left(self, num_samples: int, *, num_classes: int) -> int:
        return min(num_samples, sum(self.class_sizes(num_samples, num_classes=num_classes)))


@dataclass(frozen=True, kw_only=True)
class Subset(Cause, ABC):
    """A share of the samples, at least one."""

    kept_fraction: int | float  # of the samples, above 0 and at most 1

    def __post_init__(self) -> None:
        check_positive(**{f"cause.{self.name}.kept_fraction": self.kept_fraction})
        check_fraction(**{f"cause.{self.name}.kept_fraction": self.kept_fraction})

    def num_left(self, num_samples: int, *, num_classes: int) -> int:
        return max(1, round(self.kept_fraction * num_samples))


@dataclass(frozen=True, kw_only=True)
class BiasedSubset(Subset):
    """The samples that lie towards one end of the first principal component.

    Each sample scores strength r + (1 - strength) u, with r its rank along the component from 0 to 1 and u uniform on
    [0, 1]; the highest scores are kept. The component's entry of largest magnitude is positive.
    """

    name, stage = "biased_subset", 2

    strength: int | float  # in [0, 1]: 1 keeps one side of a cut, 0 keeps random samples

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(**{"cause.biased_subset.strength": self.strength})

    def plant(self, samples: Samples, *, num_classes: int, generator: torch.Generator) -> Samples:
        ranks = first_component(samples).argsort(stable=True).argsort().double() / len(samples)
        lots = torch.rand(len(samples), generator=generator, dtype=torch.float64)
        scores = self.strength * ranks + (1 - self.strength) * lots
        num_kept = self.num_left(len(samples), num_classes=num_classes)
        return samples[scores.argsort(descending=True)[:num_kept].sort().values]


@dataclass(frozen=True, kw_only=True)
class FewSamples(Subset):
    """A small random part of the samples."""

    name, stage = "few_samples", 3

    def plant(self, samples: Samples, *, num_classes: int, generator: torch.Generator) -> Samples:
        num_kept = self.num_left(len(samples), num_classes=num_classes)
        return samples[torch.randperm(len(samples), generator=generator)[:num_kept].sort().values]


def first_component(samples: Samples) -> Float[Tensor, " sample"]:
    """Scores of samples on the first principal component, whose entry of largest magnitude is positive."""
    chunks = samples.values.split(SAMPLES_PER_CHUNK)
    mean = torch.cat([to_model_range(chunk).flatten(1).sum(0, keepdim=True) for chunk in chunks]).sum(0) / len(samples)
    moment = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for chunk in chunks:
        centred = to_model_range(chunk).flatten(1) - mean
        moment += centred.T @ centred
    direction = torch.linalg.eigh(moment).eigenvectors[:, -1].float()  # eigenvalues rise
    direction = direction * direction[direction.abs().argmax()].sign()
    return torch.cat([(to_model_range(chunk).flatten(1) - mean) @ direction for chunk in chunks])
