"""Data whose truth is known: every set is drawn from it, as many samples as wanted.

Training set, test set and reserve come from separate random streams of the experiment's seed, so two seeds differ in
their real data too: that is what the expectations in `theory` are over. Samples are float32 vectors.
"""

from abc import ABC
from math import sqrt

import torch

from collapsar.data.sources.source import DrawnSource, Sizes
from collapsar.errors import UsageError, check_positive
from collapsar.samples import Samples
from collapsar.theory import zipf_shares


class AnalyticSource(DrawnSource, ABC):
    """A known distribution of vectors.

    Args:
        sample_shape: [dimensions]; models are sized from it.
        dimensions: Length of a vector.
        num_classes: Labels run from 0 to num_classes - 1; 0 where samples have none.
        num_train: What generation 0 is trained on.
        num_test: Held out.
        num_reserve: For regimes that take fresh real samples; 0 for none.
        seed: The experiment's seed.

    Raises:
        UsageError: a size that is not above 0, or a shape that does not agree with the dimensions.
    """

    def __init__(
        self,
        *,
        sample_shape: list[int],
        dimensions: int,
        num_classes: int,
        num_train: int,
        num_test: int,
        num_reserve: int,
        seed: int,
    ) -> None:
        check_positive(dimensions=dimensions)
        super().__init__(
            sample_shape=sample_shape,
            sizes=Sizes(num_train, num_test, num_reserve),
            num_classes=num_classes,
            seed=seed,
        )
        if sample_shape != [dimensions]:
            raise UsageError(f"data.sample_shape must be {[dimensions]}, its dimensions: got {sample_shape}")
        self.dimensions = dimensions


class GaussianSource(AnalyticSource):
    """The standard normal distribution.

    With a diagonal Gaussian as the model, each dimension is a chain of its own.

    Args:
        sample_shape: [dimensions].
        dimensions: Length of a vector.
        num_train: What generation 0 is trained on.
        num_test: Held out.
        num_reserve: For regimes that take fresh real samples.
        seed: The experiment's seed.
    """

    name = "gaussian"

    def __init__(
        self, *, sample_shape: list[int], dimensions: int, num_train: int, num_test: int, num_reserve: int, seed: int
    ) -> None:
        super().__init__(
            sample_shape=sample_shape,
            dimensions=dimensions,
            num_classes=0,
            num_train=num_train,
            num_test=num_test,
            num_reserve=num_reserve,
            seed=seed,
        )

    def draw(self, num_samples: int, generator: torch.Generator) -> Samples:
        return Samples(torch.randn(num_samples, self.dimensions, generator=generator))


class CategoricalSource(AnalyticSource):
    """Categories 0 to K - 1 as numbers, with shares proportional to (k + 1)^-s: a few frequent ones and a tail.

    Each dimension is drawn by itself, and is a chain of its own. In one dimension a sample's label is its category.

    Args:
        sample_shape: [dimensions].
        dimensions: Length of a vector.
        num_categories: K.
        zipf_exponent: s; 0 makes them equally likely.
        num_train: What generation 0 is trained on.
        num_test: Held out.
        num_reserve: For regimes that take fresh real samples.
        seed: The experiment's seed.

    Attributes:
        shares: True share of each category.
    """

    name = "categorical"

    def __init__(
        self,
        *,
        sample_shape: list[int],
        dimensions: int,
        num_categories: int,
        zipf_exponent: int | float,
        num_train: int,
        num_test: int,
        num_reserve: int,
        seed: int,
    ) -> None:
        check_positive(num_categories=num_categories)
        super().__init__(
            sample_shape=sample_shape,
            dimensions=dimensions,
            num_classes=num_categories if dimensions == 1 else 0,
            num_train=num_train,
            num_test=num_test,
            num_reserve=num_reserve,
            seed=seed,
        )
        self.shares = zipf_shares(num_categories=num_categories, exponent=zipf_exponent)

    def draw(self, num_samples: int, generator: torch.Generator) -> Samples:
        num_draws = num_samples * self.dimensions
        if not num_draws:
            return Samples(torch.empty(0, self.dimensions))
        shares = torch.tensor(self.shares, dtype=torch.float64)
        codes = torch.multinomial(shares, num_draws, replacement=True, generator=generator)
        values = codes.reshape(num_samples, self.dimensions).float()
        return Samples(values, codes if self.dimensions == 1 else None)


class LinearRegressionSource(AnalyticSource):
    """Standard normal inputs, and outputs x w* + noise with a w* of length 1; inputs are the first columns.

    All outputs share the inputs and w*, and have noise of their own (Gerstgrasser et al. 2024, arXiv:2404.01413).

    Args:
        sample_shape: [dimensions].
        dimensions: Inputs and outputs together.
        num_inputs: How many of them are inputs.
        noise_sd: Standard deviation of the outputs' noise.
        num_train: What generation 0 is trained on.
        num_test: Held out.
        num_reserve: For regimes that take fresh real samples.
        seed: The experiment's seed.

    Attributes:
        coefficients: The true w*, the same for every output.
    """

    name = "linear_regression"

    def __init__(
        self,
        *,
        sample_shape: list[int],
        dimensions: int,
        num_inputs: int,
        noise_sd: int | float,
        num_train: int,
        num_test: int,
        num_reserve: int,
        seed: int,
    ) -> None:
        super().__init__(
            sample_shape=sample_shape,
            dimensions=dimensions,
            num_classes=0,
            num_train=num_train,
            num_test=num_test,
            num_reserve=num_reserve,
            seed=seed,
        )
        check_positive(noise_sd=noise_sd)
        if not 1 <= num_inputs < dimensions:
            raise UsageError(f"data.num_inputs must be between 1 and {dimensions - 1}: got {num_inputs}")
        self.num_inputs, self.noise_sd = num_inputs, float(noise_sd)
        self.coefficients = torch.full((num_inputs,), 1 / sqrt(num_inputs))

    def draw(self, num_samples: int, generator: torch.Generator) -> Samples:
        inputs = torch.randn(num_samples, self.num_inputs, generator=generator)
        noise = torch.randn(num_samples, self.dimensions - self.num_inputs, generator=generator)
        outputs = (inputs @ self.coefficients).unsqueeze(1) + self.noise_sd * noise
        return Samples(torch.cat([inputs, outputs], dim=1))
