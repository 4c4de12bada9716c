"""The one loop over generations: every experiment runs it, and `collapsar-verify` holds it against closed forms.

    pool[0] is the real training set; model[t] is trained on pool[t]; synthetic[t] is drawn from model[t];
    pool[t+1] = regime(pool[t], real, synthetic[t])

A finished generation gives its stored samples instead of a turn, so resuming needs no other code. A pool is made when
its turn is requested, so several loops can run in step.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from collapsar.data.pool import REAL, Part, Pool
from collapsar.data.real_data import RealData
from collapsar.data.regimes import Regime
from collapsar.drawing.selection import Drawn
from collapsar.foundations.errors import NonFiniteError
from collapsar.foundations.samples import Samples
from collapsar.foundations.seeding import make_generator
from collapsar.machine.devices import explain_out_of_memory
from collapsar.models.generative import GenerativeModel
from collapsar.training.trainer import Training


class Maker(ABC):
    """Makes the generations of a loop: `ChainMaker` those of every experiment, `BlockMaker` those of a verification."""

    @abstractmethod
    def train(self, pool: Pool, generation: int) -> Training:
        """Train the model of a generation on a pool."""

    @abstractmethod
    def draw(self, model: GenerativeModel, generation: int) -> Drawn:
        """Draw from a generation's trained model at least as many samples as the next pool gets."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One generation: already trained; its samples are drawn when they are first requested."""

    generation: int  # 0 for the model that saw real data only
    pool: Pool  # what the model was trained on
    training: Training
    num_synthetic: int  # samples that the next pool gets
    maker: Maker
    seconds: dict[str, float]  # wall-clock, by phase, filled as the phases end

    @cached_property
    def drawn(self) -> Drawn:
        """All drawn samples, to be measured; an error for values that are not finite names epoch and step."""
        what, advice = f"drawing from generation {self.generation}", "lower the width of the model"
        with timed(self.seconds, "sample"), explain_out_of_memory(what, advice=advice):
            try:
                return self.maker.draw(self.training.model, self.generation)
            except NonFiniteError as error:
                steps, epochs = (int(self.training.summary[key]) for key in ("steps", "epochs"))
                raise NonFiniteError(
                    f"{error}, in generation {self.generation} after epoch {epochs}, step {steps}: "
                    "lower the learning rate, or look at the pool this generation was trained on"
                ) from error

    @cached_property
    def synthetic(self) -> Samples:
        """The drawn samples that the next pool gets."""
        samples = self.drawn.samples
        if len(samples) == self.num_synthetic:
            return samples
        return samples[: self.num_synthetic].clone()  # a view would keep the other samples in memory


@dataclass(frozen=True, kw_only=True)
class Loop:
    """A chain of generations; `num_synthetic` holds, for each, the samples that it gives to the next pool."""

    real: RealData
    regime: Regime
    seed: int
    num_synthetic: Sequence[int]
    maker: Maker

    def turns(self, *, num_finished: int = 0, stored: Callable[[int], Samples] | None = None) -> Iterator[Turn]:
        """A turn for every generation after the finished ones, whose samples for the next pool `stored` gives."""
        num_generations = len(self.num_synthetic)
        first = min(num_finished, num_generations - 1)
        pool = pool_of(first, real=self.real, regime=self.regime, seed=self.seed, stored=stored)
        for generation in range(num_finished, num_generations):
            seconds: dict[str, float] = {}
            with timed(seconds, "train"):
                training = self.maker.train(pool, generation)
            seconds["train"] += training.earlier_seconds
            turn = Turn(
                generation=generation,
                pool=pool,
                training=training,
                num_synthetic=self.num_synthetic[generation],
                maker=self.maker,
                seconds=seconds,
            )
            yield turn
            synthetic = None if generation + 1 == num_generations else turn.synthetic
            del turn, training  # or the model would stay in memory until the next one is trained
            if synthetic is not None:
                pool = next_pool(
                    pool, regime=self.regime, real=self.real, synthetic=synthetic, seed=self.seed, generation=generation
                )


def next_pool(pool: Pool, *, regime: Regime, real: RealData, synthetic: Samples, seed: int, generation: int) -> Pool:
    """The pool after a generation, which was trained on `pool` and gave `synthetic`."""
    return regime.next_pool(
        pool,
        real=Part(real.train, REAL),
        synthetic=Part(synthetic, generation),
        generator=make_generator(seed, generation, "pool"),
        reserve=None if real.reserve is None else Part(real.reserve, REAL),
    )


@contextmanager
def timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    """Store the wall-clock seconds of a phase."""
    start = time.perf_counter()
    yield
    seconds[phase] = time.perf_counter() - start


def pool_of(
    generation: int, *, real: RealData, regime: Regime, seed: int, stored: Callable[[int], Samples] | None
) -> Pool:
    """What a generation is trained on, made from the stored samples of the earlier ones."""
    pool = Pool((Part(real.train, REAL),))
    for earlier in range(generation):
        assert stored is not None, "finished generations have stored samples"
        pool = next_pool(pool, real=real, regime=regime, seed=seed, synthetic=stored(earlier), generation=earlier)
    return pool
