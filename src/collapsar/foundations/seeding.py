"""Every random number comes from a seed derived from (experiment seed, generation, purpose).

Two purposes never share a stream. A generation's randomness does not depend on what ran before it, so a resumed chain
equals an uninterrupted one.
"""

import hashlib

import torch
from torch import Tensor

MOST_WEIGHTS = 2**24  # the most that torch.multinomial takes


def derive_seed(seed: int, generation: int, purpose: str) -> int:
    """A 63-bit seed, the same on every machine and in every process (`hash` is salted, this is not)."""
    digest = hashlib.blake2b(f"{seed}/{generation}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def make_generator(seed: int, generation: int, purpose: str) -> torch.Generator:
    """A CPU generator for one purpose of one generation. Draw on the CPU, then move the result to the device."""
    return torch.Generator().manual_seed(derive_seed(seed, generation, purpose))


def draw_weighted(weights: Tensor, num_draws: int, *, generator: torch.Generator) -> Tensor:
    """Indices drawn with replacement in proportion to the weights; the number of weights is not limited."""
    if len(weights) <= MOST_WEIGHTS:
        return torch.multinomial(weights, num_draws, replacement=True, generator=generator)
    ends = weights.double().cumsum(0)
    places = torch.rand(num_draws, generator=generator, dtype=torch.float64) * ends[-1]
    return torch.searchsorted(ends, places, right=True).clamp(max=len(weights) - 1)
