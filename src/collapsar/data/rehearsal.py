"""A rehearsal of a chain's pools: the regime's own rule on samples without content, before anything is trained."""

from collections.abc import Callable, Sequence

import torch

from collapsar.data.pool import REAL, Part, Pool
from collapsar.data.regimes import Regime
from collapsar.samples import Samples

MOST_DRAWN = 10_000  # samples a generation; of more, an even choice has the sizes and the origins that a drawn one has


def rehearse(
    regime: Regime,
    *,
    num_real: int,
    num_reserve: int,
    num_synthetic: Sequence[int],
    generator_at: Callable[[int], torch.Generator],
) -> list[int]:
    """Sizes of all pools of a chain, made by the regime's own rule from samples without content.

    Args:
        regime: Makes the pools.
        num_real: Size of the real training set, which is the first pool.
        num_reserve: Size of the reserve; 0 without one.
        num_synthetic: Samples that each generation gives to the next pool, of all generations but the last.
        generator_at: The generator that the regime is given after a generation.

    Raises:
        UsageError: the rule cannot make one of the pools: what the chain would stop with, before anything is trained.
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
    """Samples of no dimensions: they take part in a regime and hold nothing."""
    return Part(Samples(torch.empty(num_samples, 0)), origin)
