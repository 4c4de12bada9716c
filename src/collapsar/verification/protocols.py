"""The protocols of `collapsar-verify`, run by the same code as every experiment.

Sizes are chosen so that an error of one per cent lies beyond the threshold of `verify`.
"""

from collections.abc import Callable
from functools import partial

import torch

from collapsar import theory
from collapsar.data.regimes import Accumulate, Regime, Replace
from collapsar.data.sources import analytic as sources
from collapsar.models.analytic.analytic import Categorical, LinearRegression
from collapsar.verification.gaussians import (
    biased_protocol,
    full_covariance_protocol,
    log_variance_protocol,
    regime_protocols,
    unbiased_protocol,
)
from collapsar.verification.protocol import Block, Law, Protocol


def protocols() -> list[Protocol]:
    """All protocols."""
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


def drift_protocol() -> Protocol:
    """Categories under replace."""
    n, last, dimensions = 100, 2, 1000
    source = partial(categorical_source, dimensions=dimensions, num_categories=10, num_train=n)
    shares = source(0).shares
    return Protocol(
        regime=Replace(),
        source=source,
        model=partial(Categorical, sample_shape=[dimensions], num_categories=10),
        num_generations=last + 1,
        num_synthetic=n,
        num_blocks=100,
        laws=[
            Law(
                name="E[1 - sum p²]",
                expected=theory.heterozygosity_under_replace(last, num_samples=n, shares=shares),
                measure=lambda block: 1 - block.fitted("probabilities").square().sum(1).mean().item(),
            ),
            Law(
                name="E[alive], at least",
                expected=theory.alive_categories_lower_bound(last, num_samples=n, shares=shares),
                measure=lambda block: (block.fitted("probabilities") > 0).sum(1).float().mean().item(),
                is_lower_bound=True,
            ),
        ],
    )


def takeover_protocol() -> Protocol:
    """Categories under replace until only one is left."""
    n, dimensions = 2, 4000
    source = partial(categorical_source, dimensions=dimensions, num_categories=3, num_train=n)
    return Protocol(
        regime=Replace(),
        source=source,
        model=partial(Categorical, sample_shape=[dimensions], num_categories=3),
        num_generations=20,  # one chain in a million is undecided by then
        num_synthetic=n,
        num_blocks=100,
        laws=[
            Law(
                name="P(first takes over)",
                expected=theory.takeover_probability(source(0).shares[0]),
                measure=lambda block: (block.fitted("probabilities")[:, 0] == 1).float().mean().item(),
            )
        ],
    )


def regression_protocol(regime: Regime, *, law: Callable[..., float]) -> Protocol:
    """Least squares; each output of a block is a chain."""
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

    def error(block: Block) -> float:
        # Each block has its own design X: remove the error from the difference of trace (X'X)^-1 to its known mean.
        inputs = block.fitted("inputs")[:num_samples]
        excess = torch.linalg.inv(inputs.T @ inputs).trace().item() / mean_trace - 1
        return (block.fitted("coefficients") - truth).square().sum(0).mean().item() - expected * excess

    return Protocol(
        regime=regime,
        source=lambda seed: source(seed=seed),
        model=partial(LinearRegression, sample_shape=[num_inputs + num_outputs], num_inputs=num_inputs, noise_sd=1.0),
        num_generations=last + 1,
        num_synthetic=num_samples,
        num_blocks=250,
        laws=[Law(name="E|w - w*|²", expected=expected, measure=error)],
    )


def categorical_source(seed: int, *, dimensions: int, num_categories: int, num_train: int) -> sources.CategoricalSource:
    """Categories with a tail, as in conf/data/categorical.yaml."""
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
