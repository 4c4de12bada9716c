"""Flow matching (Lipman et al. 2023, arXiv:2210.02747) on straight lines from noise to data.

The ordinary differential equation dx/dt = v(x, t) turns normal noise at t = 0 into a sample at t = 1. The network v
learns the mean velocity of the lines that pass through x at time t (conditional flow matching, eq. 9, with the optimal
transport path, eq. 20-23, and sigma_min = 0):

    x_t = (1 - t) x_0 + t x_1,    loss = E |v(x_t, t) - (x_1 - x_0)|^2,    x_0 ~ N(0, I),  t ~ U(0, 1)

The minimum is v(x, t) = E[x_1 - x_0 | x_t = x]. Latents are x_0. If a flow is stopped early, at 1 - t0, samples are
x / (1 - t0): the noise that is left adds (t0 / (1 - t0))² to their variance in every generation, as in a diffusion.
Guidance w, the sampling bias of the diffusions in Alemohammad et al. 2023, samples from (1 + w) v(x, t, class) -
w v(x, t) (Ho & Salimans 2022, arXiv:2207.12598, eq. 6, of velocities); v(x, t) is learnt from hidden classes.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor

from collapsar.foundations.errors import UsageError, check_not_negative, check_positive
from collapsar.foundations.samples import Samples, to_model_range
from collapsar.models.course import Losses, Player
from collapsar.models.flow.flow_bodies import BODIES, Body
from collapsar.models.layers import Layers, Norm, scaled
from collapsar.models.learned import LearnedModel
from collapsar.models.shapes import Labels, Latents, PerSample, Values

Solver = Literal["euler", "midpoint"]
HIDDEN_CLASSES = 0.1  # share of a batch whose class is hidden if sampling is guided; the authors have .1 and .2


class Flow(LearnedModel):
    """A flow of images or vectors; `conf/model/flow.yaml` explains its arguments."""

    name = "flow"
    takes_vectors = True
    has_likelihood = False

    def __init__(
        self,
        *,
        sample_shape: Sequence[int],
        body: Body | None = None,
        patch_side: int = 2,
        width: int = 32,
        vector_sd: int | float = 1.0,
        solver: Solver = "midpoint",
        num_steps: int = 10,
        learning_rate: float = 0.001,
        norm: Norm | None = None,
        depth: int | None = None,
        dropout: float | None = None,
        width_factor: float | None = None,
        num_classes: int | None = None,
        stopped_early: int | float | None = None,
        churn: int | float | None = None,
        guidance: int | float | None = None,
    ) -> None:
        super().__init__(sample_shape=sample_shape, latent_dim=prod(sample_shape), num_classes=num_classes)
        check_positive(
            patch_side=patch_side, width=width, vector_sd=vector_sd, num_steps=num_steps, learning_rate=learning_rate
        )
        if stopped_early is not None and not 0 <= stopped_early < 1:
            raise UsageError(f"model.stopped_early must be at least 0 and below 1, or null: got {stopped_early}")
        check_not_negative(**{"model.churn": churn or 0, "model.guidance": guidance or 0})
        if guidance and num_classes is None:
            raise UsageError(f"model.guidance={guidance} needs a model of classes: set lever=[class_conditional]")
        self.stopped_early, self.churn, self.guidance = stopped_early or 0.0, churn or 0.0, guidance or 0.0
        self.end = 1 - self.stopped_early  # the time at which samples are taken
        self.save_hyperparameters()
        self.is_of_images = len(self.sample_shape) == 3
        self.plan_keys = frozenset({"augmentation"} if self.is_of_images else {})
        body = body or ("unet" if self.is_of_images else "mlp")
        if body == "unet" and not self.is_of_images:
            raise UsageError(f"model.body=unet is of images, and samples have the shape {list(sample_shape)}: set mlp")
        layers = Layers(norm=norm or NORMS[body], depth=depth or 0, dropout=dropout or 0.0)
        self.smallest_batch = 2 if layers.norm == "batch" else 1
        self.vector_sd, self.solver, self.num_steps = float(vector_sd), solver, num_steps
        self.learning_rate = learning_rate
        self.network = BODIES[body](
            self.sample_shape,
            width=scaled(width, width_factor),
            patch_side=patch_side,
            num_classes=num_classes,
            layers=layers,
        )

    def decode(
        self, latents: Latents, generator: torch.Generator, *, likelihood_spread: float, labels: Labels | None = None
    ) -> Values:
        noise = latents.unflatten(1, self.sample_shape)
        data = self._solve(noise, labels, begin=0.0, end=self.end, churn=self.churn, generator=generator)
        data = data / self.end  # of the data's size, with the noise that is left
        return 0.5 * (data + 1) if self.is_of_images else self.vector_sd * data

    def encode(self, samples: Samples) -> Latents:
        """The noise of each sample, from the same solver run backwards; float32, on the CPU."""
        backwards = partial(self._solve, begin=self.end, end=0.0)
        return self.in_chunks(samples, lambda own, labels: backwards(self.end * self._seen(own), labels)).flatten(1)

    def _solve(self, start: Values, labels: Labels | None, **way: Any) -> Values:
        def velocity(position: Values, time: float) -> Values:
            times = torch.full((len(position),), time, device=position.device)
            own = self.velocities(position, times, labels)
            if not self.guidance or labels is None:
                return own
            return torch.lerp(self.velocities(position, times, self.hidden(labels)), own, 1 + self.guidance)

        return solve(velocity, start, num_steps=self.num_steps, solver=self.solver, **way)

    def velocities(self, position: Values, time: PerSample, labels: Labels | None = None) -> Values:
        """The velocity of each sample at its own time, in [0, 1]."""
        velocity: Tensor = self.network(position, time, labels)
        return velocity.float()

    def hidden(self, labels: Labels) -> Labels:
        """The label of an unknown class in place of each."""
        return torch.full_like(labels, self.num_classes or 0)

    def _seen(self, values: Values) -> Values:
        return 2 * values - 1 if self.is_of_images else values / self.vector_sd

    def players(self) -> Sequence[Player]:
        return [Player(module=self, losses=self.losses, learning_rate=self.learning_rate)]

    def losses(self, batch: Samples, shared: Any) -> Losses:
        """The squared error of the velocity, summed over the values of a sample, as `loss`."""
        data = self._seen(self.augmented(to_model_range(batch.values)))
        noise = torch.randn_like(data)
        time = torch.rand(len(data), device=data.device)
        labels = self.classes_of(batch)
        if self.guidance and labels is not None:
            labels = self.hidden(labels).where(torch.rand_like(time) < HIDDEN_CLASSES, labels)
        velocity = self.velocities(between(noise, data, time=time), time, labels)
        return {"loss": (velocity - (data - noise)).square().sum() / len(data)}


NORMS: dict[Body, Norm] = {"unet": "group", "mlp": "layer"}


def between(noise: Values, data: Values, *, time: PerSample) -> Values:
    """x_t of each sample, on the line from its noise (time 0) to its data (time 1)."""
    return torch.lerp(noise, data, time.reshape(-1, *[1] * (data.ndim - 1)))


def solve(
    velocity: Callable[[Values, float], Values],
    start: Values,
    *,
    begin: float,
    end: float,
    num_steps: int,
    solver: Solver,
    churn: float = 0.0,
    generator: torch.Generator | None = None,
) -> Values:
    """Solve dx/dt = v(x, t) from `start` in equal steps of time; if end is below begin, time runs backwards.

    `euler` takes the velocity at the beginning of a step, with an error of order 1 / num_steps; `midpoint` that where
    `euler` is after half of the step, with an error of order 1 / num_steps².

    With a churn c above 0 it solves dx = (v + c (t v - x)) dt + sqrt(2 c (1 - t)) dW, which has the same distributions,
    with the generator's noise. The score of x_t is (t v - x) / (1 - t), and c (1 - t) times it undoes what the noise
    adds (Song et al. 2021, arXiv:2011.13456, for diffusions). Steps are Euler-Maruyama's; the last one adds no noise.
    """
    position, step = start, (end - begin) / num_steps
    for number in range(num_steps):
        time = begin + number * step
        slope = velocity(position, time)
        if churn:
            slope = slope + churn * (time * slope - position)
        elif solver == "midpoint":
            slope = velocity(position + 0.5 * step * slope, time + 0.5 * step)
        position = position + step * slope
        if churn and number + 1 < num_steps:
            noise = torch.randn(position.shape, generator=generator).to(position.device)
            position = position + (2 * churn * (1 - time) * step) ** 0.5 * noise
    return position
