"""The players of a training, their optimisers, and what changes during it: rate factors, averages, progress.

An average of weights is an exponential moving one that suits short trainings too:

    average = d average + (1 - d) weights,   d = min(decay, (1 + n) / (10 + n)) in move n, counted from 0

With a constant decay near 1 the average would stay near the initial weights of a short training. The second term, which
TensorFlow's `ExponentialMovingAverage` has too, makes it an average over about the last tenth of the moves.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from math import inf
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.optim.swa_utils import AveragedModel

from collapsar.errors import UsageError
from collapsar.models.plan import Plan
from collapsar.samples import Samples

ADAM_BETAS = (0.9, 0.999)  # torch's own

Losses = dict[str, Tensor]
"""Scalars by name; the first is minimised, the others are only logged."""
OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    cls.__name__.lower(): cls for cls in (optim.Adam, optim.AdamW, optim.NAdam, optim.RAdam, optim.RMSprop, optim.SGD)
}
FUSED = ("adam", "adamw", "sgd")  # these have a fused step on every device
MOMENTUM = 0.9  # of sgd


def as_betas(adam_betas: Sequence[float]) -> tuple[float, float]:
    """The betas of Adam; UsageError if they are not two numbers in [0, 1)."""
    if len(adam_betas) != 2 or not all(0 <= beta < 1 for beta in adam_betas):
        raise UsageError(f"adam_betas must be two numbers from 0 up to, but not including, 1: got {adam_betas}")
    return adam_betas[0], adam_betas[1]


@dataclass(frozen=True, kw_only=True)
class Player:
    """A network that is trained, with its losses of a batch and of what a step shares (`LearnedModel.share`).

    Attributes:
        steps_per_move: Steps of the first player for one move of this one.
        average: Moving average that is updated after each move of the module; None without one.
        is_sampled: Whether samples come from the module; only then its weights may be averaged.
    """

    module: nn.Module
    losses: Callable[[Samples, Any], Losses]
    learning_rate: float
    adam_betas: tuple[float, float] = ADAM_BETAS
    steps_per_move: int = 1
    average: AveragedModel | None = None
    is_sampled: bool = True

    def rate(self, plan: Plan) -> float:
        """The learning rate before any schedule."""
        return self.learning_rate * (plan.learning_rate_factor or 1.0)

    def optimizer(
        self,
        plan: Plan,
        parameters: Iterable[nn.Parameter],
        *,
        weight_decay: float,
        is_fused: bool,
        capturable_on: torch.device | None,
    ) -> optim.Optimizer:
        """The plan's optimiser, fused (one kernel a step) and capturable by a CUDA graph if it can be."""
        name, rate = plan.optimizer or "adam", self.rate(plan)
        settings: dict[str, Any] = {"lr": rate, "weight_decay": weight_decay}
        if name in FUSED:
            settings["fused"] = is_fused
        if name == "sgd":
            settings["momentum"] = MOMENTUM
        if "adam" in name:
            settings["betas"] = self.adam_betas
            if capturable_on is not None:
                settings |= {"capturable": True, "lr": torch.tensor(rate, device=capturable_on)}
        return OPTIMIZERS[name](parameters, **settings)


class Course:
    """The learning-rate factor, averages and progress of one training."""

    def __init__(self, plan: Plan, players: Sequence[Player], *, num_steps: int | float) -> None:
        self._plan, self._players, self._num_steps, self.step = plan, players, num_steps, 0
        self.plateau = Plateau(decay_factor=plan.decay_factor or 1.0, patience=plan.plateau_patience or 1)
        self._averages: dict[int, WeightAverage] = {}  # by the player's index
        self._is_exchanged = False
        if plan.average_decay is None:
            return
        for number, player in enumerate(players):
            if player.average is not None:  # the model's own, which gets this decay
                player.average.multi_avg_fn = warmed_ema(plan.average_decay)
            elif player.is_sampled:
                self._averages[number] = WeightAverage(player.module, decay=plan.average_decay)

    @property
    def progress(self) -> float:
        """Share of the steps that is done, in [0, 1)."""
        return self.step / self._num_steps

    @property
    def rate_factor(self) -> float:
        """Factor of the learning rates in this step."""
        return self._plan.rate_factor(self.step, num_steps=self._num_steps) * self.plateau.factor

    def state_dict(self) -> dict[str, Any]:
        """State from which the same training continues; to be taken between two steps."""
        return {
            "plateau": dict(vars(self.plateau)),
            "averages": {number: average.state_dict() for number, average in self._averages.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self.plateau).update(state["plateau"])
        for number, average in self._averages.items():
            average.load_state_dict(state["averages"][number])

    def follow(self, number: int) -> None:
        """Update a player's averages after its move."""
        player, own = self._players[number], self._averages.get(number)
        if player.average is not None:
            player.average.update_parameters(player.module)
        if own is not None:
            own.follow()

    def exchange_averages(self) -> None:
        """Swap averages and weights."""
        self._is_exchanged = not self._is_exchanged
        for average in self._averages.values():
            average.exchange()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within this context the averages stand in the place of the weights."""
        if self._is_exchanged:
            yield
            return
        self.exchange_averages()
        try:
            yield
        finally:
            self.exchange_averages()


@dataclass(kw_only=True)
class Plateau:
    """The factor of the schedule `plateau`: it decays after `patience` scores in a row without a new lowest one."""

    decay_factor: float
    patience: int
    factor: float = 1.0
    best: float = inf
    num_worse: int = 0

    def tell(self, score: float) -> None:
        """Update the factor with the next score; lower is better."""
        self.num_worse = 0 if score < self.best else self.num_worse + 1
        self.best = min(score, self.best)
        if self.num_worse >= self.patience:
            self.factor, self.num_worse = self.factor * self.decay_factor, 0


class WeightAverage:
    """The average of a module's weights and buffers, which can be swapped with them; `decay` is the largest d."""

    def __init__(self, module: nn.Module, *, decay: float) -> None:
        self._weights = [tensor for tensor in tensors_of(module) if tensor.is_floating_point()]
        self._averaged = [tensor.clone() for tensor in self._weights]
        self._move = warmed_ema(decay)
        self._num_moves = 0

    def state_dict(self) -> dict[str, Any]:
        return {"averaged": self._averaged, "num_moves": self._num_moves}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for averaged, stored in zip(self._averaged, state["averaged"], strict=True):
            averaged.copy_(stored)
        self._num_moves = state["num_moves"]

    def follow(self) -> None:
        """Update the average after a move of the weights."""
        self._move(self._averaged, self._weights, self._num_moves)
        self._num_moves += 1

    @torch.no_grad()
    def exchange(self) -> None:
        """Swap the average and the weights; a second call undoes the first."""
        weights = [tensor.clone() for tensor in self._weights]
        torch._foreach_copy_(self._weights, self._averaged)
        torch._foreach_copy_(self._averaged, weights)


def warmed_ema(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """The update of averaged tensors after a move, in the form that torch's `AveragedModel` takes."""

    @torch.no_grad()
    def move(averaged: Sequence[Tensor], weights: Sequence[Tensor], num_moves: Tensor | int) -> None:
        n = int(num_moves)
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(list(averaged), list(weights), 1 - min(decay, (1 + n) / (10 + n)))
        else:  # counters of normalisation layers
            torch._foreach_copy_(list(averaged), list(weights))

    return move


def tensors_of(module: nn.Module) -> list[Tensor]:
    """All parameters and buffers of a module, detached."""
    return [tensor.detach() for tensor in chain(module.parameters(), module.buffers())]
