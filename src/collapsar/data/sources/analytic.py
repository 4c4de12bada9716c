"""Data drawn from a known distribution, in any number.

Training set, test set and reserve come from separate random streams of the experiment's seed. So two seeds differ in
their real data too, and the expectations in `theory` are taken over these. Samples are float32 vectors.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import sqrt

import torch

from collapsar.data.sources.source import DrawnSource, Sizes
from collapsar.errors import UsageError, check_positive
from collapsar.samples import Samples
from collapsar.theory.formulas import zipf_shares


@dataclass(kw_only=True, eq=False)
class VectorSource(DrawnSource, ABC):
    """A known distribution of vectors.

    Args:
        sample_shape: [dimensions]; models are sized from it.
        num_train: Samples that generation 0 is trained on.
        num_test: Held-out samples.
        num_reserve: For regimes that take fresh real samples; 0 for none.
        seed: The experiment's seed.

    Raises:
        UsageError: a size is too small, or the shape is not [dimensions].
    """

    sample_shape: list[int]
    num_train: int
    num_test: int
    num_reserve: int
    seed: int

    def __post_init__(self) -> None:
        super().__init__(
            sample_shape=self.sample_shape,
            sizes=Sizes(self.num_train, self.num_test, self.num_reserve),
            num_classes=self.count_classes(),
            seed=self.seed,
        )
        if self.sample_shape != [self.width]:
            raise UsageError(f"data.sample_shape must be {[self.width]}, its dimensions: got {self.sample_shape}")

    @property
    @abstractmethod
    def width(self) -> int:
        """Length of a vector."""

    def count_classes(self) -> int:
        """Number of classes; 0 if samples have none."""
        return 0


@dataclass(kw_only=True, eq=False)
class AnalyticSource(VectorSource, ABC):
    """A known distribution of vectors of any length, their `dimensions`."""

    dimensions: int

    def __post_init__(self) -> None:
        check_positive(dimensions=self.dimensions)
        super().__post_init__()

    @property
    def width(self) -> int:
        return self.dimensions


@dataclass(kw_only=True, eq=False)
class GaussianSource(AnalyticSource):
    """The standard normal distribution.

    With a diagonal Gaussian as the model, each dimension is an independent chain.
    """

    name = "gaussian"

    def draw(self, num_samples: int, generator: torch.Generator) -> Samples:
        return Samples(torch.randn(num_samples, self.dimensions, generator=generator))


@dataclass(kw_only=True, eq=False)
class CategoricalSource(AnalyticSource):
    """Categories 0 to K - 1 as numbers, with shares proportional to (k + 1)^-s: a few frequent ones and a tail.

    Dimensions are drawn independently, so each is an independent chain. If there is only one, a sample's label is its
    category.

    Args:
        num_categories: K.
        zipf_exponent: s; 0 makes all categories equally likely.

    Attributes:
        shares: True share of each category.
    """

    name = "categorical"

    num_categories: int
    zipf_exponent: int | float

    def __post_init__(self) -> None:
        check_positive(num_categories=self.num_categories)
        super().__post_init__()
        self.shares = zipf_shares(num_categories=self.num_categories, exponent=self.zipf_exponent)

    def count_classes(self) -> int:
        return self.num_categories if self.dimensions == 1 else 0

    def draw(self, num_samples: int, generator: torch.Generator) -> Samples:
        num_draws = num_samples * self.dimensions
        if not num_draws:
            return Samples(torch.empty(0, self.dimensions))
        shares = torch.tensor(self.shares, dtype=torch.float64)
        codes = torch.multinomial(shares, num_draws, replacement=True, generator=generator)
        values = codes.reshape(num_samples, self.dimensions).float()
        return Samples(values, codes if self.dimensions == 1 else None)


@dataclass(kw_only=True, eq=False)
class LinearRegressionSource(AnalyticSource):
    """Standard normal inputs x and outputs x w* + noise, with |w*| = 1; the inputs are the first columns.

    All outputs share the inputs and w*; each has its own noise (Gerstgrasser et al. 2024, arXiv:2404.01413).

    Args:
        dimensions: Inputs and outputs together.
        num_inputs: At least 1 and below `dimensions`.
        noise_sd: Standard deviation of the outputs' noise.

    Attributes:
        coefficients: The true w*, the same for every output.
    """

    name = "linear_regression"

    num_inputs: int
    noise_sd: int | float

    def __post_init__(self) -> None:
        check_positive(noise_sd=self.noise_sd)
        super().__post_init__()
        if not 1 <= self.num_inputs < self.dimensions:
            raise UsageError(f"data.num_inputs must be between 1 and {self.dimensions - 1}: got {self.num_inputs}")
        self.coefficients = torch.full((self.num_inputs,), 1 / sqrt(self.num_inputs))

    def draw(self, num_samples: int, generator: torch.Generator) -> Samples:
        inputs = torch.randn(num_samples, self.num_inputs, generator=generator)
        noise = torch.randn(num_samples, self.dimensions - self.num_inputs, generator=generator)
        outputs = (inputs @ self.coefficients).unsqueeze(1) + self.noise_sd * noise
        return Samples(torch.cat([inputs, outputs], dim=1))
