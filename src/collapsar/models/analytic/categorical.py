"""A histogram of categories: its chain is the Wright-Fisher process of population genetics (see `theory`)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from collapsar.errors import UsageError, check_positive
from collapsar.models.analytic.analytic import AnalyticModel
from collapsar.models.bias import temper_probabilities
from collapsar.models.shapes import PerSample, Rows


class Categorical(AnalyticModel):
    """A histogram over categories 0 to K - 1, for each dimension separately.

    Args:
        num_categories: K; null, for data without categories, raises UsageError.
    """

    name = "categorical"
    is_continuous = False
    parameter_names = ("probabilities",)
    probabilities: Tensor  # [dimension, category]

    def __init__(self, *, sample_shape: Sequence[int], num_categories: int | None) -> None:
        super().__init__(sample_shape=sample_shape)
        if num_categories is None:
            raise UsageError("model=categorical needs categories: choose data=categorical")
        check_positive(num_categories=num_categories)
        self.num_categories = num_categories

    def fit(self, samples: Rows, *, weights: PerSample | None, generator: torch.Generator) -> None:
        categories = range(self.num_categories)
        if samples.min() < 0 or samples.max() >= self.num_categories or not torch.equal(samples, samples.round()):
            raise UsageError(
                f"model=categorical models whole numbers from 0 to {self.num_categories - 1}: got values from "
                f"{samples.min():g} to {samples.max():g}"
            )
        if weights is None:
            shares = [(samples == category).sum(0).double() / len(samples) for category in categories]
        else:
            shares = [weights.double() @ (samples == category).double() for category in categories]
        self.probabilities = torch.stack(shares, dim=1)

    def draw(self, num_samples: int, generator: torch.Generator, *, spread: float) -> Rows:
        cumulative = temper_probabilities(self.probabilities, spread=spread).cumsum(1)
        # exactly 1 from the last possible category on, so that no impossible one is drawn
        cumulative = cumulative / cumulative[:, -1:]
        uniform = torch.rand(num_samples, len(cumulative), generator=generator, dtype=torch.float64)
        return torch.searchsorted(cumulative, uniform.T.contiguous(), right=True).T.float()
