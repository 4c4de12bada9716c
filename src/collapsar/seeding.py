"""Every random number comes from a seed derived from (experiment seed, generation, purpose).

Two purposes never share a stream, and a generation's randomness does not depend on what ran before it: that is why
a resumed chain equals an uninterrupted one.
"""

import hashlib

import torch
from torch import Tensor

MOST_WEIGHTS = 2**24  # that torch.multinomial takes


def derive_seed(seed: int, generation: int, purpose: str) -> int:
    """A 63-bit seed, the same on every machine and in every process (`hash` is salted, this is not)."""
    digest = hashlib.blake2b(f"{seed}/{generation}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def make_generator(seed: int, generation: int, purpose: str) -> torch.Generator:
    """A CPU generator for one purpose of one generation. Draws are moved to the device, never made there."""
    return torch.Generator().manual_seed(derive_seed(seed, generation, purpose))


def draw_weighted(weights: Tensor, num_draws: int, *, generator: torch.Generator) -> Tensor:
    """Indices of weights, drawn with replacement in their proportions; of any number of weights."""
    if len(weights) <= MOST_WEIGHTS:
        return torch.multinomial(weights, num_draws, replacement=True, generator=generator)
    ends = weights.double().cumsum(0)
    places = torch.rand(num_draws, generator=generator, dtype=torch.float64) * ends[-1]
    return torch.searchsorted(ends, places, right=True).clamp(max=len(weights) - 1)
