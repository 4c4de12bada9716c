"""Regimes that keep another regime's pools and weigh real samples against synthetic ones."""

import torch

from collapsar.data.pool import REAL, Part, Pool
from collapsar.data.regimes import Regime
from collapsar.data.schedules import Scheduled, as_schedule, check_bounds
from collapsar.errors import UsageError
from collapsar.theory.formulas import golden_ratio_weight


class Weighted(Regime):
    """Another regime's pools, of real and synthetic samples, with a given training weight on the real ones.

    Args:
        real_weight: Weight of all real samples together, in [0, 1]; a number, a list or a schedule.
    """

    name = "weighted"

    def __init__(self, *, regime: Regime, real_weight: Scheduled) -> None:
        self.regime = regime
        self.real_weight = check_bounds("regime.real_weight", as_schedule(real_weight), lowest=0, highest=1)

    def next_pool(
        self, pool: Pool, *, real: Part, synthetic: Part, generator: torch.Generator | None, reserve: Part | None = None
    ) -> Pool:
        plain = self.regime.next_pool(pool, real=real, synthetic=synthetic, generator=generator, reserve=reserve)
        return weigh_real(plain, real_weight=self.real_weight.at(synthetic.origin))

    def check(self, *, num_generations: int, num_real: int, num_reserve: int) -> None:
        self.regime.check(num_generations=num_generations, num_real=num_real, num_reserve=num_reserve)


class GoldenRatio(Regime):
    """Another regime's pools, with the optimal weight on real samples for their number (arXiv:2502.18049).

    The pools must hold real and synthetic samples. The weight is optimal if the real data are fresh. If there are as
    many real samples as synthetic ones, it is .618, the golden ratio's reciprocal.
    """

    name = "golden_ratio"

    def __init__(self, *, regime: Regime) -> None:
        self.regime = regime

    def next_pool(
        self, pool: Pool, *, real: Part, synthetic: Part, generator: torch.Generator | None, reserve: Part | None = None
    ) -> Pool:
        plain = self.regime.next_pool(pool, real=real, synthetic=synthetic, generator=generator, reserve=reserve)
        num_real = plain.origins().get("real", 0)
        return weigh_real(plain, real_weight=golden_ratio_weight(num_real / max(len(plain) - num_real, 1)))

    def check(self, *, num_generations: int, num_real: int, num_reserve: int) -> None:
        self.regime.check(num_generations=num_generations, num_real=num_real, num_reserve=num_reserve)


def weigh_real(pool: Pool, *, real_weight: float) -> Pool:
    """The pool with `real_weight` shared evenly by its real samples, and the rest by its synthetic ones."""
    num_real = sum(len(part) for part in pool.parts if part.origin == REAL)
    num_synthetic = len(pool) - num_real
    if not num_real or not num_synthetic:
        raise UsageError(
            f"weights need a pool of real and synthetic samples: got {num_real} real and {num_synthetic} synthetic; "
            "set regime.regime to one whose pools have both, or num_synthetic higher"
        )
    weights = tuple(
        real_weight * len(part) / num_real if part.origin == REAL else (1 - real_weight) * len(part) / num_synthetic
        for part in pool.parts
    )
    return Pool(pool.parts, archive=pool.archive, part_weights=weights)
