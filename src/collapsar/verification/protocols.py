"""What `collapsar-verify` runs: loops whose end is known in closed form, through the same code as every experiment.

A diagonal Gaussian or a histogram in D dimensions is D independent chains, which makes a block; blocks differ in their
seed. An error in the share of real data shows best in pools of 100, a wrong law in pools of 10, so every regime is run
with both. Sizes are such that one per cent off lies beyond the threshold of `verify`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from collapsar import theory
from collapsar.data.pool import Pool, unlabelled
from collapsar.data.regimes import (
    Accumulate,
    AccumulateSubsample,
    FixedReal,
    FreshReal,
    GoldenRatio,
    Mix,
    Regime,
    Replace,
    Weighted,
    Window,
)
from collapsar.data.sources import analytic as sources
from collapsar.data.sources.real import RealData
from collapsar.models import analytic as models
from collapsar.models.bias import UNBIASED, Bias, ScaledLatents
from collapsar.seeding import make_generator


@dataclass(frozen=True, kw_only=True)
class Chain:
    """What a chain is when it ends: its last model, what that was trained on, and all the real data."""

    model: models.AnalyticModel
    pool: Pool
    real: RealData

    def fitted(self, name: str) -> Tensor:
        """A parameter of the last model, in double precision."""
        return self.model.get_buffer(name).double()


@dataclass(frozen=True, kw_only=True)
class Law:
    """What a block's chains should have in common.

    Attributes:
        name: What is measured.
        expected: The value, or the lower bound.
        measure: The block's mean.
        is_lower_bound: Whether more than expected is right too.
    """

    name: str
    expected: float
    measure: Callable[[Chain], float]
    is_lower_bound: bool = False


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A loop, and the laws that its last generation obeys.

    Attributes:
        regime: Makes the pools.
        source: Real data for a seed.
        model: A fresh model.
        num_generations: Models in the chain.
        num_synthetic: Samples each model gives to the next pool.
        num_blocks: How often the chain runs, each with its own seed.
        laws: What to compare.
        bias: How models are sampled.
    """

    regime: Regime
    source: Callable[[int], sources.AnalyticSource]
    model: Callable[[], models.AnalyticModel]
    num_generations: int
    num_synthetic: int
    num_blocks: int
    laws: Sequence[Law]
    bias: Bias = UNBIASED

    def run(self, seed: int) -> Chain:
        """One block: the loop of `Experiment` without store, metrics and Trainer."""
        real = self.source(seed).load()
        pool = Pool((real.train,))
        for generation in range(self.num_generations):
            model = self.model()
            generator = make_generator(seed, generation, "train")
            model.fit(pool.concatenated(), weights=pool.weights, generator=generator)
            if generation == self.num_generations - 1:
                break
            samples = model.sample(self.num_synthetic, make_generator(seed, generation, "sample"), bias=self.bias)
            pool = self.regime.next_pool(
                pool,
                real=real.train,
                synthetic=unlabelled(samples, origin=generation),
                generator=make_generator(seed, generation, "pool"),
                reserve=real.reserve,
            )
        return Chain(model=model, pool=pool, real=real)


def protocols() -> list[Protocol]:
    """Everything that is verified."""
    return [
        *(protocol for size in (10, 100) for protocol in regime_protocols(num_samples=size)),
        unbiased_protocol(),
        log_variance_protocol(),
        biased_protocol(),
        full_covariance_protocol(),
        drift_protocol(),
        takeover_protocol(),
        regression_protocol(Replace(), law=theory.regression_error_under_replace),
        regression_protocol(Accumulate(), law=theory.regression_error_under_accumulate),
    ]


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
    """A regime on diagonal Gaussians; `num_synthetic` are as many as real samples unless given.

    What the regime draws is shared by the chains of a block. Where that scatters in small pools, `num_choices` says in
    how many blocks it is drawn anew: enough for one per cent off in a law to lie seven standard errors away.
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
            Law(name=f"pool size, {where}", expected=float(pool_size), measure=lambda chain: float(len(chain.pool))),
            Law(name=f"real weight, {where}", expected=real_weight, measure=lambda chain: chain.pool.real_weight),
            Law(name=f"undeclared real weight, {where}", expected=0.0, measure=undeclared_real_weight),
        ],
    )


def unbiased_protocol() -> Protocol:
    """Replace with the unbiased variance: its mean stays while the mean deviation shrinks."""
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
                measure=lambda chain: chain.fitted("covariance").sqrt().mean().item(),
            ),
            Law(
                name="E[W2²], unbiased",
                expected=theory.wasserstein_under_replace(last, num_samples=n, real_variance=1.0),
                measure=mean_wasserstein,
            ),
        ],
    )


def log_variance_protocol() -> Protocol:
    """The same in a longer chain, which shows the steady fall of the log variance better than its mean."""
    n, last = 10, 8
    change = theory.log_variance_change(num_samples=n, num_dimensions=1)
    law = Law(
        name="E[log v], unbiased",
        expected=(last + 1) * change,
        measure=lambda chain: chain.fitted("covariance").log().mean().item(),
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
    """Replace with a full covariance matrix, from few samples for its size."""
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
                measure=lambda chain: chain.fitted("covariance").logdet().item() / dimensions,
            )
        ],
    )


def drift_protocol() -> Protocol:
    """Categories under replace."""
    n, last, dimensions = 100, 2, 1000
    source = partial(categorical_source, dimensions=dimensions, num_categories=10, num_train=n)
    shares = source(0).shares
    return Protocol(
        regime=Replace(),
        source=source,
        model=partial(models.Categorical, sample_shape=[dimensions], num_categories=10),
        num_generations=last + 1,
        num_synthetic=n,
        num_blocks=100,
        laws=[
            Law(
                name="E[1 - sum p²]",
                expected=theory.heterozygosity_under_replace(last, num_samples=n, shares=shares),
                measure=lambda chain: 1 - chain.fitted("probabilities").square().sum(1).mean().item(),
            ),
            Law(
                name="E[alive], at least",
                expected=theory.alive_categories_lower_bound(last, num_samples=n, shares=shares),
                measure=lambda chain: (chain.fitted("probabilities") > 0).sum(1).float().mean().item(),
                is_lower_bound=True,
            ),
        ],
    )


def takeover_protocol() -> Protocol:
    """Categories under replace until one is left."""
    n, dimensions = 2, 4000
    source = partial(categorical_source, dimensions=dimensions, num_categories=3, num_train=n)
    return Protocol(
        regime=Replace(),
        source=source,
        model=partial(models.Categorical, sample_shape=[dimensions], num_categories=3),
        num_generations=20,  # one chain in a million is undecided by then
        num_synthetic=n,
        num_blocks=100,
        laws=[
            Law(
                name="P(first takes over)",
                expected=theory.takeover_probability(source(0).shares[0]),
                measure=lambda chain: (chain.fitted("probabilities")[:, 0] == 1).float().mean().item(),
            )
        ],
    )


def regression_protocol(regime: Regime, *, law: Callable[..., float]) -> Protocol:
    """Least squares; the outputs of a block are its chains."""
    num_samples, num_inputs, num_outputs, last = 50, 10, 600, 4
    source = partial(
        sources.LinearRegressionSource,
        sample_shape=[num_inputs + num_outputs],
        dimensions=num_inputs + num_outputs,
        num_inputs=num_inputs,
        noise_sd=1.0,
        num_train=num_samples,
        num_test=1,
        num_reserve=0,
    )
    expected = law(last, num_samples=num_samples, num_inputs=num_inputs, noise_variance=1.0)
    truth = source(seed=0).coefficients.unsqueeze(1)
    mean_trace = num_inputs / (num_samples - num_inputs - 1)

    def error(chain: Chain) -> float:
        # The design is a block's own: (X'X)^-1 has a known mean trace, and its part in the error is taken out.
        inputs = chain.fitted("inputs")[:num_samples]
        excess = torch.linalg.inv(inputs.T @ inputs).trace().item() / mean_trace - 1
        return (chain.fitted("coefficients") - truth).square().sum(0).mean().item() - expected * excess

    return Protocol(
        regime=regime,
        source=lambda seed: source(seed=seed),
        model=partial(
            models.LinearRegression, sample_shape=[num_inputs + num_outputs], num_inputs=num_inputs, noise_sd=1.0
        ),
        num_generations=last + 1,
        num_synthetic=num_samples,
        num_blocks=250,
        laws=[Law(name="E|w - w*|²", expected=expected, measure=error)],
    )


def gaussian_source(seed: int, *, dimensions: int, num_train: int, num_reserve: int) -> sources.GaussianSource:
    """Standard normal data, as conf/data/gaussian.yaml makes them."""
    return sources.GaussianSource(
        sample_shape=[dimensions],
        dimensions=dimensions,
        num_train=num_train,
        num_test=1,
        num_reserve=num_reserve,
        seed=seed,
    )


def categorical_source(seed: int, *, dimensions: int, num_categories: int, num_train: int) -> sources.CategoricalSource:
    """Categories with a tail, as conf/data/categorical.yaml makes them."""
    return sources.CategoricalSource(
        sample_shape=[dimensions],
        dimensions=dimensions,
        num_categories=num_categories,
        zipf_exponent=1.0,
        num_train=num_train,
        num_test=1,
        num_reserve=0,
        seed=seed,
    )


def gaussian_model(
    *,
    dimensions: int,
    variance: Literal["maximum_likelihood", "unbiased"],
    covariance: Literal["diagonal", "full"] = "diagonal",
) -> models.Gaussian:
    """A fresh Gaussian, as conf/model/gaussian.yaml makes it."""
    return models.Gaussian(sample_shape=[dimensions], covariance=covariance, variance=variance)


def mean_squared_mean(chain: Chain) -> float:
    """Mean of mu² over a block; the truth is at 0."""
    return chain.fitted("mean").square().mean().item()


def mean_variance(chain: Chain) -> float:
    """Mean of the fitted variance over a block."""
    return chain.fitted("covariance").mean().item()


def mean_second_moment(chain: Chain) -> float:
    """Mean of mu² + variance over a block."""
    return mean_squared_mean(chain) + mean_variance(chain)


def mean_wasserstein(chain: Chain) -> float:
    """Mean over a block of W2² between the model and the standard normal truth."""
    return mean_squared_mean(chain) + (chain.fitted("covariance").sqrt() - 1).square().mean().item()


def undeclared_real_weight(chain: Chain) -> float:
    """Training weight of what is in fact real, found among the real data by its values, beyond what the pool says."""
    real = [part.samples[:, :2] for part in (chain.real.train, chain.real.reserve) if part is not None]
    pool = chain.pool.concatenated()[:, :2]  # two values: one alone may coincide by chance
    is_real = (pool.unsqueeze(1) == torch.cat(real)).all(2).any(1)
    weights = chain.pool.weights
    found = is_real.double().mean() if weights is None else weights[is_real].sum()
    return found.item() - chain.pool.real_weight
