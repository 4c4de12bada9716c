"""Protocols on Gaussians: every regime, the unbiased variance, sampling bias, full covariances.

Every regime runs with pools of 10 and of 100: small pools show a wrong law best, large ones an error in the share of
real data.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal

from collapsar import theory
from collapsar.data.regimes import (
    Accumulate,
    AccumulateSubsample,
    FixedReal,
    FreshReal,
    Mix,
    Regime,
    Replace,
    Window,
)
from collapsar.data.sources.analytic import GaussianSource
from collapsar.data.weighting import GoldenRatio, Weighted
from collapsar.models.analytic.analytic import Gaussian
from collapsar.models.bias import UNBIASED, Bias, ScaledLatents
from collapsar.verification.protocol import (
    Law,
    Protocol,
    mean_second_moment,
    mean_squared_mean,
    mean_variance,
    mean_wasserstein,
    undeclared_real_weight,
)


def regime_protocols(*, num_samples: int) -> list[Protocol]:
    """Every regime on diagonal Gaussians fitted by maximum likelihood, with n samples a generation."""
    n, last = num_samples, 3
    weighted = partial(theory.squared_mean_with_weights, last, num_real=n, num_synthetic=n, real_variance=1.0)
    kept = partial(theory.squared_mean_with_fixed_real, last, num_real=n, real_variance=1.0)
    fresh = FreshReal(fresh_fraction=1.0, is_recycled=False)
    golden = theory.golden_ratio_weight(1.0)
    accumulated = 1 - theory.variance_under_accumulate(last, num_samples=n, real_variance=1.0)
    chain = partial(gaussian_protocol, num_samples=n, num_generations=last + 1)
    return [
        chain(
            Replace(),
            squared_mean=theory.squared_mean_under_replace(last, num_samples=n, real_variance=1.0),
            pool_size=n,
            real_weight=0.0,
        ),
        chain(Accumulate(), squared_mean=accumulated, pool_size=(last + 1) * n, real_weight=1 / (last + 1)),
        chain(
            AccumulateSubsample(budget=None),
            squared_mean=theory.squared_mean_under_accumulate_subsample(last, num_samples=n, real_variance=1.0),
            pool_size=n,
            real_weight=1 / (last + 1),
            num_choices=6_000,
        ),
        chain(
            FixedReal(synthetic_ratio=1.0),
            squared_mean=kept(num_real_kept=n, num_synthetic=n),
            pool_size=2 * n,
            real_weight=0.5,
        ),
        chain(
            FreshReal(fresh_fraction=0.2, is_recycled=False),
            squared_mean=theory.squared_mean_with_fresh_real(
                last, fresh_fraction=0.2, num_samples=n, real_variance=1.0
            ),
            pool_size=n,
            real_weight=0.2,
            num_reserve=last * n // 5,
        ),
        chain(
            Mix(real_fraction=0.3),
            squared_mean=kept(num_real_kept=3 * n // 10, num_synthetic=7 * n // 10),
            pool_size=n,
            real_weight=0.3,
            num_choices=4_000,
        ),
        chain(
            Window(num_kept=2),
            squared_mean=theory.squared_mean_under_window(last, num_kept=2, num_samples=n, real_variance=1.0),
            pool_size=2 * n,
            real_weight=0.0,
        ),
        chain(
            Weighted(regime=fresh, real_weight=0.4),
            squared_mean=weighted(real_weight=0.4),
            pool_size=2 * n,
            real_weight=0.4,
            num_synthetic=2 * n,
            num_reserve=last * n,
        ),
        chain(
            GoldenRatio(regime=fresh),
            squared_mean=weighted(real_weight=golden),
            pool_size=2 * n,
            real_weight=(math.sqrt(5) - 1) / 2,
            num_synthetic=2 * n,
            num_reserve=last * n,
        ),
    ]


def gaussian_protocol(
    regime: Regime,
    *,
    num_samples: int,
    num_generations: int,
    squared_mean: float,
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
    conserved = theory.conserved_second_moment(real_mean=0.0, real_variance=1.0)
    dimensions, num_blocks = (1_500, 110) if num_samples > 50 else (800, num_choices) if num_choices else (12_000, 125)
    return Protocol(
        regime=regime,
        source=partial(gaussian_source, dimensions=dimensions, num_train=num_samples, num_reserve=num_reserve),
        model=partial(gaussian_model, dimensions=dimensions, variance="maximum_likelihood"),
        num_generations=num_generations,
        num_synthetic=num_synthetic or num_samples,
        num_blocks=num_blocks,
        laws=[
            Law(name=f"E[mu²], {where}", expected=squared_mean, measure=mean_squared_mean),
            Law(name=f"E[v], {where}", expected=conserved - squared_mean, measure=mean_variance),
            Law(name=f"E[mu² + v], {where}", expected=conserved, measure=mean_second_moment),
            Law(name=f"pool size, {where}", expected=float(pool_size), measure=lambda block: float(len(block.pool))),
            Law(name=f"real weight, {where}", expected=real_weight, measure=lambda block: block.pool.real_weight),
            Law(name=f"undeclared real weight, {where}", expected=0.0, measure=undeclared_real_weight),
        ],
    )


def unbiased_protocol() -> Protocol:
    """Replace with the unbiased variance: the mean variance stays while the mean standard deviation shrinks."""
    n, last = 10, 3
    return unbiased_chain(
        num_samples=n,
        num_generations=last + 1,
        laws=[
            Law(
                name="E[v], unbiased",
                expected=theory.unbiased_variance_under_replace(real_variance=1.0),
                measure=mean_variance,
            ),
            Law(
                name="E[sd], unbiased",
                expected=theory.sd_under_replace(last, num_samples=n, real_sd=1.0),
                measure=lambda block: block.fitted("covariance").sqrt().mean().item(),
            ),
            Law(
                name="E[W2²], unbiased",
                expected=theory.wasserstein_under_replace(last, num_samples=n, real_variance=1.0),
                measure=mean_wasserstein,
            ),
        ],
    )


def log_variance_protocol() -> Protocol:
    """The same in a longer chain, which shows the steady fall of the log variance better."""
    n, last = 10, 8
    change = theory.log_variance_change(num_samples=n, num_dimensions=1)
    law = Law(
        name="E[log v], unbiased",
        expected=(last + 1) * change,
        measure=lambda block: block.fitted("covariance").log().mean().item(),
    )
    return unbiased_chain(num_samples=n, num_generations=last + 1, laws=[law])


def biased_protocol() -> Protocol:
    """Replace with biased sampling."""
    n, last, spread = 10, 3, 0.8
    law = Law(
        name=f"E[v], lambda={spread}",
        expected=theory.variance_under_biased_replace(last, spread=spread, real_variance=1.0),
        measure=mean_variance,
    )
    return unbiased_chain(num_samples=n, num_generations=last + 1, laws=[law], bias=ScaledLatents(spread=spread))


def unbiased_chain(*, num_samples: int, num_generations: int, laws: Sequence[Law], bias: Bias = UNBIASED) -> Protocol:
    """Replace on diagonal Gaussians with the unbiased variance."""
    return Protocol(
        regime=Replace(),
        source=partial(gaussian_source, dimensions=12_000, num_train=num_samples, num_reserve=0),
        model=partial(gaussian_model, dimensions=12_000, variance="unbiased"),
        num_generations=num_generations,
        num_synthetic=num_samples,
        num_blocks=125,
        laws=laws,
        bias=bias,
    )


def full_covariance_protocol() -> Protocol:
    """Replace with a full covariance matrix, fitted to few samples for its size."""
    n, dimensions, last = 40, 32, 3
    change = theory.log_variance_change(num_samples=n, num_dimensions=dimensions)
    return Protocol(
        regime=Replace(),
        source=partial(gaussian_source, dimensions=dimensions, num_train=n, num_reserve=0),
        model=partial(gaussian_model, dimensions=dimensions, variance="unbiased", covariance="full"),
        num_generations=last + 1,
        num_synthetic=n,
        num_blocks=1200,
        laws=[
            Law(
                name=f"E[log det]/{dimensions}, full",
                expected=(last + 1) * change,
                measure=lambda block: block.fitted("covariance").logdet().item() / dimensions,
            )
        ],
    )


def gaussian_source(seed: int, *, dimensions: int, num_train: int, num_reserve: int) -> GaussianSource:
    """Standard normal data, as in conf/data/gaussian.yaml."""
    return GaussianSource(
        sample_shape=[dimensions],
        dimensions=dimensions,
        num_train=num_train,
        num_test=1,
        num_reserve=num_reserve,
        seed=seed,
    )


def gaussian_model(
    *,
    dimensions: int,
    variance: Literal["maximum_likelihood", "unbiased"],
    covariance: Literal["diagonal", "full"] = "diagonal",
) -> Gaussian:
    """A new Gaussian model, as in conf/model/gaussian.yaml."""
    return Gaussian(sample_shape=[dimensions], covariance=covariance, variance=variance)
