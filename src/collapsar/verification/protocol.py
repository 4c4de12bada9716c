"""Protocols: a loop whose result is known in closed form, run in blocks of independent chains.

A diagonal Gaussian or a histogram in D dimensions is D independent chains, which form a block. Blocks differ in seed.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from collapsar.chain.loop import Loop, Maker
from collapsar.data.pool import Pool
from collapsar.data.real_data import RealData
from collapsar.data.regimes import Regime
from collapsar.data.sources.analytic import AnalyticSource
from collapsar.drawing.selection import Drawn
from collapsar.models.analytic.analytic import AnalyticModel
from collapsar.models.bias import UNBIASED, Bias
from collapsar.models.generative import GenerativeModel
from collapsar.seeding import make_generator
from collapsar.training.train import Training, fit


@dataclass(frozen=True, kw_only=True)
class Block:
    """The end of a block: its last model, the pool of that model, and all the real data."""

    model: GenerativeModel
    pool: Pool
    real: RealData

    def fitted(self, name: str) -> Tensor:
        """A parameter of the last model, in double precision."""
        return self.model.get_buffer(name).double()


@dataclass(frozen=True, kw_only=True)
class Law:
    """A statistic of a block and its value in closed form.

    Attributes:
        expected: The value, or the lower bound.
        is_lower_bound: Whether larger values are right too.
    """

    name: str
    expected: float
    measure: Callable[[Block], float]
    is_lower_bound: bool = False


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A loop, and the laws that its last generation obeys.

    Attributes:
        source: Makes the real data of a seed.
        num_synthetic: Samples that each model gives to the next pool.
        num_blocks: Number of blocks, each with its own seed.
    """

    regime: Regime
    source: Callable[[int], AnalyticSource]
    model: Callable[[], AnalyticModel]
    num_generations: int
    num_synthetic: int
    num_blocks: int
    laws: Sequence[Law]
    bias: Bias = UNBIASED

    def run(self, seed: int) -> Block:
        """Run one block with the same loop as every experiment."""
        real = self.source(seed).load()
        loop = Loop(
            real=real,
            regime=self.regime,
            seed=seed,
            num_synthetic=[self.num_synthetic] * self.num_generations,
            maker=BlockMaker(self, seed=seed),
        )
        last = deque(loop.turns(), maxlen=1).pop()
        return Block(model=last.training.model, pool=last.pool, real=real)


class BlockMaker(Maker):
    """Makes the generations of one block: models are fitted by formula, and every drawn sample is kept."""

    def __init__(self, protocol: Protocol, *, seed: int) -> None:
        self.protocol, self.seed = protocol, seed

    def train(self, pool: Pool, generation: int) -> Training:
        return fit(self.protocol.model(), pool, generator=make_generator(self.seed, generation, "train"))

    def draw(self, model: GenerativeModel, generation: int) -> Drawn:
        num_synthetic, generator = self.protocol.num_synthetic, make_generator(self.seed, generation, "sample")
        return Drawn(model.sample(num_synthetic, generator, bias=self.protocol.bias), num_synthetic)


def mean_squared_mean(block: Block) -> float:
    """Mean of mu² over a block; the truth is at 0."""
    return block.fitted("mean").square().mean().item()


def mean_variance(block: Block) -> float:
    """Mean of the fitted variance over a block."""
    return block.fitted("covariance").mean().item()


def mean_second_moment(block: Block) -> float:
    """Mean of mu² + variance over a block."""
    return mean_squared_mean(block) + mean_variance(block)


def mean_wasserstein(block: Block) -> float:
    """Mean over a block of W2² between the model and the standard normal truth."""
    return mean_squared_mean(block) + (block.fitted("covariance").sqrt() - 1).square().mean().item()


def undeclared_real_weight(block: Block) -> float:
    """Training weight of real samples, found in the pool by their values, less the weight that the pool declares."""
    real = [samples.values[:, :2] for samples in (block.real.train, block.real.reserve) if samples is not None]
    pool = block.pool.concatenated()[:, :2]  # two values: one alone may coincide by chance
    is_real = (pool.unsqueeze(1) == torch.cat(real)).all(2).any(1)
    weights = block.pool.weights
    found = is_real.double().mean() if weights is None else weights[is_real].sum()
    return found.item() - block.pool.real_weight
