"""Pools: what one generation is trained on.

A pool is a tuple of parts; each part holds samples of one origin. An accumulating chain shares the tensors of earlier
pools instead of copying them: 50 generations of MNIST take no more memory than their own uint8 samples.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from collapsar.samples import UNLABELLED, Samples, concatenate

REAL = -1  # the origin of real samples; a synthetic sample's origin is the generation of the model that drew it


@dataclass(frozen=True)
class Part:
    """Samples of one origin: REAL, or the generation of the model that drew them."""

    samples: Samples
    origin: int

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, chosen: Tensor | slice) -> "Part":
        """The chosen samples, in the order of the indices; a slice copies nothing."""
        return Part(self.samples[chosen], self.origin)


@dataclass(frozen=True)
class Pool:
    """The parts that one generation is trained on; a sample's index counts through the parts in order."""

    parts: tuple[Part, ...]
    archive: tuple[Part, ...] = ()  # parts that regimes may draw from later; this generation is not trained on them
    part_weights: tuple[float, ...] | None = None  # sum to 1, each shared evenly by its samples; None: all are equal

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def device(self) -> torch.device:
        return self.parts[0].samples.values.device

    @property
    def is_labelled(self) -> bool:
        """Whether the class of any sample is known."""
        return any(part.samples.labels is not None for part in self.parts)

    @property
    def labels(self) -> Int64[Tensor, " sample"] | None:
        """Class of each sample, UNLABELLED if it is not known; None if no class is known."""
        if not self.is_labelled:
            return None
        unknown = torch.full((max(map(len, self.parts)),), UNLABELLED, device=self.device)
        return torch.cat(
            [unknown[: len(part)] if part.samples.labels is None else part.samples.labels for part in self.parts]
        )

    @property
    def num_real(self) -> int:
        return sum(len(part) for part in self.parts if part.origin == REAL)

    @property
    def real_fraction(self) -> float:
        """Share of real samples, in [0, 1]."""
        return self.num_real / len(self)

    def origins(self) -> dict[str, int]:
        """Number of samples by origin: "real", or the generation of the model that drew them."""
        counts = Counter[str]()
        for part in self.parts:
            counts["real" if part.origin == REAL else str(part.origin)] += len(part)
        return dict(counts)

    @property
    def real_weight(self) -> float:
        """Real samples' share of the training weight, in [0, 1]."""
        if self.part_weights is None:
            return self.real_fraction
        return sum(weight for part, weight in zip(self.parts, self.part_weights, strict=True) if part.origin == REAL)

    @property
    def weights(self) -> Float64[Tensor, " sample"] | None:
        """Probability that a training draw takes each sample, summing to 1; None if all are equal."""
        if self.part_weights is None:
            return None
        sizes = torch.tensor([len(part) for part in self.parts])
        return (torch.tensor(self.part_weights, dtype=torch.float64) / sizes).repeat_interleave(sizes)

    def describe(self) -> dict[str, object]:
        """Size, real fraction and origins for the record; for a weighted pool also the real weight."""
        weight = {} if self.part_weights is None else {"real_weight": self.real_weight}
        return {"size": len(self), "real_fraction": self.real_fraction, "origins": self.origins(), **weight}

    def concatenated(self) -> Tensor:
        """All values as one tensor [pool_size, ...], for fits that need them at once; batches do not."""
        return concatenate([part.samples for part in self.parts]).values

    def gather(self, indices: Int64[Tensor, " chosen"]) -> Samples:
        """The samples at `indices`, as new tensors; the pool itself is never copied."""
        if len(self.parts) == 1:
            return self.parts[0].samples[indices]
        first = self.parts[0].samples.values
        values = first.new_empty((len(indices), *first.shape[1:]))
        labels = indices.new_full((len(indices),), UNLABELLED) if self.is_labelled else None
        part_of = torch.bucketize(indices, self._ends, right=True)
        for number, part in enumerate(self.parts):
            places = (part_of == number).nonzero().squeeze(1)
            chosen = part.samples[indices[places] - (int(self._ends[number]) - len(part))]
            values[places] = chosen.values
            if labels is not None and chosen.labels is not None:
                labels[places] = chosen.labels
        return Samples(values, labels)

    def draw(self, num_samples: int, *, generator: torch.Generator) -> Samples:
        """`num_samples` different samples in random order; all samples if there are fewer."""
        return self.gather(torch.randperm(len(self), generator=generator)[:num_samples])

    @cached_property
    def _ends(self) -> Tensor:
        sizes = torch.tensor([len(part) for part in self.parts])
        return sizes.cumsum(0).to(self.device)


def draw_without_replacement(
    parts: Sequence[Part], *, num_samples: int, generator: torch.Generator | None
) -> tuple[Part, ...]:
    """`num_samples` of all parts together, chosen uniformly, as parts of the same origins; none is empty.

    If all samples are taken, the parts are not copied and the generator is not used. Without a generator the choice is
    evenly spaced, which is enough for a simulation.
    """
    total = sum(len(part) for part in parts)
    assert num_samples <= total, f"{num_samples} samples of {total}"
    if num_samples == total:
        return tuple(parts)
    if generator is None:
        chosen = torch.arange(num_samples) * total // max(num_samples, 1)
    else:
        chosen = torch.randperm(total, generator=generator)[:num_samples].sort().values
    stops = list(accumulate(map(len, parts)))
    starts = [0, *stops[:-1]]
    first, last = torch.searchsorted(chosen, torch.tensor([starts, stops])).tolist()
    taken = [part[chosen[i:j] - start] for part, start, i, j in zip(parts, starts, first, last, strict=True)]
    return tuple(part for part in taken if len(part))
