"""Regimes: rules that make the next pool from this pool, the real data and the model's new samples.

pool[t+1] = regime(pool[t], real, synthetic[t]), with pool[0] the real training set. A rule that takes a part whole
shares it without a copy. A rule that takes a share of the synthetic samples draws them without replacement.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeAlias

import torch

from collapsar.data.pool import REAL, Part, Pool, draw_without_replacement
from collapsar.data.schedules import Scheduled, as_schedule, check_bounds
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.theory.formulas import nearest

Lots: TypeAlias = torch.Generator | None  # of rules that draw
MOST_DRAWN = 10_000  # samples a generation; above, evenly spaced choices give the sizes and origins of drawn ones


class Regime(ABC):
    """A rule for the next pool. It depends on its arguments alone, so a resumed chain can replay it."""

    name: ClassVar[str]

    @abstractmethod
    def next_pool(self, pool: Pool, *, real: Part, synthetic: Part, generator: Lots, reserve: Part | None) -> Pool:
        """The pool that the next generation is trained on; UsageError if there are too few samples for the rule.

        This generation was trained on `pool` and drew `synthetic`. Rules that draw use the
        generator, None in a simulation of large pools. Rules that take fresh real samples use the reserve: those beyond
        the training set, in a fixed random order.
        """

    def check(self, *, num_generations: int, num_real: int, num_reserve: int) -> None:  # noqa: B027
        """Raise UsageError, with the number needed, if the real data do not last; a simulation finds other errors.

        `num_generations` counts models, so the rule makes one pool fewer. `num_reserve` is 0 without a reserve.
        """


class LastGenerations(Regime, ABC):
    """The samples of the last `num_kept` generations; the real data count as the generation before 0."""

    num_kept: int

    def next_pool(self, pool: Pool, *, real: Part, synthetic: Part, generator: Lots, reserve: Part | None) -> Pool:
        oldest = synthetic.origin - self.num_kept + 1
        return Pool((*(part for part in pool.parts if part.origin >= oldest), synthetic))


class Replace(LastGenerations):
    """Only the last generation's samples: pool[t+1] = synthetic[t] (Shumailov et al. 2024; MAD's fully synthetic)."""

    name = "replace"
    num_kept = 1


class Accumulate(LastGenerations):
    """Everything so far: pool[t+1] = pool[t] + synthetic[t] (Gerstgrasser et al. 2024, arXiv:2404.01413)."""

    name = "accumulate"
    num_kept = sys.maxsize


class Window(LastGenerations):
    """Those of any number of generations, at least 1."""

    name = "window"

    def __init__(self, *, num_kept: int) -> None:
        if num_kept < 1:
            raise UsageError(f"regime.num_kept must be at least 1 generation: got {num_kept}")
        self.num_kept = num_kept


class AccumulateSubsample(Regime):
    """A fixed number of samples, drawn anew each generation from all so far (Kazdan et al. 2024, arXiv:2410.16713).

    `budget` is the size of each pool, at least 1; null takes that of the real training set.
    """

    name = "accumulate_subsample"

    def __init__(self, *, budget: int | None) -> None:
        if budget is not None and budget < 1:
            raise UsageError(f"regime.budget must be at least 1, or null for the real data's size: got {budget}")
        self.budget = budget

    def next_pool(self, pool: Pool, *, real: Part, synthetic: Part, generator: Lots, reserve: Part | None) -> Pool:
        archive = (*(pool.archive or pool.parts), synthetic)
        budget = self.budget or len(real)
        num_so_far = sum(map(len, archive))
        if budget > num_so_far:
            raise UsageError(f"regime.budget must be at most the {num_so_far} samples so far: got {budget}")
        return Pool(draw_without_replacement(archive, num_samples=budget, generator=generator), archive=archive)


class FixedReal(Regime):
    """All real data in every pool, plus samples of synthetic[t] (Alemohammad et al. 2023, synthetic augmentation loop).

    `synthetic_ratio` is the number of synthetic samples for each real one, at least 0.
    """

    name = "fixed_real"

    def __init__(self, *, synthetic_ratio: Scheduled) -> None:
        self.synthetic_ratio = check_bounds("regime.synthetic_ratio", as_schedule(synthetic_ratio), lowest=0)

    def next_pool(self, pool: Pool, *, real: Part, synthetic: Part, generator: Lots, reserve: Part | None) -> Pool:
        num_synthetic = nearest(self.synthetic_ratio.at(synthetic.origin) * len(real))
        if num_synthetic > len(synthetic):
            needed = f"{num_synthetic} synthetic samples for generation {synthetic.origin + 1}"
            advice = f"set num_synthetic to at least {num_synthetic}, or lower synthetic_ratio"
            raise UsageError(f"fixed_real needs {needed}, and {len(synthetic)} are drawn: {advice}")
        return Pool((real, *draw_without_replacement([synthetic], num_samples=num_synthetic, generator=generator)))


class FreshReal(Regime):
    """Real data that no generation has seen, topped up with synthetic[t] (Alemohammad et al. 2023, the fresh loop).

    The pool is as large as synthetic[t]. Generation t + 1 takes the samples of the reserve that follow those of
    generation t. `fresh_fraction` counts them as a share of the real training set's size. If `is_recycled`, an
    exhausted reserve starts again from its first sample; if not, the chain is refused.
    """

    name = "fresh_real"

    def __init__(self, *, fresh_fraction: Scheduled, is_recycled: bool) -> None:
        self.fresh_fraction = check_bounds("regime.fresh_fraction", as_schedule(fresh_fraction), lowest=0)
        self.is_recycled = is_recycled

    def next_pool(self, pool: Pool, *, real: Part, synthetic: Part, generator: Lots, reserve: Part | None) -> Pool:
        start, stop = (self._num_taken(synthetic.origin + step, num_real=len(real)) for step in (0, 1))
        num_reserve = 0 if reserve is None else len(reserve)
        self.check(num_generations=synthetic.origin + 2, num_real=len(real), num_reserve=num_reserve)
        num_synthetic = len(synthetic) - (stop - start)
        if num_synthetic < 0:
            taken = f"{stop - start} new real samples for generation {synthetic.origin + 1}"
            problem = f"fresh_real takes {taken}, and its pool has the size of the {len(synthetic)} synthetic ones"
            raise UsageError(f"{problem}: lower fresh_fraction or raise num_synthetic")
        if reserve is None or start == stop:
            return Pool((synthetic,))
        fresh = reserve[start:stop] if stop <= num_reserve else reserve[torch.arange(start, stop) % num_reserve]
        return Pool((fresh, *draw_without_replacement([synthetic], num_samples=num_synthetic, generator=generator)))

    def check(self, *, num_generations: int, num_real: int, num_reserve: int) -> None:
        num_needed = self._num_taken(num_generations - 1, num_real=num_real)
        if num_needed > num_reserve and not (self.is_recycled and num_reserve):
            advice = "lower data.num_train, regime.fresh_fraction or num_generations"
            advice += ", or set regime.is_recycled=true" if num_reserve else ""
            needed = f"{num_needed} real samples beyond the training set's {num_real} to make generation"
            raise UsageError(f"fresh_real needs {needed} {num_generations - 1}, and there are {num_reserve}: {advice}")

    def _num_taken(self, num_pools: int, *, num_real: int) -> int:
        return sum(nearest(self.fresh_fraction.at(generation) * num_real) for generation in range(num_pools))


class Mix(Regime):
    """Pools with a given real fraction, drawn anew from the same real data; the rest comes from synthetic[t].

    The pool is as large as synthetic[t]. Source: Bertrand et al. 2024, arXiv:2310.00429.
    """

    name = "mix"

    def __init__(self, *, real_fraction: Scheduled) -> None:
        self.real_fraction = check_bounds("regime.real_fraction", as_schedule(real_fraction), lowest=0, highest=1)

    def next_pool(self, pool: Pool, *, real: Part, synthetic: Part, generator: Lots, reserve: Part | None) -> Pool:
        num_real = nearest(self.real_fraction.at(synthetic.origin) * len(synthetic))
        if num_real > len(real):
            problem = f"mix needs {num_real} real samples of {len(real)} to make generation {synthetic.origin + 1}"
            raise UsageError(f"{problem}: lower regime.real_fraction or num_synthetic")
        chosen_real = draw_without_replacement([real], num_samples=num_real, generator=generator)
        num_synthetic = len(synthetic) - num_real
        chosen_synthetic = draw_without_replacement([synthetic], num_samples=num_synthetic, generator=generator)
        return Pool((*chosen_real, *chosen_synthetic))


def simulate_pools(
    regime: Regime,
    *,
    num_real: int,
    num_reserve: int,
    num_synthetic: Sequence[int],
    generator_at: Callable[[int], torch.Generator],
) -> list[int]:
    """Sizes of all pools of a chain, the first of which is the real training set; the regime runs on placeholders.

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
