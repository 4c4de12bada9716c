"""Real samples that a chain never trains on, kept to validate its models."""

from dataclasses import replace

import torch

from collapsar.data.real_data import RealData
from collapsar.samples import Samples
from collapsar.seeding import make_generator


def hold_out(real: RealData, *, num_held_out: int, seed: int) -> tuple[RealData, Samples | None]:
    """Move `num_held_out` random samples out of the training set; return the sets and the samples (None if 0)."""
    if not num_held_out:
        return real, None
    order = torch.randperm(len(real.train), generator=make_generator(seed, 0, "held out"))
    return replace(real, train=real.train[order[num_held_out:]]), real.train[order[:num_held_out]]
