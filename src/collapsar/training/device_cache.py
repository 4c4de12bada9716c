"""Keeps the parts of a chain's pools on the training device, so that each is uploaded once, not once a generation.

If the parts of a pool do not fit there, all stay in main memory and each batch is moved when it is made.
"""

from collections.abc import Callable
from dataclasses import replace

import torch

from collapsar.data.pool import Part, Pool
from collapsar.machine.devices import free_bytes
from collapsar.samples import Samples

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
