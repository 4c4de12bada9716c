"""Pools: what one generation is trained on.

A pool is a tuple of parts, and each part holds samples of one origin, so an accumulating chain shares the tensors of
the pools before it instead of copying them: 50 generations of MNIST cost their own uint8 samples and nothing more.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int64
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

    def to(self, device: torch.device) -> "Part":
        """The same part on another device; nothing is copied when it is there already."""
        return Part(self.samples.to(device), self.labels.to(device), self.origin)


def unlabelled(samples: Tensor, *, origin: int) -> Part:
    """A part whose labels nobody knows."""
    return Part(samples, torch.full((len(samples),), UNLABELLED), origin)


@dataclass(frozen=True)
class Pool:
    """The parts one generation is trained on; a sample's index counts through the parts in order."""

    parts: tuple[Part, ...]

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

    def describe(self) -> dict[str, object]:
        """Size, real share and origins, as they stand in the record."""
        return {"size": len(self), "real_fraction": self.real_fraction, "origins": self.origins()}

    def to(self, device: torch.device) -> "Pool":
        """The same pool on another device."""
        return Pool(tuple(part.to(device) for part in self.parts))

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
