"""Neutral drift of class shares: what sampling noise alone would do under `replace`.

If every model reproduced its pool's class shares exactly, the shares would still drift, because each pool is a finite
draw from the last: this is the Wright-Fisher process of population genetics. A class outside the band changed by more
than that.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

NUM_PATHS = 2_000
BAND = (0.025, 0.975)


@lru_cache(maxsize=64)
def neutral_band(
    real_shares: tuple[float, ...], *, num_samples: int, num_evaluated: int, num_generations: int
) -> np.ndarray:
    """The 2.5 and 97.5 % quantiles of each class's share, [bound, generation, class].

    One class of a multinomial draw is binomial, so each class is simulated on its own, from a fixed seed.

    Args:
        real_shares: Each class's share among the real training samples.
        num_samples: Size of the pool of each generation, the real one included.
        num_evaluated: Samples that the shares were counted on.
        num_generations: Generations, the first of which was trained on real data.
    """
    generator = np.random.default_rng(0)
    share = np.tile(np.asarray(real_shares), (NUM_PATHS, 1)).clip(0, 1)
    levels = []
    for _ in range(num_generations):
        levels.append(np.quantile(generator.binomial(num_evaluated, share) / num_evaluated, BAND, axis=0))
        share = generator.binomial(num_samples, share) / num_samples
    return np.stack(levels, axis=1)


def is_outside(shares: Sequence[float], *, band: np.ndarray, generation: int) -> list[bool]:
    """Whether each class's share lies outside the band of its generation."""
    low, high = band[:, generation]
    return [bool(share < bottom or share > top) for share, bottom, top in zip(shares, low, high, strict=True)]
