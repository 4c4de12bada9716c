"""An exponential moving average of weights that suits short trainings too.

    average = d average + (1 - d) weights,   d = min(decay, (1 + n) / (10 + n)) in move n, counted from 0

With a constant decay near 1 the average would stay near the initial weights of a short training. The second term, which
TensorFlow's `ExponentialMovingAverage` has too, makes it an average over about the last tenth of the moves.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn


def warmed_ema(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """The update of averaged tensors after a move, in the form that torch's `AveragedModel` takes."""

    @torch.no_grad()
    def move(averaged: Sequence[Tensor], weights: Sequence[Tensor], num_moves: Tensor | int) -> None:
        if not averaged:
            return
        n = int(num_moves)
        share = 1 - min(decay, (1 + n) / (10 + n))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(list(averaged), list(weights), share)
        else:  # counters of normalisation layers
            torch._foreach_copy_(list(averaged), list(weights))

    return move


class WeightAverage:
    """The average of a module's weights and buffers, which can be swapped with them.

    Args:
        decay: The largest d.
    """

    def __init__(self, module: nn.Module, *, decay: float) -> None:
        tensors = [tensor.detach() for tensor in chain(module.parameters(), module.buffers())]
        self._weights = [tensor for tensor in tensors if tensor.is_floating_point()]
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
