"""A pool as batches for Lightning: index selections where the pool lies.

There is no DataLoader: for small images its workers cost more than the training step. Indices are shuffled anew each
epoch and samples are gathered a few thousand at a time, so a pool of many parts costs no more than one of one part.
Order is drawn on the CPU, so that it is the same on any device. From a pool that is not on the device of the training,
gathered samples go there by way of pinned memory, while the device works on those before.
"""

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from collapsar.data.pool import Pool
from collapsar.errors import UsageError
from collapsar.samples import Samples
from collapsar.seeding import draw_weighted

SAMPLES_PER_GATHER = 8192


class PoolBatches:
    """An epoch of shuffled batches each time it is iterated; an incomplete last batch is left out.

    From a weighted pool an epoch is drawn with replacement, each sample with its weight. `state_dict` says where in an
    epoch it is, and `load_state_dict` lets the next iteration be the rest of that epoch, as Lightning's loaders do.

    Args:
        pool: Whose samples take part.
        device: Where batches are wanted.
        batch_size: Samples in a batch.
        generator: A CPU generator that shuffles; it goes on from epoch to epoch.
        chosen: Indices of the samples that take part; None takes all.

    Raises:
        UsageError: the batch is larger than the number of samples that take part.
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
        self._before_order: Tensor | None = None  # state of the generator; None before the first epoch
        self._num_given = 0  # of the present epoch
        self._resumed: dict[str, Any] | None = None

    def __len__(self) -> int:
        return self.num_samples // self.batch_size

    def __iter__(self) -> Iterator[Samples]:
        """Batches of samples in the sample convention, with labels where the pool has them."""
        order, self._num_given = self._begin_epoch()
        batches_per_gather = max(SAMPLES_PER_GATHER // self.batch_size, 1)
        num_gathers, num_skipped = divmod(self._num_given, batches_per_gather)
        for indices in order.split(batches_per_gather * self.batch_size)[num_gathers:]:
            for batch in islice(
                split_evenly(gather(self.pool, indices, device=self.device), self.batch_size), num_skipped, None
            ):
                self._num_given += 1
                yield batch
            num_skipped = 0

    def state_dict(self) -> dict[str, Any]:
        """The generator before it drew the present epoch's order and as it is now, and the batches given of it."""
        return {"before_order": self._before_order, "now": self.generator.get_state(), "num_given": self._num_given}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration be the rest of a stored epoch."""
        self._resumed = state

    def _begin_epoch(self) -> tuple[Tensor, int]:
        """The order of an epoch, and how many batches of it were given before."""
        state, self._resumed = self._resumed, None
        if state is not None:
            self.generator.set_state(state["now"] if state["before_order"] is None else state["before_order"])
        self._before_order = self.generator.get_state()
        order = self._draw_order()[: len(self) * self.batch_size]
        if state is None or state["before_order"] is None:
            return order, 0
        self.generator.set_state(state["now"])
        return order, state["num_given"]

    def _draw_order(self) -> Tensor:
        weights = self.pool.weights
        if weights is None:
            order = torch.randperm(self.num_samples, generator=self.generator)
        else:
            weights = weights if self.chosen is None else weights[self.chosen]
            order = draw_weighted(weights, self.num_samples, generator=self.generator)
        return order if self.chosen is None else self.chosen[order]


class PoolInOrder:
    """Some samples of a pool once, in order and in batches, the last one as large as is left: for validation.

    Args:
        pool: Whose samples take part.
        device: Where batches are wanted.
        batch_size: Samples in a batch, at most.
        chosen: Indices of the samples.
    """

    def __init__(self, pool: Pool, *, device: torch.device, batch_size: int, chosen: Int64[Tensor, " chosen"]) -> None:
        self.pool, self.device, self.batch_size, self.chosen = pool, device, batch_size, chosen

    def __len__(self) -> int:
        return math.ceil(len(self.chosen) / self.batch_size)

    def __iter__(self) -> Iterator[Samples]:
        """Batches of samples in the sample convention, with labels where the pool has them."""
        for indices in self.chosen.split(self.batch_size):
            yield gather(self.pool, indices, device=self.device)


def gather(pool: Pool, indices: Int64[Tensor, " chosen"], *, device: torch.device) -> Samples:
    """The samples of a pool at `indices`, which are on the CPU, on a device."""
    samples = pool.gather(indices.to(pool.device))
    return samples if device == pool.device else samples.sent_to(device)


def split_evenly(samples: Samples, batch_size: int) -> Iterator[Samples]:
    """Consecutive batches, as views."""
    return (samples[start : start + batch_size] for start in range(0, len(samples), batch_size))


def check_batch_size(batch_size: int, *, pool_size: int) -> None:
    """Refuse a batch that no pool of this size can fill.

    Raises:
        UsageError: below 1, or larger than the pool.
    """
    if not 1 <= batch_size <= pool_size:
        raise UsageError(f"batch_size must be between 1 and the pool's {pool_size} samples: got {batch_size}")
