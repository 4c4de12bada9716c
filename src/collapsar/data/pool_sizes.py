"""A simulation of a chain's pools: the regime runs on placeholder samples before anything is trained."""

from collections.abc import Callable, Sequence

import torch

from collapsar.data.pool import REAL, Part, Pool
from collapsar.data.regimes import Regime
from collapsar.samples import Samples

MOST_DRAWN = 10_000  # samples a generation; above, evenly spaced choices give the sizes and origins of drawn ones


def simulate_pools(
    regime: Regime,
    *,
    num_real: int,
    num_reserve: int,
    num_synthetic: Sequence[int],
    generator_at: Callable[[int], torch.Generator],
) -> list[int]:
    """Sizes of all pools of a chain, the first of which is the real training set.

    `num_synthetic` counts the samples that each generation but the last gives to the next pool. Raises the UsageError
    that would stop the chain if the regime cannot make one of the pools.
    """
    regime.check(num_generations=len(num_synthetic) + 1, num_real=num_real, num_reserve=num_reserve)
    real = blank(num_real, origin=REAL)
    reserve = blank(num_reserve, origin=REAL) if num_reserve else None
    pool = Pool((real,))
    sizes = [num_real]
    for generation, num_samples in enumerate(num_synthetic):
        synthetic = blank(num_samples, origin=generation)
        generator = generator_at(generation) if max(num_samples, num_real) <= MOST_DRAWN else None
        pool = regime.next_pool(pool, real=real, synthetic=synthetic, generator=generator, reserve=reserve)
        sizes.append(len(pool))
    return sizes


def blank(num_samples: int, *, origin: int) -> Part:
    """Placeholder samples with a count and no content."""
    return Part(Samples(torch.empty(num_samples, 0)), origin)
