"""The players of a training, and what changes during it: learning-rate factors, averages, progress.

An average of weights is an exponential moving one that suits short trainings too:

    average = d average + (1 - d) weights,   d = min(decay, (1 + n) / (10 + n)) in move n, counted from 0

With a constant decay near 1 the average would stay near the initial weights of a short training. The second term, which
TensorFlow's `ExponentialMovingAverage` has too, makes it an average over about the last tenth of the moves.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from math import inf
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from collapsar.models.plan import Plan
from collapsar.samples import Samples

ADAM_BETAS = (0.9, 0.999)  # torch's own

Losses = dict[str, Tensor]
"""Scalars by name; the first is minimised, the others are only logged."""


@dataclass(frozen=True, kw_only=True)
class Player:
    """A network that is trained, with its loss and its optimiser's settings.

    Attributes:
        losses: Function of a batch and of what the players of a step share (`LearnedModel.share`).
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


class Course:
    """The learning-rate factor, averages and progress of one training."""

    def __init__(self, plan: Plan, players: Sequence[Player], *, num_steps: int | float) -> None:
        self._plan, self._num_steps, self.step = plan, num_steps, 0
        self._plateau: Plateau | None = None
        if plan.plateau_patience is not None and plan.decay_factor is not None:
            self._plateau = Plateau(factor=plan.decay_factor, patience=plan.plateau_patience)
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
        factor = self._plan.rate_factor(self.step, num_steps=self._num_steps)
        return factor if self._plateau is None else factor * self._plateau.factor

    def state_dict(self) -> dict[str, Any]:
        """State from which the same training continues; to be taken between two steps."""
        return {
            "plateau": None if self._plateau is None else self._plateau.state_dict(),
            "averages": {number: average.state_dict() for number, average in self._averages.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._plateau is not None:
            self._plateau.load_state_dict(state["plateau"])
        for number, average in self._averages.items():
            average.load_state_dict(state["averages"][number])

    def follow(self, number: int) -> None:
        """Update the average of a player after its move, if this course keeps one."""
        if (average := self._averages.get(number)) is not None:
            average.follow()

    def exchange_averages(self) -> None:
        """Swap averages and weights."""
        self._is_exchanged = not self._is_exchanged
        for average in self._averages.values():
            average.exchange()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within this context the averages stand in the place of the weights."""
        was_exchanged = self._is_exchanged
        if not was_exchanged:
            self.exchange_averages()
        try:
            yield
        finally:
            if not was_exchanged:
                self.exchange_averages()

    def validated(self, score: float) -> None:
        """Update `plateau` with the score of a validation; lower is better."""
        if self._plateau is not None:
            self._plateau.tell(score)


class Plateau:
    """The factor of the schedule `plateau`: it decays after `patience` scores in a row without a new lowest one."""

    def __init__(self, *, factor: float, patience: int) -> None:
        self._factor, self._patience = factor, patience
        self.factor, self._best, self._num_worse = 1.0, inf, 0

    def state_dict(self) -> dict[str, Any]:
        return {"factor": self.factor, "best": self._best, "num_worse": self._num_worse}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.factor, self._best, self._num_worse = state["factor"], state["best"], state["num_worse"]

    def tell(self, score: float) -> None:
        """Update the factor with the next score."""
        self._num_worse = 0 if score < self._best else self._num_worse + 1
        self._best = min(score, self._best)
        if self._num_worse >= self._patience:
            self.factor, self._num_worse = self.factor * self._factor, 0


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
