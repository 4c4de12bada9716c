"""Flow matching (Lipman et al. 2023, arXiv:2210.02747) on straight lines from noise to data.

The ordinary differential equation dx/dt = v(x, t) turns normal noise at t = 0 into a sample at t = 1. The network v
learns the mean velocity of the lines that pass through x at time t (conditional flow matching, eq. 9, with the optimal
transport path, eq. 20-23, and sigma_min = 0):

    x_t = (1 - t) x_0 + t x_1,    loss = E |v(x_t, t) - (x_1 - x_0)|^2,    x_0 ~ N(0, I),  t ~ U(0, 1)

The minimum is v(x, t) = E[x_1 - x_0 | x_t = x]. Latents are x_0, as many as a sample has values. The encoder solves the
equation from t = 1 back to 0. Networks see images in [-1, 1] and vectors divided by `vector_sd`.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from collapsar.errors import UsageError, check_positive
from collapsar.models.bias import Bias
from collapsar.models.course import Losses, Player
from collapsar.models.flow.flow_bodies import Body, make_body
from collapsar.models.latent import SAMPLES_PER_CHUNK
from collapsar.models.layers import Layers, Norm, scaled
from collapsar.models.learned import LearnedModel
from collapsar.models.plan import Plan
from collapsar.samples import Samples, to_model_range

Solver = Literal["euler", "midpoint"]
Velocity = Callable[[Float[Tensor, "*samples"], float], Float[Tensor, "*samples"]]
"""dx/dt of each sample at one time in [0, 1]."""


class Flow(LearnedModel):
    """A flow of images or vectors.

    Args:
        sample_shape: Channels, height and width of an image, or the number of dimensions.
        body: Network of the velocity: `unet` or `mlp` (`flow_bodies.py`); null: `unet` for images, else `mlp`.
        patch_side: Side in pixels of the patches that `unet` works on; `mlp` ignores it.
        width: Channels of the first stage of `unet`; hidden layers of `mlp` have 8 times as many units.
        vector_sd: Divisor of vectors, about their standard deviation; ignored for images.
        solver: `euler` (one velocity for each step) or `midpoint` (two).
        num_steps: Steps of the solver, from noise to data and back.
        learning_rate: Of Adam.
        norm: The norm before each hidden activation (`layers.py`); null: `group` in `unet`, `layer` in `mlp`.
        depth: Extra blocks in each stage; null: none.
        dropout: Share of hidden activations dropped in training; null: none.
        width_factor: Factor of the width; null: 1.
        num_classes: Number of classes that the flow is conditioned on (`conditioning.py`); null: none.
    """

    name = "flow"
    takes_vectors = True
    plan_keys = frozenset({"augmentation"})

    def __init__(
        self,
        *,
        sample_shape: Sequence[int],
        body: Body | None,
        patch_side: int,
        width: int,
        vector_sd: int | float,
        solver: Solver,
        num_steps: int,
        learning_rate: float,
        norm: Norm | None,
        depth: int | None,
        dropout: float | None,
        width_factor: float | None,
        num_classes: int | None,
    ) -> None:
        super().__init__(sample_shape=sample_shape, latent_dim=prod(sample_shape), num_classes=num_classes)
        check_positive(
            patch_side=patch_side, width=width, vector_sd=vector_sd, num_steps=num_steps, learning_rate=learning_rate
        )
        self.save_hyperparameters()
        self.is_of_images = len(self.sample_shape) == 3
        body = body or ("unet" if self.is_of_images else "mlp")
        if body == "unet" and not self.is_of_images:
            raise UsageError(f"model.body=unet is of images, and samples have the shape {list(sample_shape)}: set mlp")
        layers = Layers(norm=norm or NORMS[body], depth=depth or 0, dropout=dropout or 0.0)
        self.smallest_batch = 2 if layers.norm == "batch" else 1
        self.vector_sd, self.solver, self.num_steps = float(vector_sd), solver, num_steps
        self.learning_rate = learning_rate
        self.network = make_body(
            body,
            self.sample_shape,
            width=scaled(width, width_factor),
            patch_side=patch_side,
            num_classes=num_classes,
            layers=layers,
        )

    def decode(
        self,
        latents: Float[Tensor, "sample latent"],
        generator: torch.Generator,
        *,
        likelihood_spread: float,
        labels: Int64[Tensor, " sample"] | None = None,
    ) -> Float[Tensor, "*samples"]:
        noise = latents.unflatten(1, self.sample_shape)
        data = solve(self._velocity(labels), noise, begin=0.0, end=1.0, num_steps=self.num_steps, solver=self.solver)
        return 0.5 * (data + 1) if self.is_of_images else self.vector_sd * data

    @torch.inference_mode()
    def encode(self, samples: Samples) -> Float[Tensor, "sample latent"]:
        """The noise of each sample, from the same solver run backwards; float32, on the CPU."""
        chunks = []
        for start in range(0, len(samples), SAMPLES_PER_CHUNK):
            chunk = samples[start : start + SAMPLES_PER_CHUNK].to(self.device)
            velocity, data = self._velocity(self.classes_of(chunk)), self._seen(to_model_range(chunk.values))
            noise = solve(velocity, data, begin=1.0, end=0.0, num_steps=self.num_steps, solver=self.solver)
            chunks.append(noise.flatten(1).cpu())
        return torch.cat(chunks)

    def _velocity(self, labels: Int64[Tensor, " sample"] | None) -> Velocity:
        """The velocity of samples of these classes, as a function of position and time."""

        def velocity(position: Tensor, time: float) -> Tensor:
            times = torch.full((len(position),), time, device=position.device)
            return self.velocities(position, times, labels)

        return velocity

    def velocities(
        self,
        position: Float[Tensor, "*samples"],
        time: Float[Tensor, " sample"],
        labels: Int64[Tensor, " sample"] | None = None,
    ) -> Float[Tensor, "*samples"]:
        """The velocity of each sample at its own time, in [0, 1]."""
        velocity: Tensor = self.network(position, time, labels)
        return velocity.float()

    def _seen(self, values: Float[Tensor, "*samples"]) -> Float[Tensor, "*samples"]:
        """Values in model range, scaled for the network."""
        return 2 * values - 1 if self.is_of_images else values / self.vector_sd

    def check_bias(self, bias: Bias) -> None:
        if bias.likelihood_spread != 1:
            raise UsageError(
                "bias=tempered_likelihood does nothing to a flow, which draws from no likelihood: choose "
                "bias=scaled_latents or truncated_latents, which act on the noise that it begins with"
            )

    def check_plan(self, plan: Plan) -> None:
        super().check_plan(plan)
        if plan.augmentation is not None and not self.is_of_images:
            raise UsageError(
                f"training.augmentation is of images, and samples have the shape {list(self.sample_shape)}: set "
                "training.augmentation=null"
            )

    def players(self) -> Sequence[Player]:
        return [Player(module=self, losses=self.losses, learning_rate=self.learning_rate)]

    def losses(self, batch: Samples, shared: Any) -> Losses:
        """The squared error of the velocity, summed over the values of a sample, as `loss`."""
        values = to_model_range(batch.values)
        data = self._seen(self.augmented(values) if self.is_of_images else values)
        noise = torch.randn_like(data)
        time = torch.rand(len(data), device=data.device)
        velocity = self.velocities(between(noise, data, time=time), time, self.classes_of(batch))
        return {"loss": (velocity - (data - noise)).square().sum() / len(data)}


NORMS: dict[Body, Norm] = {"unet": "group", "mlp": "layer"}


def between(
    noise: Float[Tensor, "*samples"], data: Float[Tensor, "*samples"], *, time: Float[Tensor, " sample"]
) -> Float[Tensor, "*samples"]:
    """x_t of each sample, on the line from its noise (time 0) to its data (time 1)."""
    return torch.lerp(noise, data, time.reshape(-1, *[1] * (data.ndim - 1)))


def solve(
    velocity: Velocity,
    start: Float[Tensor, "*samples"],
    *,
    begin: float,
    end: float,
    num_steps: int,
    solver: Solver,
) -> Float[Tensor, "*samples"]:
    """Solve dx/dt = v(x, t) from `start` in equal steps of time; if end is below begin, time runs backwards.

    The error is of order 1 / num_steps with `euler`, 1 / num_steps² with `midpoint`.
    """
    position, step, slope = start, (end - begin) / num_steps, SLOPES[solver]
    for number in range(num_steps):
        position = position + step * slope(velocity, position, begin + number * step, step)
    return position


def euler(velocity: Velocity, position: Tensor, time: float, step: float) -> Tensor:
    """The velocity at the beginning of a step."""
    return velocity(position, time)


def midpoint(velocity: Velocity, position: Tensor, time: float, step: float) -> Tensor:
    """The velocity at the point that Euler's method reaches after half a step."""
    return velocity(position + 0.5 * step * velocity(position, time), time + 0.5 * step)


SLOPES: dict[Solver, Callable[[Velocity, Tensor, float, float], Tensor]] = {"euler": euler, "midpoint": midpoint}
