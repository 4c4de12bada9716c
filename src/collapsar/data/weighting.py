"""Regimes that keep another regime's pools and weigh real samples against synthetic ones."""

from abc import ABC, abstractmethod

from collapsar.data.pool import REAL, Part, Pool
from collapsar.data.regimes import Lots, Regime
from collapsar.data.schedules import Scheduled, as_schedule, check_bounds
from collapsar.foundations.errors import UsageError
from collapsar.theory.formulas import golden_ratio_weight


class Reweighted(Regime, ABC):
    """Another regime's pools, of real and synthetic samples, with another training weight on the real ones."""

    regime: Regime

    @abstractmethod
    def weight_of_real(self, plain: Pool, *, generation: int) -> float:
        """Weight of all real samples of the other regime's pool together, in [0, 1]."""

    def next_pool(self, pool: Pool, *, real: Part, synthetic: Part, generator: Lots, reserve: Part | None) -> Pool:
        plain = self.regime.next_pool(pool, real=real, synthetic=synthetic, generator=generator, reserve=reserve)
        return weigh_real(plain, real_weight=self.weight_of_real(plain, generation=synthetic.origin))

    def check(self, *, num_generations: int, num_real: int, num_reserve: int) -> None:
        self.regime.check(num_generations=num_generations, num_real=num_real, num_reserve=num_reserve)


class Weighted(Reweighted):
    """A given weight: a number, a list or a schedule."""

    name = "weighted"

    def __init__(self, *, regime: Regime, real_weight: Scheduled) -> None:
        self.regime = regime
        self.real_weight = check_bounds("regime.real_weight", as_schedule(real_weight), lowest=0, highest=1)

    def weight_of_real(self, plain: Pool, *, generation: int) -> float:
        return self.real_weight.at(generation)


class GoldenRatio(Reweighted):
    """The optimal weight for the numbers of real and synthetic samples, if the real ones are fresh (arXiv:2502.18049).

    If there are as many real samples as synthetic ones, it is .618, the golden ratio's reciprocal.
    """

    name = "golden_ratio"

    def __init__(self, *, regime: Regime) -> None:
        self.regime = regime

    def weight_of_real(self, plain: Pool, *, generation: int) -> float:
        return golden_ratio_weight(plain.num_real / max(len(plain) - plain.num_real, 1))


def weigh_real(pool: Pool, *, real_weight: float) -> Pool:
    """The pool with `real_weight` shared evenly by its real samples, and the rest by its synthetic ones."""
    num_real, num_synthetic = pool.num_real, len(pool) - pool.num_real
    if not num_real or not num_synthetic:
        problem = (
            f"weights need a pool of real and synthetic samples: got {num_real} real and {num_synthetic} synthetic"
        )
        raise UsageError(f"{problem}; set regime.regime to one whose pools have both, or num_synthetic higher")
    weights = tuple(
        real_weight * len(part) / num_real if part.origin == REAL else (1 - real_weight) * len(part) / num_synthetic
        for part in pool.parts
    )
    return Pool(pool.parts, archive=pool.archive, part_weights=weights)
