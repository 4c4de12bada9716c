"""Neutral drift of class shares: what sampling noise alone does to a chain under `replace`.

Even if every model reproduced its pool's class shares exactly, the shares would drift, because each pool is a finite
draw from the last model: the Wright-Fisher process. A class outside the band was pushed by the model.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from collapsar.study.intervals import CONFIDENCE

NUM_CHAINS = 2_000  # simulated for each class; their quantiles scatter by a few per mille of the share


@lru_cache(maxsize=4096)
def neutral_band(
    real_share: float, *, num_samples: int, num_evaluated: int, num_generations: int
) -> tuple[tuple[float, float], ...]:
    """95 % band of a class's measured share in each generation, always simulated from the same seed.

    Arguments are those of `neutral_drift_band`.
    """
    band = neutral_drift_band(
        real_share,
        num_generations=num_generations,
        num_samples=num_samples,
        num_evaluated=num_evaluated,
        coverage=CONFIDENCE,
        num_chains=NUM_CHAINS,
        generator=np.random.default_rng(0),
    )
    return tuple((float(low), float(high)) for low, high in band)


def outside_drift(shares: Sequence[float], *, band: Sequence[tuple[float, float]]) -> list[bool]:
    """Whether a class's share lies outside the band, generation by generation."""
    return [share < low or share > high for share, (low, high) in zip(shares, band, strict=True)]


def neutral_drift_band(
    share: float,
    *,
    num_generations: int,
    num_samples: int,
    num_evaluated: int,
    coverage: float,
    num_chains: int,
    generator: np.random.Generator,
) -> Float[np.ndarray, "generation 2"]:
    """Lower and upper quantile of a class's measured share, generation by generation, if sampling alone moves it.

    The neutral chain is Wright-Fisher's under replace: model t draws the class exactly as often as its pool holds it,
    and the next pool has `num_samples` draws. Counting the share on `num_evaluated` samples is one more draw. A class
    outside the band was pushed by the model; one that dies within it may have died of chance. Source: Wright 1931.

    Args:
        share: The class's share of the real training set, in [0, 1].
        num_generations: Rows of the result; generation 0 was trained on the real set, so only measuring scatters it.
        num_samples: Size of each pool.
        num_evaluated: Samples that each measured share is counted on.
        coverage: Probability of lying in the band, generation by generation, in (0, 1).
        num_chains: Simulated chains that the quantiles are taken over.
        generator: Source of all draws.
    """
    tail = (1 - coverage) / 2
    shares = np.full(num_chains, share)
    rows = []
    for _ in range(num_generations):
        rows.append(np.quantile(drawn_share(shares, num_draws=num_evaluated, generator=generator), [tail, 1 - tail]))
        shares = drawn_share(shares, num_draws=num_samples, generator=generator)
    return np.stack(rows)


def drawn_share(
    shares: Float[np.ndarray, " chain"], *, num_draws: int, generator: np.random.Generator
) -> Float[np.ndarray, " chain"]:
    """Each chain's share among `num_draws` draws: one Wright-Fisher generation."""
    return generator.binomial(num_draws, shares) / num_draws
