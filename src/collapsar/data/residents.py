"""The parts of a chain's pools on the device they are trained on: each is uploaded once, not once a generation.

Where the parts of a pool do not fit there, all stay in the machine's memory and batches are moved as they are made.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from collapsar.data.pool import Part, Pool
from collapsar.machine.devices import free_bytes
from collapsar.samples import Samples

MOST_OF_FREE = 0.5  # of a device's free memory may be taken by pools: models, their gradients and activations need room

Key = tuple[int, tuple[int, ...]]


class Residents:
    """What a device holds of one chain's pools.

    Args:
        free_bytes: Memory that a device has free.
    """

    def __init__(self, *, free_bytes: Callable[[torch.device], int] = free_bytes) -> None:
        self._free_bytes = free_bytes
        self._held: dict[Key, tuple[Samples, Samples]] = {}  # by part: as it came, so that its memory is not reused
        self._device = torch.device("cpu")

    def move(self, pool: Pool, device: torch.device) -> Pool:
        """The pool with its parts on the device, or as it is where they do not fit; nothing is copied on a CPU.

        Parts that the pool has no more are freed first. The archive, which is not trained on, stays where it is.
        """
        wanted = {key_of(part): part for part in pool.parts}
        self._held = {key: held for key, held in self._held.items() if key in wanted and device == self._device}
        self._device = device
        if device.type == "cpu":
            return pool
        missing = {key: part for key, part in wanted.items() if key not in self._held}
        if sum(map(num_bytes, missing.values())) > MOST_OF_FREE * self._free_bytes(device):
            self._held.clear()
            return pool
        self._held |= {key: (part.samples, part.samples.to(device)) for key, part in missing.items()}
        return replace(pool, parts=tuple(Part(self._held[key_of(part)][1], part.origin) for part in pool.parts))


def key_of(part: Part) -> Key:
    """What two parts share only if they are the same samples, as long as both are alive."""
    return part.samples.values.data_ptr(), tuple(part.samples.values.shape)


def num_bytes(part: Part) -> int:
    """Memory that a part takes."""
    tensors: list[Tensor | None] = [part.samples.values, part.samples.labels]
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)
