"""The players of a training, their optimisers, what changes during it, and steps with fewer launches of kernels.

An average of weights is an exponential moving one that suits short trainings too:

    average = d average + (1 - d) weights,   d = min(decay, (1 + n) / (10 + n)) in move n, counted from 0

With a constant decay near 1 the average would stay near the initial weights of a short training. The second term, as in
TensorFlow's `ExponentialMovingAverage`, makes it one over about the last tenth of the moves. A GPU runs a small
network's step in less time than Python takes to launch it: a graph (`torch.cuda.CUDAGraph`) launches its recorded
kernels as one, and compiled networks (torch.compile) have fewer kernels.
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

from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.models.plan import Plan

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
    """A network that is trained, with its losses of a batch and of what a step shares (`LearnedModel.share`)."""

    module: nn.Module
    losses: Callable[[Samples, Any], Losses]
    learning_rate: float
    adam_betas: tuple[float, float] = ADAM_BETAS
    steps_per_move: int = 1  # steps of the first player for one move of this one
    average: AveragedModel | None = None  # a moving average, updated after each move of the module
    is_sampled: bool = True  # samples come from the module; only then its weights may be averaged

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


STEPS_BEFORE_RECORDING = 3  # optimisers create their states in them, and libraries choose their kernels


class GraphedSteps:
    """The steps of one training, as graphs.

    `moves` moves the players of these indices on a batch, and returns the losses by name. It must not wait for the
    device, nor use a gradient or a batch of an earlier step.
    """

    def __init__(self, moves: Callable[[Samples, Sequence[int]], Losses]) -> None:
        self._moves = moves
        self._batch: Samples | None = None
        self._num_taken: dict[tuple[int, ...], int] = {}
        self._graphs: dict[tuple[int, ...], tuple[torch.cuda.CUDAGraph, Losses]] = {}
        self._stream = torch.cuda.Stream()

    def step(self, batch: Samples, *, movers: Sequence[int]) -> Losses:
        """Move these players and return the losses by name; batches lie on the device and have one size."""
        key = tuple(movers)
        if self._batch is None:
            self._batch = batch.clone()
        kept = self._batch  # graphs read it
        kept.values.copy_(batch.values)
        if kept.labels is not None and batch.labels is not None:
            kept.labels.copy_(batch.labels)
        self._num_taken[key] = self._num_taken.get(key, 0) + 1
        if self._num_taken[key] <= STEPS_BEFORE_RECORDING:
            present = torch.cuda.current_stream()
            self._stream.wait_stream(present)
            with torch.cuda.stream(self._stream):
                losses = self._moves(kept, movers)
            present.wait_stream(self._stream)
            return losses
        if key not in self._graphs:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self._stream):  # records; nothing is computed yet
                self._graphs[key] = graph, self._moves(kept, movers)
        graph, losses = self._graphs[key]
        graph.replay()
        return {name: loss.clone() for name, loss in losses.items()}  # the next replay overwrites them


def follow(average: AveragedModel, module: nn.Module) -> None:
    """Update an average; recordings forbid `update_parameters`, which reads the number of moves from the device."""
    if not (torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()):
        average.update_parameters(module)
        return
    assert average.multi_avg_fn is not None, "our averages are made with one"
    pairs = list(zip(tensors_of(average.module), tensors_of(module), strict=True))
    for is_weight in (True, False):  # else a counter of a normalisation layer
        kind = [pair for pair in pairs if pair[0].is_floating_point() == is_weight]
        if kind:
            average.multi_avg_fn([mean for mean, _ in kind], [weight for _, weight in kind], average.n_averaged)
    average.n_averaged += 1


def networks_of(model: nn.Module, players: Sequence[Player]) -> list[nn.Module]:
    """Networks with weights that steps call: each player's module, or its children if it is the model itself."""
    parts = [[*player.module.children()] if player.module is model else [player.module] for player in players]
    return [part for part in chain.from_iterable(parts) if any(True for _ in part.parameters())]


@contextmanager
def compiled(networks: Sequence[nn.Module]) -> Iterator[None]:
    """Run compiled networks inside the context only: sampling would need other code for each batch size."""
    for network in networks:
        network.forward = torch.compile(network.forward, dynamic=False)
    try:
        yield
    finally:
        for network in networks:
            del network.forward  # the instance's; the class keeps its own
        torch.compiler.reset()  # else a long chain would reach torch's limit of compiled variants
