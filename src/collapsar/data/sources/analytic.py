"""Data drawn from a known distribution, in any number.

Training set, test set and reserve come from separate random streams of the experiment's seed. So two seeds differ in
their real data too, and the expectations in `theory` are taken over these. Samples are float32 vectors.
"""

from abc import ABC
from dataclasses import dataclass
from math import sqrt

import torch

from collapsar.data.real_data import DrawnSource, Sizes
from collapsar.foundations.errors import UsageError, check_positive
from collapsar.foundations.samples import Samples
from collapsar.theory.formulas import zipf_shares


@dataclass(kw_only=True, eq=False)
class VectorSource(DrawnSource, ABC):
    """A known distribution of vectors."""

    sample_shape: list[int]  # [dimensions]; models are sized from it
    num_train: int  # samples that generation 0 is trained on
    num_test: int  # held-out samples
    num_reserve: int  # for regimes that take fresh real samples; 0 for none
    seed: int  # of the experiment

    def begin(self, *, dimensions: int, num_classes: int = 0) -> None:
        """Check sizes and shape; a constructor calls this last."""
        check_positive(dimensions=dimensions)
        sizes = Sizes(self.num_train, self.num_test, self.num_reserve)
        super().__init__(sample_shape=self.sample_shape, sizes=sizes, num_classes=num_classes, seed=self.seed)
        if self.sample_shape != [dimensions]:
            raise UsageError(f"data.sample_shape must be {[dimensions]}, its dimensions: got {self.sample_shape}")


@dataclass(kw_only=True, eq=False)
class GaussianSource(VectorSource):
    """The standard normal distribution; with a diagonal Gaussian as the model, each dimension is a chain of its own."""

    name = "gaussian"

    dimensions: int

    def __post_init__(self) -> None:
        self.begin(dimensions=self.dimensions)

    def draw(self, num_samples: int, generator: torch.Generator) -> Samples:
        return Samples(torch.randn(num_samples, self.dimensions, generator=generator))


@dataclass(kw_only=True, eq=False)
class CategoricalSource(VectorSource):
    """Categories 0 to K - 1 as numbers, with shares proportional to (k + 1)^-s: a few frequent ones and a tail.

    Dimensions are drawn independently, so each is a chain of its own. If there is only one, a sample's label is its
    category. `shares` holds the true share of each category.
    """

    name = "categorical"

    dimensions: int
    num_categories: int  # K
    zipf_exponent: int | float  # s; 0 makes all categories equally likely

    def __post_init__(self) -> None:
        check_positive(num_categories=self.num_categories)
        self.begin(dimensions=self.dimensions, num_classes=self.num_categories if self.dimensions == 1 else 0)
        self.shares = zipf_shares(num_categories=self.num_categories, exponent=self.zipf_exponent)

    def draw(self, num_samples: int, generator: torch.Generator) -> Samples:
        num_draws = num_samples * self.dimensions
        if not num_draws:
            return Samples(torch.empty(0, self.dimensions))
        shares = torch.tensor(self.shares, dtype=torch.float64)
        codes = torch.multinomial(shares, num_draws, replacement=True, generator=generator)
        values = codes.reshape(num_samples, self.dimensions).float()
        return Samples(values, codes if self.dimensions == 1 else None)


@dataclass(kw_only=True, eq=False)
class LinearRegressionSource(VectorSource):
    """Standard normal inputs x and outputs x w* + noise, with |w*| = 1; the inputs are the first columns.

    All outputs share the inputs and w*, the `coefficients`; each has its own noise (Gerstgrasser et al. 2024,
    arXiv:2404.01413).
    """

    name = "linear_regression"

    dimensions: int  # inputs and outputs together
    num_inputs: int  # at least 1 and below `dimensions`
    noise_sd: int | float  # of the outputs

    def __post_init__(self) -> None:
        check_positive(noise_sd=self.noise_sd)
        self.begin(dimensions=self.dimensions)
        if not 1 <= self.num_inputs < self.dimensions:
            raise UsageError(f"data.num_inputs must be between 1 and {self.dimensions - 1}: got {self.num_inputs}")
        self.coefficients = torch.full((self.num_inputs,), 1 / sqrt(self.num_inputs))

    def draw(self, num_samples: int, generator: torch.Generator) -> Samples:
        inputs = torch.randn(num_samples, self.num_inputs, generator=generator)
        noise = torch.randn(num_samples, self.dimensions - self.num_inputs, generator=generator)
        outputs = (inputs @ self.coefficients).unsqueeze(1) + self.noise_sd * noise
        return Samples(torch.cat([inputs, outputs], dim=1))
