"""Neutral drift of class shares: what sampling noise alone does to a chain under `replace`.

Even if every model reproduced its pool's class shares exactly, the shares would drift, because each pool is a finite
draw from the last model: the Wright-Fisher process. A class outside the band was pushed by the model.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from collapsar.study.intervals import CONFIDENCE

NUM_CHAINS = 2_000  # simulated for each class; their quantiles scatter by a few per mille of the share


@lru_cache(maxsize=4096)
def neutral_band(
    share: float,
    *,
    num_samples: int,
    num_evaluated: int,
    num_generations: int,
    coverage: float = CONFIDENCE,
    num_chains: int = NUM_CHAINS,
) -> tuple[tuple[float, float], ...]:
    """Lower and upper quantile of a class's measured share in each generation, if sampling alone moves it.

    The neutral chain is Wright-Fisher's under replace: model t draws the class exactly as often as its pool holds it,
    and the next pool has `num_samples` draws. Counting the share on `num_evaluated` samples is one more draw. A class
    outside the band was pushed by the model; one that dies within it may have died of chance. Source: Wright 1931.

    Args:
        share: The class's share of the real training set, in [0, 1].
        num_samples: Size of each pool.
        num_evaluated: Samples that each measured share is counted on.
        num_generations: Generation 0 was trained on the real set, so only measuring scatters it.
        coverage: Probability of lying in the band, generation by generation, in (0, 1).
        num_chains: Simulated chains that the quantiles are taken over, always from the same seed.
    """
    generator = np.random.default_rng(0)
    tail = (1 - coverage) / 2
    shares = np.full(num_chains, share)
    band = []
    for _ in range(num_generations):
        low, high = np.quantile(generator.binomial(num_evaluated, shares) / num_evaluated, [tail, 1 - tail])
        band.append((float(low), float(high)))
        shares = generator.binomial(num_samples, shares) / num_samples
    return tuple(band)


def outside_drift(shares: Sequence[float], *, band: Sequence[tuple[float, float]]) -> list[bool]:
    """Whether a class's share lies outside the band, generation by generation."""
    return [share < low or share > high for share, (low, high) in zip(shares, band, strict=True)]
