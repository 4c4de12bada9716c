"""Pools, what one generation is trained on; their batches; and the cache of their parts on the training device.

An accumulating chain shares the tensors of earlier pools instead of copying them. Batches are gathered by index on the
device that holds the pool, a few thousand samples at a time: for small images the workers of a DataLoader cost more
than the training step. If training runs on another device, samples go there through pinned memory while it works on
earlier ones. Orders are drawn on the CPU, so they are the same for any device.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import UNLABELLED, Samples, concatenate
from collapsar.foundations.seeding import draw_weighted

REAL = -1  # the origin of real samples; a synthetic sample's origin is the generation of the model that drew it


@dataclass(frozen=True)
class Part:
    """Samples of one origin: REAL, or the generation of the model that drew them."""

    samples: Samples
    origin: int

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, chosen: Tensor | slice) -> "Part":
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


SAMPLES_PER_GATHER = 8192


class PoolBatches:
    """Shuffled batches; each iteration is a newly shuffled epoch, without an incomplete last batch.

    An epoch of a weighted pool is drawn with replacement, by weight. The generator, on the CPU, shuffles on from epoch
    to epoch; `chosen` holds the indices to use, or None for all. `state_dict` holds the position in an epoch; after
    `load_state_dict` the next iteration is the rest of that epoch, as with Lightning's loaders.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        device: torch.device,
        batch_size: int,
        generator: torch.Generator,
        chosen: Int64[Tensor, " chosen"] | None = None,
    ) -> None:
        self.pool, self.device, self.batch_size = pool, device, batch_size
        self.generator, self.chosen = generator, chosen
        self.num_samples = len(pool) if chosen is None else len(chosen)
        check_batch_size(batch_size, pool_size=self.num_samples)
        self._before_order: Tensor | None = None  # generator state; None before the first epoch
        self._num_given = 0  # batches of the current epoch
        self._resumed: dict[str, Any] | None = None

    def __len__(self) -> int:
        return self.num_samples // self.batch_size

    def __iter__(self) -> Iterator[Samples]:
        order, self._num_given = self._begin_epoch()
        batches_per_gather = max(SAMPLES_PER_GATHER // self.batch_size, 1)
        num_gathers, num_skipped = divmod(self._num_given, batches_per_gather)
        for indices in order.split(batches_per_gather * self.batch_size)[num_gathers:]:
            gathered = gather(self.pool, indices, device=self.device)
            for start in range(num_skipped * self.batch_size, len(gathered), self.batch_size):
                self._num_given += 1
                yield gathered[start : start + self.batch_size]
            num_skipped = 0

    def state_dict(self) -> dict[str, Any]:
        """The generator's state before the current epoch's order was drawn and now, and the number of batches given."""
        return {"before_order": self._before_order, "now": self.generator.get_state(), "num_given": self._num_given}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._resumed = state

    def _begin_epoch(self) -> tuple[Tensor, int]:
        """The order of an epoch, and the number of its batches that were given before."""
        state, self._resumed = self._resumed or {}, None
        if state:
            self.generator.set_state(state["now"] if state["before_order"] is None else state["before_order"])
        self._before_order = self.generator.get_state()
        if (weights := self.pool.weights) is None:
            order = torch.randperm(self.num_samples, generator=self.generator)
        else:
            weights = weights if self.chosen is None else weights[self.chosen]
            order = draw_weighted(weights, self.num_samples, generator=self.generator)
        order = (order if self.chosen is None else self.chosen[order])[: len(self) * self.batch_size]
        if state.get("before_order") is None:
            return order, 0
        self.generator.set_state(state["now"])
        return order, state["num_given"]


class PoolInOrder:
    """Batches of the chosen samples in order, for validation; the last batch may be smaller."""

    def __init__(self, pool: Pool, *, device: torch.device, batch_size: int, chosen: Int64[Tensor, " chosen"]) -> None:
        self.pool, self.device, self.batch_size, self.chosen = pool, device, batch_size, chosen

    def __len__(self) -> int:
        return math.ceil(len(self.chosen) / self.batch_size)

    def __iter__(self) -> Iterator[Samples]:
        for indices in self.chosen.split(self.batch_size):
            yield gather(self.pool, indices, device=self.device)


def gather(pool: Pool, indices: Int64[Tensor, " chosen"], *, device: torch.device) -> Samples:
    """The samples of a pool at `indices` (on the CPU), moved to `device`."""
    samples = pool.gather(indices.to(pool.device))
    return samples if device == pool.device else samples.sent_to(device)


def check_batch_size(batch_size: int, *, pool_size: int) -> None:
    """Raise UsageError if the batch size is below 1 or above the size of the pool."""
    if not 1 <= batch_size <= pool_size:
        raise UsageError(f"batch_size must be between 1 and the pool's {pool_size} samples: got {batch_size}")


MOST_OF_FREE = 0.5  # share of a device's free memory for pools; models, gradients and activations need the rest

Key = tuple[int, tuple[int, ...]]


class DeviceCache:
    """The parts of one chain's pools that a device holds."""

    def __init__(self, *, free_bytes: Callable[[torch.device], int]) -> None:
        self._free_bytes = free_bytes
        self._held: dict[Key, tuple[Samples, Samples]] = {}  # original and copy: the key is a live original's address
        self._device = torch.device("cpu")

    def move(self, pool: Pool, device: torch.device) -> Pool:
        """The pool with its parts on the device; unchanged if the device is a CPU or if they do not fit.

        Parts that are no longer in the pool are freed first. The archive is not moved: nothing is trained on it.
        """
        wanted = {_key_of(part): part for part in pool.parts}
        self._held = {key: held for key, held in self._held.items() if key in wanted and device == self._device}
        self._device = device
        if device.type == "cpu":
            return pool
        missing = {key: part for key, part in wanted.items() if key not in self._held}
        tensors = (each for part in missing.values() for each in (part.samples.values, part.samples.labels))
        if sum(each.nbytes for each in tensors if each is not None) > MOST_OF_FREE * self._free_bytes(device):
            self._held.clear()
            return pool
        self._held |= {key: (part.samples, part.samples.to(device)) for key, part in missing.items()}
        return replace(pool, parts=tuple(Part(self._held[_key_of(part)][1], part.origin) for part in pool.parts))


def _key_of(part: Part) -> Key:
    """Address and shape: while two parts are alive, they share a key only if they hold the same samples."""
    return part.samples.values.data_ptr(), tuple(part.samples.values.shape)
