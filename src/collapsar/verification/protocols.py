"""The protocols of `collapsar-verify`, run by the same code as every experiment.

Sizes are chosen so that an error of one per cent lies beyond the threshold of `verify`. Every regime runs with pools of
10 and of 100: small pools show a wrong law best, large ones an error in the share of real data.
"""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from collapsar.data.regimes import (
    Accumulate,
    AccumulateSubsample,
    FixedReal,
    FreshReal,
    Mix,
    Replace,
    Window,
)
from collapsar.data.sources.analytic import CategoricalSource, GaussianSource, LinearRegressionSource
from collapsar.data.weighting import GoldenRatio, Weighted
from collapsar.models.analytic.analytic import Categorical, Gaussian, LinearRegression
from collapsar.models.bias import ScaledLatents
from collapsar.theory import formulas
from collapsar.verification.protocol import Block, Part, Protocol, Statistic, undeclared_real_weight

LAST = 3  # generation of most protocols


def protocols() -> list[Protocol]:
    """All protocols."""
    return [
        *(protocol for size in (10, 100) for protocol in regime_protocols(num_samples=size)),
        *unbiased_protocols(),
        drift_protocol(),
        takeover_protocol(),
        regression_protocol(partial(Replace)),
        regression_protocol(partial(Accumulate)),
    ]


def regime_protocols(*, num_samples: int) -> list[Protocol]:
    """Every regime on diagonal Gaussians fitted by maximum likelihood, with n samples a generation."""
    n = num_samples
    fresh: Any = partial(FreshReal, fresh_fraction=1.0, is_recycled=False)
    golden_ratio = (math.sqrt(5) - 1) / 2
    chain = partial(regime_protocol, num_samples=n)
    weighted = partial(chain, pool_size=2 * n, num_synthetic=2 * n, num_reserve=LAST * n)
    return [
        chain(partial(Replace), pool_size=n, real_weight=0.0),
        chain(partial(Accumulate), pool_size=(LAST + 1) * n, real_weight=1 / (LAST + 1)),
        chain(partial(AccumulateSubsample, budget=None), pool_size=n, real_weight=1 / (LAST + 1), num_choices=6_000),
        chain(partial(FixedReal, synthetic_ratio=1.0), pool_size=2 * n, real_weight=0.5),
        chain(
            partial(FreshReal, fresh_fraction=0.2, is_recycled=False),
            pool_size=n,
            real_weight=0.2,
            num_reserve=LAST * n // 5,
        ),
        chain(partial(Mix, real_fraction=0.3), pool_size=n, real_weight=0.3, num_choices=4_000),
        chain(partial(Window, num_kept=2), pool_size=2 * n, real_weight=0.0),
        weighted(partial(Weighted, regime=fresh, real_weight=0.4), real_weight=0.4),
        weighted(partial(GoldenRatio, regime=fresh), real_weight=golden_ratio),
    ]


def regime_protocol(
    regime: Part,
    *,
    num_samples: int,
    pool_size: int,
    real_weight: float,
    num_synthetic: int | None = None,
    num_reserve: int = 0,
    num_choices: int = 0,
) -> Protocol:
    """A regime on diagonal Gaussians; `num_synthetic` is `num_samples` by default.

    The chains of a block share the regime's draws. If these scatter in small pools, `num_choices` sets the number of
    blocks: enough for an error of one per cent in a law to lie seven standard errors away.
    """
    where = f"n={num_samples}"
    dimensions, num_blocks = (1_500, 110) if num_samples > 50 else (800, num_choices) if num_choices else (12_000, 125)
    return Protocol(
        where=where,
        data=gaussian_data(dimensions=dimensions, num_train=num_samples, num_reserve=num_reserve),
        model=partial(Gaussian, sample_shape=[dimensions], covariance="diagonal", variance="maximum_likelihood"),
        regime=regime,
        num_generations=LAST + 1,
        num_synthetic=num_synthetic or num_samples,
        num_blocks=num_blocks,
        laws=["fitted/squared_mean", "fitted/variance", "fitted/second_moment"],
        others=[
            Statistic(
                name=f"pool size, {where}", expected=float(pool_size), measure=lambda block: float(len(block.pool))
            ),
            Statistic(name=f"real weight, {where}", expected=real_weight, measure=lambda block: block.pool.real_weight),
            Statistic(name=f"undeclared real weight, {where}", expected=0.0, measure=undeclared_real_weight),
        ],
    )


def gaussian_data(*, dimensions: int, num_train: int, num_reserve: int = 0) -> Part:
    """Standard normal data, as in conf/data/gaussian.yaml."""
    return partial(
        GaussianSource,
        sample_shape=[dimensions],
        dimensions=dimensions,
        num_train=num_train,
        num_test=1,
        num_reserve=num_reserve,
    )


def unbiased_protocols() -> list[Protocol]:
    """Replace with the unbiased variance: the mean variance stays while the mean standard deviation shrinks.

    A longer chain shows the steady fall of the log variance better. A full covariance matrix is fitted to few samples
    for its size.
    """
    n, dimensions, spread = 10, 12_000, 0.8
    diagonal = Protocol(
        where="unbiased",
        data=gaussian_data(dimensions=dimensions, num_train=n),
        model=partial(Gaussian, sample_shape=[dimensions], covariance="diagonal", variance="unbiased"),
        regime=partial(Replace),
        num_generations=LAST + 1,
        num_synthetic=n,
        num_blocks=125,
        laws=["fitted/variance", "fitted/sd", "fitted/wasserstein"],
    )
    full = replace(
        diagonal,
        where="full",
        data=gaussian_data(dimensions=32, num_train=40),
        model=partial(Gaussian, sample_shape=[32], covariance="full", variance="unbiased"),
        num_synthetic=40,
        num_blocks=1200,
        laws=["fitted/log_variance"],
    )
    return [
        diagonal,
        replace(diagonal, num_generations=9, laws=["fitted/log_variance"]),
        replace(
            diagonal, where=f"lambda={spread}", bias=partial(ScaledLatents, spread=spread), laws=["fitted/variance"]
        ),
        full,
    ]


def drift_protocol() -> Protocol:
    """Categories under replace."""
    return categorical_protocol(num_samples=100, dimensions=1_000, num_categories=10, num_generations=3)


def takeover_protocol() -> Protocol:
    """Categories under replace until only one is left; one chain in a million is undecided after 20 generations."""
    protocol = categorical_protocol(num_samples=2, dimensions=4_000, num_categories=3, num_generations=20)
    share = formulas.zipf_shares(num_categories=3, exponent=1.0)[0]
    takeover = Statistic(
        name="P(first takes over)",
        expected=formulas.takeover_probability(share),
        measure=lambda block: (block.model.get_buffer("probabilities")[:, 0] == 1).double().mean().item(),
    )
    return replace(protocol, laws=[], others=[takeover])


def categorical_protocol(*, num_samples: int, dimensions: int, num_categories: int, num_generations: int) -> Protocol:
    """Replace on categories with a tail, as in conf/data/categorical.yaml."""
    return Protocol(
        where="",
        data=partial(
            CategoricalSource,
            sample_shape=[dimensions],
            dimensions=dimensions,
            num_categories=num_categories,
            zipf_exponent=1.0,
            num_train=num_samples,
            num_test=1,
            num_reserve=0,
        ),
        model=partial(Categorical, sample_shape=[dimensions], num_categories=num_categories),
        regime=partial(Replace),
        num_generations=num_generations,
        num_synthetic=num_samples,
        num_blocks=100,
    )


def regression_protocol(regime: Part) -> Protocol:
    """Least squares; each output of a block is a chain."""
    num_samples, num_inputs, num_outputs = 50, 10, 600
    dimensions = num_inputs + num_outputs

    def excess(block: Block) -> float:
        # Each block has its own design X, so it differs from the law as trace (X'X)^-1 does from its known mean.
        inputs = block.model.get_buffer("inputs")[:num_samples].double()
        return torch.linalg.inv(inputs.T @ inputs).trace().item() * (num_samples - num_inputs - 1) / num_inputs - 1

    return Protocol(
        where="",
        data=partial(
            LinearRegressionSource,
            sample_shape=[dimensions],
            dimensions=dimensions,
            num_inputs=num_inputs,
            noise_sd=1.0,
            num_train=num_samples,
            num_test=1,
            num_reserve=0,
        ),
        model=partial(LinearRegression, sample_shape=[dimensions], num_inputs=num_inputs, noise_sd=1.0),
        regime=regime,
        num_generations=5,
        num_synthetic=num_samples,
        num_blocks=250,
        excess=excess,
    )
