"""Protocols: chains whose laws are known, run in blocks of independent chains.

A protocol is written as parts and sizes, and `collapsar.theory.laws` decides which laws hold for these. A diagonal
Gaussian or a histogram in D dimensions is D independent chains, which form a block. Blocks differ in seed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from collapsar.chain.loop import Loop, Maker
from collapsar.data.pool import Pool
from collapsar.data.real_data import RealData
from collapsar.data.regimes import Replace
from collapsar.drawing.selection import Drawn, KeepAll
from collapsar.models.bias import ScaledLatents
from collapsar.models.generative import GenerativeModel
from collapsar.seeding import make_generator
from collapsar.theory.fitted import fitted_values
from collapsar.theory.law import Law
from collapsar.theory.laws import laws_of
from collapsar.training.train import fit
from collapsar.training.trainer import Training

Part: TypeAlias = partial[Any]  # a class with its settings
REPLACE: Part = partial(Replace)
UNBIASED: Part = partial(ScaledLatents, spread=1.0)


@dataclass(frozen=True, kw_only=True)
class Block:
    """The end of a block: its last model, the pool of that model, and all the real data."""

    model: GenerativeModel
    pool: Pool
    real: RealData
    watched: list[Tensor]  # `Protocol.watch` of each generation's model

    @cached_property
    def fitted(self) -> dict[str, float]:
        """The fitted parameters, averaged over the chains of the block as in the report."""
        return fitted_values(self.model.fitted_parameters(), data=self.model.name)


@dataclass(frozen=True)
class Statistic:
    """A number measured on each block, and its expectation."""

    name: str
    expected: float  # the value, or the lower bound
    measure: Callable[[Block], float]
    is_lower_bound: bool = False  # whether larger values are right too


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A loop, and what its last generation is measured by."""

    where: str = ""  # its statistics have this after their symbol
    data: Part  # without its sizes and seed
    model: Part  # without its shape
    regime: Part = REPLACE
    bias: Part = UNBIASED
    dimensions: int
    num_samples: int  # in the first pool
    synthetic_per_real: int = 1  # samples that each model gives to the next pool, for each of the first pool's
    num_reserve: int = 0
    num_generations: int
    num_blocks: int  # each with its own seed
    laws: Sequence[str] | None = None  # keys of the laws to check; None: of all that are no approximations
    others: Sequence[Statistic] = ()  # that are no laws of fitted parameters
    watch: Callable[[GenerativeModel], Tensor] | None = None  # what a block keeps of each generation's model
    excess: Callable[[Block], float] = lambda block: 0.0
    """By which share of a law a block is expected to lie above it, from what is known of the block."""

    @property
    def num_synthetic(self) -> int:
        return self.synthetic_per_real * self.num_samples

    @cached_property
    def parts(self) -> dict[str, Part]:
        """All parts with their sizes; the source lacks only its seed."""
        sizes = {"num_train": self.num_samples, "num_test": 1, "num_reserve": self.num_reserve}
        shape = [self.dimensions]
        return {
            "data": partial(self.data, sample_shape=shape, dimensions=self.dimensions, **sizes),
            "model": partial(self.model, sample_shape=shape),
            "regime": self.regime,
            "bias": self.bias,
            "selection": partial(KeepAll),
        }

    @property
    def config(self) -> dict[str, Any]:
        """Its settings, as they would stand in a chain's resolved config."""
        numbers = {"num_synthetic": self.num_synthetic, "num_generations": self.num_generations}
        return {name: settings_of(part) for name, part in self.parts.items()} | numbers

    @cached_property
    def statistics(self) -> list[Statistic]:
        """The laws to check at the last generation, and the other statistics."""
        laws = laws_of(self.config)
        chosen = [key for key in laws if laws[key].kind != "approximation"] if self.laws is None else self.laws
        found = [*(self._statistic(laws[key]) for key in chosen), *self.others]
        return [replace(each, name=f"{each.name}, {self.where}") for each in found] if self.where else found

    def _statistic(self, law: Law) -> Statistic:
        expected = law.at(self.num_generations - 1)

        def measure(block: Block) -> float:
            return block.fitted[law.key] - expected * self.excess(block)

        return Statistic(law.symbol, expected, measure, law.kind == "lower bound")

    def run(self, seed: int) -> Block:
        """Run one block with the same loop as every experiment."""
        real = self.parts["data"](seed=seed).load()
        loop = Loop(
            real=real,
            regime=make_part(self.regime),
            seed=seed,
            num_synthetic=[self.num_synthetic] * self.num_generations,
            maker=BlockMaker(self, seed=seed),
        )
        watched, watch = [], self.watch
        for turn in loop.turns():
            if watch is not None:
                watched.append(watch(turn.training.model))
        return Block(model=turn.training.model, pool=turn.pool, real=real, watched=watched)


class BlockMaker(Maker):
    """Makes the generations of one block: models are fitted by formula, and every drawn sample is kept."""

    def __init__(self, protocol: Protocol, *, seed: int) -> None:
        self.protocol, self.seed, self.bias = protocol, seed, protocol.bias()

    def train(self, pool: Pool, generation: int) -> Training:
        return fit(self.protocol.parts["model"](), pool, generator=make_generator(self.seed, generation, "train"))

    def draw(self, model: GenerativeModel, generation: int) -> Drawn:
        num_synthetic, generator = self.protocol.num_synthetic, make_generator(self.seed, generation, "sample")
        return Drawn(model.sample(num_synthetic, generator, bias=self.bias), num_synthetic)


def make_part(part: Part) -> Any:
    """The object that a part describes, with the parts inside it."""
    return part(**{key: make_part(value) for key, value in part.keywords.items() if isinstance(value, partial)})


def settings_of(part: Part) -> dict[str, Any]:
    """A part as a node of a resolved config."""
    nested = {key: settings_of(value) if isinstance(value, partial) else value for key, value in part.keywords.items()}
    return {"_target_": f"{part.func.__module__}.{part.func.__name__}", **nested}


def undeclared_real_weight(block: Block) -> float:
    """Training weight of real samples, found in the pool by their values, less the weight that the pool declares."""
    real = [samples.values[:, :2] for samples in (block.real.train, block.real.reserve) if samples is not None]
    pool = block.pool.concatenated()[:, :2]  # two values: one alone may coincide by chance
    is_real = (pool.unsqueeze(1) == torch.cat(real)).all(2).any(1)
    weights = block.pool.weights
    found = is_real.double().mean() if weights is None else weights[is_real].sum()
    return found.item() - block.pool.real_weight
