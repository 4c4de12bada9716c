"""Models whose fit is a formula: how the loop behaves with them is known in closed form (see `theory`).

They are fitted to a whole pool at once, without a Trainer. Samples are float32 vectors. A *diagonal* Gaussian or a
histogram treats each dimension separately: a chain in D dimensions is D independent chains (`collapsar-verify`).
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from threadpoolctl import threadpool_limits
from torch import Tensor

from collapsar.foundations.errors import NonFiniteError, UsageError, check_positive
from collapsar.foundations.samples import Samples
from collapsar.foundations.seeding import draw_weighted
from collapsar.models.bias import UNBIASED, Bias, temper_probabilities
from collapsar.models.generative import GenerativeModel
from collapsar.models.shapes import PerSample, Rows


class AnalyticModel(GenerativeModel, ABC):
    """A model of vectors that is fitted by a formula.

    Its parameters are buffers of these names, empty before the fit; a checkpoint loads into an unfitted model.
    """

    is_trained_in_steps: ClassVar[bool] = False
    parameter_names: ClassVar[Sequence[str]]

    def __init__(self, *, sample_shape: Sequence[int]) -> None:
        super().__init__()
        if len(sample_shape) != 1:
            problem = f"model={self.name} models vectors: got samples of shape {list(sample_shape)}"
            advice = "choose vae or gan for images, or data=gaussian, ring, grid, categorical or linear_regression"
            raise UsageError(f"{problem}; {advice}")
        self.num_dimensions = sample_shape[0]
        for name in self.parameter_names:
            self.register_buffer(name, torch.empty(0))
        self.register_load_state_dict_pre_hook(take_saved_shapes)

    @abstractmethod
    def fit(self, samples: Rows, *, weights: PerSample | None, generator: torch.Generator) -> None:
        """Set the parameters from all samples of a pool; UsageError if the model cannot describe them.

        The weights, one for each sample, sum to 1; None: equal weights. The generator is for fits that draw.
        """

    @abstractmethod
    def draw(self, num_samples: int, generator: torch.Generator, *, spread: float) -> Rows:
        """Independent draws from the model's density to the power 1 / `spread`, normalised (`bias.py`)."""

    def sample(self, num_samples: int, generator: torch.Generator | None = None, *, bias: Bias = UNBIASED) -> Samples:
        if not all(torch.isfinite(parameter).all() for parameter in self.buffers()):
            raise NonFiniteError(
                "the fitted parameters hold NaN or infinite values: look at the pool they were fitted to"
            )
        return Samples(self.draw(num_samples, generator or torch.default_generator, spread=bias.spread))

    def fitted_parameters(self) -> dict[str, Any]:
        return {name: self.get_buffer(name).tolist() for name in self.parameter_names}


class Gaussian(AnalyticModel):
    """A normal distribution.

    A variance by `maximum_likelihood` divides by the number of samples n, `unbiased` by n - 1. With weights w it
    divides the weighted mean square by 1 - sum w², which is (n - 1) / n for equal weights.
    """

    name = "gaussian"
    parameter_names = ("mean", "covariance")
    mean: Tensor
    covariance: Tensor  # variances only, if diagonal

    def __init__(
        self,
        *,
        sample_shape: Sequence[int],
        covariance: Literal["diagonal", "full"],
        variance: Literal["maximum_likelihood", "unbiased"],
    ) -> None:
        super().__init__(sample_shape=sample_shape)
        self.is_full, self.is_unbiased = covariance == "full", variance == "unbiased"
        self.smallest_pool = (f"model.variance={variance}", 2 if self.is_unbiased else 1)

    def fit(self, samples: Rows, *, weights: PerSample | None, generator: torch.Generator) -> None:
        shares = torch.full((len(samples),), 1 / len(samples)) if weights is None else weights.float()
        self.mean = shares @ samples
        centred = samples - self.mean  # a second pass: the difference of two moments would cancel
        moment = (centred.T * shares) @ centred if self.is_full else shares @ centred.square_()
        self.covariance = moment / (1 - shares.square().sum()) if self.is_unbiased else moment

    def draw(self, num_samples: int, generator: torch.Generator, *, spread: float) -> Rows:
        covariance = spread * self.covariance
        noise = torch.randn(num_samples, len(self.mean), generator=generator)
        if self.is_full:
            return self.mean + noise @ square_root(covariance)
        return noise.mul_(covariance.sqrt()).add_(self.mean)

    def fitted_parameters(self) -> dict[str, Any]:
        key = "covariance" if self.is_full else "variance"
        return {"mean": self.mean.tolist(), key: self.covariance.tolist()}


class Categorical(AnalyticModel):
    """A histogram over categories 0 to K - 1, for each dimension separately: its chain is the Wright-Fisher process."""

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
            problem = f"model=categorical models whole numbers from 0 to {self.num_categories - 1}"
            raise UsageError(f"{problem}: got values from {samples.min():g} to {samples.max():g}")
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


class LinearRegression(AnalyticModel):
    """Least squares from the first columns of a sample, its inputs, to the others, its outputs.

    Samples are y = x w + noise at the inputs x of the fit, in their order and then from the first again. So the design
    stays that of the real data, as in Gerstgrasser et al. 2024 (arXiv:2404.01413, section 3). `noise_sd`, the standard
    deviation of the noise, is known and not fitted. It and `num_inputs` are null for data without inputs: UsageError.
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
        self.smallest_pool = (f"model.num_inputs={num_inputs}", num_inputs)

    def fit(self, samples: Rows, *, weights: PerSample | None, generator: torch.Generator) -> None:
        inputs, outputs = samples.split([self.num_inputs, self.num_dimensions - self.num_inputs], dim=1)
        root = 1.0 if weights is None else weights.float().sqrt().unsqueeze(1)
        self.inputs = inputs.contiguous()
        self.coefficients = torch.linalg.lstsq(root * inputs, root * outputs).solution

    def draw(self, num_samples: int, generator: torch.Generator, *, spread: float) -> Rows:
        inputs = self.inputs[torch.arange(num_samples) % len(self.inputs)]
        noise_variance = spread * torch.tensor(self.noise_sd**2)
        noise = torch.randn(num_samples, self.num_dimensions - self.num_inputs, generator=generator)
        return torch.cat([inputs, inputs @ self.coefficients + noise_variance.sqrt() * noise], dim=1)

    def fitted_parameters(self) -> dict[str, Any]:
        return {"coefficients": self.coefficients.tolist()}


class Mixture(AnalyticModel):
    """A mixture of normal distributions with full covariances, by scikit-learn's EM.

    EM takes no weights, so a weighted pool is first resampled in proportion to them. The bias acts on each component's
    covariance, not on the shares. Of `num_starts` k-means starts the likeliest fit is kept. `min_variance` is added to
    each variance, so that no component collapses onto one sample.
    """

    name = "mixture"
    parameter_names = ("shares", "means", "covariances")
    shares: Tensor
    means: Tensor
    covariances: Tensor

    def __init__(
        self, *, sample_shape: Sequence[int], num_components: int, num_starts: int, max_steps: int, min_variance: float
    ) -> None:
        super().__init__(sample_shape=sample_shape)
        check_positive(
            num_components=num_components, num_starts=num_starts, max_steps=max_steps, min_variance=min_variance
        )
        self.num_components = num_components
        self.smallest_pool = (f"model.num_components={num_components}", num_components)
        self.settings = {"n_init": num_starts, "max_iter": max_steps, "reg_covar": min_variance}

    def fit(self, samples: Rows, *, weights: PerSample | None, generator: torch.Generator) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        if weights is not None:
            samples = samples[draw_weighted(weights, len(samples), generator=generator)]
        start = int(torch.randint(2**31, (), generator=generator))
        mixture = GaussianMixture(self.num_components, random_state=start, **self.settings)
        # Several threads sum in another order; a collapsed pool has fewer distinct samples than components.
        with threadpool_limits(limits=1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # an almost converged fit is good enough
            mixture.fit(samples.double().cpu().numpy())
        fitted = mixture.weights_, mixture.means_, mixture.covariances_
        self.shares, self.means, self.covariances = (torch.from_numpy(each).float() for each in fitted)

    def draw(self, num_samples: int, generator: torch.Generator, *, spread: float) -> Rows:
        roots = square_root(spread * self.covariances)
        chosen = torch.multinomial(self.shares, num_samples, replacement=True, generator=generator)
        noise = torch.randn(num_samples, 1, self.num_dimensions, generator=generator)
        return self.means[chosen] + (noise @ roots[chosen]).squeeze(1)


class KernelDensity(AnalyticModel):
    """A normal kernel around each sample of the pool, on which the bias acts; each generation adds its variance.

    `bandwidth` is the kernel's standard deviation, above 0, in units of each dimension's own; null: Scott's rule,
    n^(-1/(D+4)). `absolute_bandwidth` is the same in the data's unit, in every generation, and takes its place.
    """

    name = "kde"
    parameter_names = ("centres", "weights", "kernel_sd")
    centres: Tensor
    weights: Tensor
    kernel_sd: Tensor

    def __init__(
        self, *, sample_shape: Sequence[int], bandwidth: float | None, absolute_bandwidth: float | None = None
    ) -> None:
        super().__init__(sample_shape=sample_shape)
        given = {"model.bandwidth": bandwidth, "model.absolute_bandwidth": absolute_bandwidth}
        check_positive(**{key: value for key, value in given.items() if value is not None})
        if None not in given.values():
            problem = "model.bandwidth and model.absolute_bandwidth exclude each other"
            raise UsageError(f"{problem}: got {bandwidth} and {absolute_bandwidth}; set one of them to null")
        self.bandwidth, self.absolute_bandwidth = bandwidth, absolute_bandwidth

    def fit(self, samples: Rows, *, weights: PerSample | None, generator: torch.Generator) -> None:
        shares = torch.full((len(samples),), 1 / len(samples)) if weights is None else weights.float()
        spread = (shares @ (samples - shares @ samples).square()).sqrt()
        relative = self.bandwidth or len(samples) ** (-1 / (self.num_dimensions + 4))
        own = self.absolute_bandwidth
        self.kernel_sd = relative * spread if own is None else torch.full_like(spread, own)
        self.centres, self.weights = samples, shares

    def draw(self, num_samples: int, generator: torch.Generator, *, spread: float) -> Rows:
        variance = spread * self.kernel_sd.square()
        chosen = draw_weighted(self.weights, num_samples, generator=generator)
        noise = torch.randn(num_samples, self.num_dimensions, generator=generator)
        return self.centres[chosen] + variance.sqrt() * noise

    def fitted_parameters(self) -> dict[str, Any]:
        mean = self.weights @ self.centres
        variance = self.weights @ (self.centres - mean).square() + self.kernel_sd.square()
        return {"mean": mean.tolist(), "variance": variance.tolist(), "kernel_sd": self.kernel_sd.tolist()}


def take_saved_shapes(model: AnalyticModel, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Before a state is loaded, give buffers the saved shapes, which depend on the pool."""
    for name, buffer in list(model.named_buffers()):
        if prefix + name in state:
            setattr(model, name, torch.empty_like(state[prefix + name], device=buffer.device))


def square_root(covariance: Float[Tensor, "*batch dim dim"]) -> Float[Tensor, "*batch dim dim"]:
    """The symmetric square root; unlike a Cholesky factor it exists when the covariance is singular."""
    eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
    return (eigenvectors * eigenvalues.clamp(min=0).sqrt().unsqueeze(-2)) @ eigenvectors.mT
