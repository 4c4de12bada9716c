"""Pools: what one generation is trained on.

A pool is a tuple of parts, and each part holds samples of one origin, so an accumulating chain shares the tensors of
the pools before it instead of copying them: 50 generations of MNIST cost their own uint8 samples and nothing more.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

REAL = -1  # the origin of real samples; a synthetic sample's origin is the generation of the model that drew it
UNLABELLED = -1


@dataclass(frozen=True)
class Part:
    """Samples of one origin.

    Attributes:
        samples: Images or vectors in the sample convention (see `samples.py`), [num_samples, ...].
        labels: Class of each sample, UNLABELLED where nobody knows it.
        origin: REAL, or the generation of the model that drew the samples.
    """

    samples: Tensor
    labels: Int64[Tensor, " sample"]
    origin: int

    def __post_init__(self) -> None:
        assert len(self.samples) == len(self.labels), "a label for every sample"

    def __len__(self) -> int:
        return len(self.samples)

    def take(self, indices: Int64[Tensor, " chosen"]) -> "Part":
        """The chosen samples, in the order of `indices`."""
        return Part(self.samples[indices], self.labels[indices], self.origin)

    def slice(self, start: int, stop: int) -> "Part":
        """The samples from `start` up to `stop`, as views: nothing is copied."""
        return Part(self.samples[start:stop], self.labels[start:stop], self.origin)

    def to(self, device: torch.device) -> "Part":
        """The same part on another device; nothing is copied when it is there already."""
        return Part(self.samples.to(device), self.labels.to(device), self.origin)


def unlabelled(samples: Tensor, *, origin: int) -> Part:
    """A part whose labels nobody knows, which is one number however many samples there are."""
    return Part(samples, torch.tensor(UNLABELLED).expand(len(samples)), origin)


@dataclass(frozen=True)
class Pool:
    """The parts one generation is trained on; a sample's index counts through the parts in order.

    Attributes:
        parts: What is trained on.
        archive: What regimes may draw from later, though this generation is not trained on it.
        part_weights: Weight of each part as a whole, summing to 1 and shared evenly by its samples; None gives every
            sample of the pool the same weight.
    """

    parts: tuple[Part, ...]
    archive: tuple[Part, ...] = ()
    part_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        assert self.part_weights is None or len(self.part_weights) == len(self.parts), "a weight for every part"

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample: (channels, height, width) or (dimensions,)."""
        return tuple(self.parts[0].samples.shape[1:])

    @property
    def real_fraction(self) -> float:
        """Share of real samples, in [0, 1]."""
        return self.origins().get("real", 0) / len(self)

    def origins(self) -> dict[str, int]:
        """Number of samples by origin: "real", or the generation of the model that drew them."""
        counts: dict[str, int] = {}
        for part in self.parts:
            origin = "real" if part.origin == REAL else str(part.origin)
            counts[origin] = counts.get(origin, 0) + len(part)
        return counts

    @property
    def real_weight(self) -> float:
        """Share of the training weight that real samples have, in [0, 1]."""
        if self.part_weights is None:
            return self.real_fraction
        return sum(weight for part, weight in zip(self.parts, self.part_weights, strict=True) if part.origin == REAL)

    @property
    def weights(self) -> Float64[Tensor, " sample"] | None:
        """Probability of each sample to be drawn in training, summing to 1; None where all are alike."""
        if self.part_weights is None:
            return None
        sizes = [len(part) for part in self.parts]
        each = [weight / size for weight, size in zip(self.part_weights, sizes, strict=True)]
        return torch.tensor(each, dtype=torch.float64).repeat_interleave(torch.tensor(sizes))

    def describe(self) -> dict[str, object]:
        """Size, real share and origins, as they stand in the record; of a weighted pool also the real weight."""
        description: dict[str, object] = {
            "size": len(self),
            "real_fraction": self.real_fraction,
            "origins": self.origins(),
        }
        return description if self.part_weights is None else {**description, "real_weight": self.real_weight}

    def to(self, device: torch.device) -> "Pool":
        """The same pool on another device; the archive, which is not trained on, stays where it is."""
        return replace(self, parts=tuple(part.to(device) for part in self.parts))

    def concatenated(self) -> Tensor:
        """All samples as one tensor [pool_size, ...]; for fits that need them at once, as batches do not."""
        return self.parts[0].samples if len(self.parts) == 1 else torch.cat([part.samples for part in self.parts])

    def gather(self, indices: Int64[Tensor, " chosen"]) -> Tensor:
        """The samples at `indices` [num_chosen, ...], as a new tensor; the pool itself is never copied."""
        if len(self.parts) == 1:
            return self.parts[0].samples[indices]
        first = self.parts[0].samples
        gathered = torch.empty((len(indices), *self.sample_shape), dtype=first.dtype, device=first.device)
        part_of = torch.bucketize(indices, self._ends, right=True)
        for number, part in enumerate(self.parts):
            chosen = (part_of == number).nonzero().squeeze(1)
            start = int(self._ends[number]) - len(part)
            gathered[chosen] = part.samples[indices[chosen] - start]
        return gathered

    @cached_property
    def _ends(self) -> Tensor:
        sizes = torch.tensor([len(part) for part in self.parts])
        return sizes.cumsum(0).to(self.parts[0].samples.device)


def draw_without_replacement(
    parts: Sequence[Part], *, num_samples: int, generator: torch.Generator
) -> tuple[Part, ...]:
    """A uniform choice of `num_samples` from all parts together, as parts of the same origins.

    Parts left without a sample are dropped. Taking all there is copies and draws nothing.
    """
    total = sum(len(part) for part in parts)
    assert num_samples <= total, f"{num_samples} samples of {total}"
    if num_samples == total:
        return tuple(parts)
    chosen = torch.randperm(total, generator=generator)[:num_samples].sort().values
    taken, start = [], 0
    for part in parts:
        is_inside = (chosen >= start) & (chosen < start + len(part))
        taken.append(part.take(chosen[is_inside] - start))
        start += len(part)
    return tuple(part for part in taken if len(part))
