"""Least squares: each generation of a chain predicts outputs of the same inputs (see `theory`)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from collapsar.errors import UsageError
from collapsar.models.analytic.analytic import AnalyticModel, refuse_non_finite
from collapsar.models.shapes import PerSample, Rows


class LinearRegression(AnalyticModel):
    """Least squares from the first columns of a sample, its inputs, to the others, its outputs.

    Samples are y = x w + noise at the inputs x of the fit, in their order and then from the first again. So the design
    stays that of the real data, as in Gerstgrasser et al. 2024 (arXiv:2404.01413, section 3).

    Args:
        num_inputs: Number of input columns; null, for data without inputs, raises UsageError.
        noise_sd: Standard deviation of the outputs' noise, which is known and not fitted; null as above.
    """

    name = "linear_regression"
    parameter_names = ("inputs", "coefficients")
    inputs: Tensor
    coefficients: Tensor  # [input, output]

    def __init__(self, *, sample_shape: Sequence[int], num_inputs: int | None, noise_sd: int | float | None) -> None:
        super().__init__(sample_shape=sample_shape)
        if num_inputs is None or noise_sd is None:
            raise UsageError("model=linear_regression needs inputs and outputs: choose data=linear_regression")
        if not 1 <= num_inputs < self.num_dimensions:
            raise UsageError(f"num_inputs must be between 1 and {self.num_dimensions - 1}: got {num_inputs}")
        self.num_inputs, self.noise_sd = num_inputs, float(noise_sd)

    def check_pool_size(self, pool_size: int) -> None:
        if pool_size < self.num_inputs:
            raise UsageError(f"least squares on {self.num_inputs} inputs needs as many samples: got {pool_size}")

    def fit(self, samples: Rows, *, weights: PerSample | None, generator: torch.Generator) -> None:
        self.check_pool_size(len(samples))
        inputs, outputs = samples.split([self.num_inputs, self.num_dimensions - self.num_inputs], dim=1)
        root = 1.0 if weights is None else weights.float().sqrt().unsqueeze(1)
        self.inputs = inputs.contiguous()
        self.coefficients = torch.linalg.lstsq(root * inputs, root * outputs).solution

    def draw(self, num_samples: int, generator: torch.Generator, *, spread: float) -> Rows:
        refuse_non_finite(self.coefficients)
        inputs = self.inputs[torch.arange(num_samples) % len(self.inputs)]
        noise_variance = spread * torch.tensor(self.noise_sd**2)
        noise = torch.randn(num_samples, self.num_dimensions - self.num_inputs, generator=generator)
        return torch.cat([inputs, inputs @ self.coefficients + noise_variance.sqrt() * noise], dim=1)

    def fitted_parameters(self) -> dict[str, Any]:
        return {"coefficients": self.coefficients.tolist()}
