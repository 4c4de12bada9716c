"""The protocols of `collapsar-verify`, run by the same code as every experiment.

Sizes are chosen so that an error of one per cent lies beyond the threshold of `verify`. Every regime runs with pools of
10 and of 100: small pools show a wrong law best, large ones an error in the share of real data.
"""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from collapsar.data.regimes import Accumulate, AccumulateSubsample, FixedReal, FreshReal, Mix, Window
from collapsar.data.sources.analytic import CategoricalSource, GaussianSource, LinearRegressionSource
from collapsar.data.weighting import GoldenRatio, Weighted
from collapsar.models.analytic.analytic import Categorical, Gaussian, KernelDensity, LinearRegression
from collapsar.models.bias import ScaledLatents
from collapsar.theory import formulas, recursions
from collapsar.verification.verify import REPLACE, Block, Part, Protocol, Statistic, undeclared_real_weight

LAST = 3  # generation of most protocols
FRESH: Part = partial(FreshReal, is_recycled=False)
GAUSSIANS = Protocol(
    data=partial(GaussianSource),
    model=partial(Gaussian, covariance="diagonal", variance="maximum_likelihood"),
    dimensions=12_000,
    num_samples=10,
    num_generations=LAST + 1,
    num_blocks=125,
)
UNBIASED = replace(GAUSSIANS, where="unbiased", model=partial(Gaussian, covariance="diagonal", variance="unbiased"))
CATEGORIES = Protocol(
    data=partial(CategoricalSource, num_categories=10, zipf_exponent=1.0),
    model=partial(Categorical, num_categories=10),
    dimensions=1_000,
    num_samples=100,
    num_generations=3,
    num_blocks=100,
)


def protocols() -> list[Protocol]:
    """All protocols."""
    return [
        *(protocol for size in (10, 100) for protocol in regime_protocols(num_samples=size)),
        *unbiased_protocols(),
        CATEGORIES,
        drift_with_real_protocol(),
        takeover_protocol(),
        passage_protocol(),
        biased_protocol(),
        *kernel_protocols(),
        regression_protocol(REPLACE),
        regression_protocol(partial(Accumulate)),
    ]


def regime_protocols(*, num_samples: int) -> list[Protocol]:
    """Every regime on diagonal Gaussians fitted by maximum likelihood, with n samples a generation."""
    n = num_samples
    all_fresh: Any = partial(FRESH, fresh_fraction=1.0)
    golden_ratio = (math.sqrt(5) - 1) / 2
    chain = partial(regime_protocol, num_samples=n)
    weighted = [
        chain(partial(Weighted, regime=all_fresh, real_weight=0.4), pool_size=2 * n, real_weight=0.4),
        chain(partial(GoldenRatio, regime=all_fresh), pool_size=2 * n, real_weight=golden_ratio),
    ]
    return [
        chain(REPLACE, pool_size=n, real_weight=0.0),
        chain(partial(Accumulate), pool_size=(LAST + 1) * n, real_weight=1 / (LAST + 1)),
        chain(partial(AccumulateSubsample, budget=None), pool_size=n, real_weight=1 / (LAST + 1), num_choices=6_000),
        chain(partial(FixedReal, synthetic_ratio=1.0), pool_size=2 * n, real_weight=0.5),
        replace(chain(partial(FRESH, fresh_fraction=0.2), pool_size=n, real_weight=0.2), num_reserve=LAST * n // 5),
        chain(partial(Mix, real_fraction=0.3), pool_size=n, real_weight=0.3, num_choices=4_000),
        chain(partial(Window, num_kept=2), pool_size=2 * n, real_weight=0.0),
        *(replace(each, synthetic_per_real=2, num_reserve=LAST * n) for each in weighted),
    ]


def regime_protocol(
    regime: Part, *, num_samples: int, pool_size: int, real_weight: float, num_choices: int = 0
) -> Protocol:
    """A regime on diagonal Gaussians.

    The chains of a block share the regime's draws. If these scatter in small pools, `num_choices` sets the number of
    blocks: enough for an error of one per cent in a law to lie seven standard errors away.
    """
    dimensions, num_blocks = (1_500, 110) if num_samples > 50 else (800, num_choices) if num_choices else (12_000, 125)
    others = [
        Statistic("pool size", float(pool_size), lambda block: float(len(block.pool))),
        Statistic("real weight", real_weight, lambda block: block.pool.real_weight),
        Statistic("undeclared real weight", 0.0, undeclared_real_weight),
    ]
    sizes: Any = {"dimensions": dimensions, "num_samples": num_samples, "num_blocks": num_blocks}
    return replace(GAUSSIANS, where=f"n={num_samples}", regime=regime, others=others, **sizes)


def unbiased_protocols() -> list[Protocol]:
    """Replace with the unbiased variance: the mean variance stays while the mean standard deviation shrinks."""
    diagonal = replace(UNBIASED, laws=["fitted/variance", "fitted/sd", "fitted/wasserstein"])
    narrowed = partial(ScaledLatents, spread=0.8)
    full = partial(Gaussian, covariance="full", variance="unbiased")  # fitted to few samples for its size
    log_variance = ["fitted/log_variance"]
    return [
        diagonal,
        replace(diagonal, num_generations=9, laws=log_variance),  # a longer chain shows its steady fall better
        replace(diagonal, where="lambda=0.8", bias=narrowed, laws=None),
        replace(diagonal, where="full", model=full, dimensions=32, num_samples=40, num_blocks=1200, laws=log_variance),
    ]


def drift_with_real_protocol() -> Protocol:
    """Categories whose pools have a quarter of fresh real samples."""
    sizes: Any = {"num_samples": 8, "num_reserve": 2 * LAST, "num_generations": LAST + 1}
    return replace(CATEGORIES, where="fresh real", regime=partial(FRESH, fresh_fraction=0.25), **sizes)


def passage_protocol() -> Protocol:
    """The share of chains that have lost half of their variance at some time, under replace."""
    sizes: Any = {"dimensions": 2_000, "num_generations": 10, "num_blocks": 100}

    def has_passed(block: Block) -> float:
        variances = torch.stack([model.get_buffer("covariance") for model in block.models])
        return (variances.amin(0) <= 0.5).double().mean().item()

    share = recursions.first_passage_share(9, num_samples=UNBIASED.num_samples, fraction=0.5)
    return replace(UNBIASED, laws=[], others=[Statistic("P(v <= 1/2 so far)", share, has_passed)], **sizes)


def biased_protocol() -> Protocol:
    """Fresh real data and twice as many samples in all, with a bias."""
    sizes: Any = {"dimensions": 6_000, "synthetic_per_real": 2, "num_reserve": 10 * LAST, "num_blocks": 150}
    bias, regime = partial(ScaledLatents, spread=0.7), partial(FRESH, fresh_fraction=1.0)
    return replace(GAUSSIANS, where="fresh real, lambda=0.7", bias=bias, regime=regime, **sizes)


def kernel_protocols() -> list[Protocol]:
    """Kernel densities: an absolute bandwidth under three regimes, and a relative one under two."""
    absolute = replace(
        GAUSSIANS,
        where="h=0.6",
        model=partial(KernelDensity, bandwidth=None, absolute_bandwidth=0.6),
        regime=partial(FRESH, fresh_fraction=0.5),
        dimensions=300,
        num_samples=100,  # pools are large, as all dimensions draw the same kernels
        num_reserve=50 * LAST,
        num_blocks=300,
        laws=["fitted/variance", "fitted/second_moment"],  # E[mu²] is too variable to be checked
    )
    relative = replace(absolute, where="c=0.5", model=partial(KernelDensity, bandwidth=0.5, absolute_bandwidth=None))
    return [
        absolute,
        replace(absolute, regime=partial(Accumulate), laws=None),
        replace(absolute, regime=partial(FixedReal, synthetic_ratio=1.0), laws=None),
        relative,
        replace(relative, regime=REPLACE),
    ]


def takeover_protocol() -> Protocol:
    """Categories under replace until only one is left; one chain in a million is undecided after 20 generations."""
    takeover = Statistic(
        "P(first takes over)",
        formulas.zipf_shares(num_categories=3, exponent=1.0)[0],  # its share in the truth, as shares are martingales
        lambda block: (block.models[-1].get_buffer("probabilities")[:, 0] == 1).double().mean().item(),
    )
    data, model = partial(CATEGORIES.data, num_categories=3), partial(CATEGORIES.model, num_categories=3)
    sizes: Any = {"dimensions": 4_000, "num_samples": 2, "num_generations": 20}
    return replace(CATEGORIES, data=data, model=model, laws=[], others=[takeover], **sizes)


def regression_protocol(regime: Part) -> Protocol:
    """Least squares; each output of a block is a chain."""
    num_samples, num_inputs = 50, 10

    def excess(block: Block) -> float:
        # Each block has its own design X, so it differs from the law as trace (X'X)^-1 does from its known mean.
        inputs = block.models[-1].get_buffer("inputs")[:num_samples].double()
        return torch.linalg.inv(inputs.T @ inputs).trace().item() * (num_samples - num_inputs - 1) / num_inputs - 1

    return Protocol(
        data=partial(LinearRegressionSource, num_inputs=num_inputs, noise_sd=1.0),
        model=partial(LinearRegression, num_inputs=num_inputs, noise_sd=1.0),
        regime=regime,
        dimensions=num_inputs + 600,
        num_samples=num_samples,
        num_generations=5,
        num_blocks=250,
        excess=excess,
    )
