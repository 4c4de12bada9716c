"""`collapsar-verify`: chains whose laws are known, run in blocks, and held against closed forms.

A protocol is written as the parts of any experiment; only the laws of `theory` are independent of them. A diagonal
Gaussian or a histogram in D dimensions is D independent chains, which form a block. Chains of a block share the
regime's draws, so standard errors are taken over blocks, which differ in seed. The threshold is a quantile of Student's
t: true laws fail in less than one run of a thousand, all checks together. Sizes and real weights of pools are exact.
"""

import math
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from multiprocessing import get_context
from typing import Any, TypeAlias

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import stats
from torch import Tensor

from collapsar.chain.loop import Loop, Maker
from collapsar.data.pool import Pool
from collapsar.data.real_data import RealData
from collapsar.data.regimes import Replace
from collapsar.drawing.selection import Drawn, KeepAll
from collapsar.foundations.seeding import derive_seed, make_generator
from collapsar.models.bias import ScaledLatents
from collapsar.models.generative import GenerativeModel
from collapsar.theory.fitted import fitted_values
from collapsar.theory.law import Law
from collapsar.theory.laws import laws_of
from collapsar.training.train import fit
from collapsar.training.trainer import Training

FALSE_ALARM_RATE = 5e-4  # of a whole run; 1e-3 is promised, but skewed statistics have longer tails than Student's t
NUM_WORKERS = 2  # each runs one protocol at a time; the tensors are too small to split
Part: TypeAlias = partial[Any]  # a class with its settings
REPLACE: Part = partial(Replace)
UNBIASED: Part = partial(ScaledLatents, spread=1.0)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block that has run: the model of each generation, the pool of the last one, and all the real data."""

    models: Sequence[GenerativeModel]
    pool: Pool
    real: RealData

    @cached_property
    def fitted(self) -> dict[str, float]:
        """The fitted parameters, averaged over the chains of the block as in the report."""
        return fitted_values(self.models[-1].fitted_parameters(), data=self.models[-1].name)


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
    excess: Callable[[Block], float] = lambda block: 0.0  # share of a law by which a block is expected to exceed it

    @property
    def num_synthetic(self) -> int:
        return self.synthetic_per_real * self.num_samples

    @cached_property
    def parts(self) -> dict[str, Part]:
        """All parts with their sizes; the source lacks only its seed."""
        sizes = {"num_train": self.num_samples, "num_test": 1, "num_reserve": self.num_reserve}
        data = partial(self.data, sample_shape=[self.dimensions], dimensions=self.dimensions, **sizes)
        model, selection = partial(self.model, sample_shape=[self.dimensions]), partial(KeepAll)
        return {"data": data, "model": model, "regime": self.regime, "bias": self.bias, "selection": selection}

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
        counts, regime = [self.num_synthetic] * self.num_generations, make_part(self.regime)
        maker = BlockMaker(self, seed=seed)
        turns = [*Loop(real=real, regime=regime, seed=seed, num_synthetic=counts, maker=maker).turns()]
        return Block(models=[turn.training.model for turn in turns], pool=turns[-1].pool, real=real)


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


@dataclass(frozen=True, kw_only=True)
class Check:
    """One law compared with the loop."""

    law: str  # name of the statistic, and the setting it was measured in
    regime: str
    measured: float  # mean over blocks
    expected: float  # the law's value or lower bound
    standard_error: float  # of `measured`; 0 if all blocks agree, as exact numbers do
    z: float | None  # (measured - expected) / standard_error; None if an exact number is wrong
    passed: bool  # whether z is within the threshold; for a lower bound, any positive z passes too


def check(protocol: Protocol, *, seed: int, num_checks: int) -> list[Check]:
    """Check every law of a protocol over all its blocks; all `num_checks` of a run share the rate of false alarms."""
    measured = torch.zeros(protocol.num_blocks, len(protocol.statistics), dtype=torch.float64)
    for block in range(protocol.num_blocks):
        chain = protocol.run(derive_seed(seed, block, "block"))
        measured[block] = torch.tensor([own.measure(chain) for own in protocol.statistics], dtype=torch.float64)
    threshold = float(stats.t.isf(FALSE_ALARM_RATE / num_checks / 2, protocol.num_blocks - 1))
    return [
        compare(statistic, regime=make_part(protocol.regime).name, blocks=blocks, threshold=threshold)
        for statistic, blocks in zip(protocol.statistics, measured.T, strict=True)
    ]


def compare(statistic: Statistic, *, regime: str, blocks: Tensor, threshold: float) -> Check:
    """Compare the expectation with the values of all blocks [block]."""
    measured, expected = blocks.mean().item(), statistic.expected
    difference, standard_error = measured - expected, (blocks.std() / math.sqrt(len(blocks))).item()
    rounding = 1e-9 * max(abs(expected), 1.0)
    standard_error = standard_error if standard_error > rounding else 0.0
    z = difference / standard_error if standard_error else 0.0 if abs(difference) <= rounding else None
    return Check(
        law=statistic.name,
        regime=regime,
        measured=measured,
        expected=expected,
        standard_error=standard_error,
        z=z,
        passed=z is not None and (z >= -threshold if statistic.is_lower_bound else abs(z) <= threshold),
    )


def verify(make: Callable[[], list[Protocol]], *, seed: int, console: Console) -> list[Check]:
    """Run every protocol and check its laws; `make` is a function of a module, which other processes call again."""
    everything = make()
    num_checks = sum(len(protocol.statistics) for protocol in everything)
    torch.set_num_threads(1)
    can_fork = sys.platform == "linux"  # forks run the code that this process has loaded; elsewhere they are not safe
    pool = ProcessPoolExecutor(NUM_WORKERS, get_context("fork")) if can_fork else ThreadPoolExecutor(NUM_WORKERS)
    with pool as workers:
        checked = partial(_check_numbered, make=make, seed=seed, num_checks=num_checks)
        results = workers.map(checked, range(len(everything)))
        progress = track(results, total=len(everything), description="verifying", console=console, transient=True)
        return [result for results_of_one in progress for result in results_of_one]


def _check_numbered(number: int, *, make: Callable[[], list[Protocol]], seed: int, num_checks: int) -> list[Check]:
    return check(make()[number], seed=seed, num_checks=num_checks)  # protocols cannot be sent to another process


def as_table(checks: Sequence[Check]) -> Table:
    """The checks as a table for the terminal."""
    table = Table("law", "regime", title="the loop against its closed forms")
    for column in ("measured", "expected", "std. error", "z", ""):
        table.add_column(column, justify="right")
    for check in checks:
        z = "-" if check.z is None else f"{check.z:+.2f}"
        verdict = "[green]passed[/]" if check.passed else "[bold red]FAILED[/]"
        numbers = (f"{check.measured:.5f}", f"{check.expected:.5f}", f"{check.standard_error:.1e}")
        table.add_row(check.law, check.regime, *numbers, z, verdict)
    return table
