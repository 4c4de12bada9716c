"""Neutral drift of class shares: what sampling noise alone would do to a chain under `replace`.

If every model reproduced its pool's class shares exactly, the shares would still drift, because each pool is a finite
draw from the last: the Wright-Fisher process (see `collapsar.theory.neutral_drift_band`). A class outside the band
was pushed by the model.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch

from collapsar.report.intervals import CONFIDENCE
from collapsar.theory import neutral_drift_band

NUM_CHAINS = 2_000  # simulated for each class; their quantiles scatter by a few per mille of the share


@lru_cache(maxsize=4096)
def neutral_band(
    real_share: float, *, num_samples: int, num_evaluated: int, num_generations: int
) -> tuple[tuple[float, float], ...]:
    """Lower and upper bound of a class's measured share in each generation, 95 %, always from the same seed.

    Args:
        real_share: The class's share among the real samples.
        num_samples: Size of each generation's pool.
        num_evaluated: Samples that the share is counted on.
        num_generations: Generations, the first of which was trained on real data.
    """
    band = neutral_drift_band(
        real_share,
        num_generations=num_generations,
        num_samples=num_samples,
        num_evaluated=num_evaluated,
        coverage=CONFIDENCE,
        num_chains=NUM_CHAINS,
        generator=torch.Generator().manual_seed(0),
    )
    return tuple((float(low), float(high)) for low, high in band)


def outside_drift(shares: Sequence[float], *, band: Sequence[tuple[float, float]]) -> list[bool]:
    """Whether a class's share lies outside the band, generation by generation."""
    return [share < low or share > high for share, (low, high) in zip(shares, band, strict=True)]
