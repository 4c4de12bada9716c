"""A pool as batches for Lightning: index selections on the device the pool lives on.

There is no DataLoader: for small images its workers cost more than the training step. Indices are shuffled anew each
epoch and samples are gathered a few thousand at a time, so a pool of many parts costs no more than one of one part.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from collapsar.data.pool import Pool
from collapsar.errors import UsageError

SAMPLES_PER_GATHER = 8192


class PoolBatches:
    """An epoch of shuffled batches each time it is iterated; an incomplete last batch is left out.

    From a weighted pool an epoch is drawn with replacement, each sample with its weight.

    Args:
        pool: On the device where batches are wanted.
        batch_size: Samples in a batch.
        generator: A CPU generator that shuffles; it goes on from epoch to epoch.

    Raises:
        UsageError: the batch is larger than the pool.
    """

    def __init__(self, pool: Pool, *, batch_size: int, generator: torch.Generator) -> None:
        check_batch_size(batch_size, pool_size=len(pool))
        self.pool, self.batch_size, self.generator = pool, batch_size, generator

    def __len__(self) -> int:
        return len(self.pool) // self.batch_size

    def __iter__(self) -> Iterator[Tensor]:
        """Batches of samples [batch_size, ...] in the sample convention."""
        order = self._draw_order()[: len(self) * self.batch_size]
        batches_per_gather = max(SAMPLES_PER_GATHER // self.batch_size, 1)
        device = self.pool.parts[0].samples.device
        for indices in order.to(device).split(batches_per_gather * self.batch_size):
            yield from self.pool.gather(indices).split(self.batch_size)

    def _draw_order(self) -> Tensor:
        weights = self.pool.weights
        if weights is None:
            return torch.randperm(len(self.pool), generator=self.generator)
        return torch.multinomial(weights, len(self.pool), replacement=True, generator=self.generator)


def check_batch_size(batch_size: int, *, pool_size: int) -> None:
    """Refuse a batch that no pool of this size can fill.

    Raises:
        UsageError: below 1, or larger than the pool.
    """
    if not 1 <= batch_size <= pool_size:
        raise UsageError(f"batch_size must be between 1 and the pool's {pool_size} samples: got {batch_size}")
