"""A pool as batches for Lightning, gathered by index on the device that holds the pool; and the cache on that device.

There is no DataLoader: for small images its workers cost more than the training step. Samples are gathered a few
thousand at a time, so a pool of many parts costs no more than one of one part. The order is drawn on the CPU, so it is
the same for any device. If training runs on another device than the pool's, gathered samples go there through pinned
memory while that device works on earlier ones.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from collapsar.data.pool import Part, Pool
from collapsar.errors import UsageError
from collapsar.machine.devices import free_bytes
from collapsar.samples import Samples
from collapsar.seeding import draw_weighted

SAMPLES_PER_GATHER = 8192


class PoolBatches:
    """Shuffled batches; each iteration is a newly shuffled epoch, without an incomplete last batch.

    An epoch of a weighted pool is drawn with replacement, by weight. `state_dict` holds the position in an epoch; after
    `load_state_dict` the next iteration is the rest of that epoch, as with Lightning's loaders.

    Args:
        device: Device of the batches.
        generator: A CPU generator that shuffles; its state continues from epoch to epoch.
        chosen: Indices of the samples to use; None for all.
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
        """Batches in the sample convention, with labels if the pool has them."""
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
        """Make the next iteration the rest of a stored epoch."""
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
        """Batches in the sample convention, with labels if the pool has them."""
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

    def __init__(self, *, free_bytes: Callable[[torch.device], int] = free_bytes) -> None:
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
        if sum(map(_num_bytes, missing.values())) > MOST_OF_FREE * self._free_bytes(device):
            self._held.clear()
            return pool
        self._held |= {key: (part.samples, part.samples.to(device)) for key, part in missing.items()}
        return replace(pool, parts=tuple(Part(self._held[_key_of(part)][1], part.origin) for part in pool.parts))


def _key_of(part: Part) -> Key:
    """Address and shape: while two parts are alive, they share a key only if they hold the same samples."""
    return part.samples.values.data_ptr(), tuple(part.samples.values.shape)


def _num_bytes(part: Part) -> int:
    labels = part.samples.labels
    return part.samples.values.nbytes + (0 if labels is None else labels.nbytes)
