"""Every random number comes from a seed derived from (experiment seed, generation, purpose).

Two purposes never share a stream, and a generation's randomness does not depend on what ran before it: that is why
a resumed chain equals an uninterrupted one.
"""

import hashlib

import torch


def derive_seed(seed: int, generation: int, purpose: str) -> int:
    """A 63-bit seed, the same on every machine and in every process (`hash` is salted, this is not)."""
    digest = hashlib.blake2b(f"{seed}/{generation}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def make_generator(seed: int, generation: int, purpose: str) -> torch.Generator:
    """A CPU generator for one purpose of one generation. Draws are moved to the device, never made there."""
    return torch.Generator().manual_seed(derive_seed(seed, generation, purpose))
