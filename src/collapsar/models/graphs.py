"""Steps as CUDA graphs: the kernels of a step are recorded once, and from then on launched as one.

A GPU runs a small network's step in less time than Python takes to launch it. A graph (`torch.cuda.CUDAGraph`) needs
no Python. It reads its batch and its learning rates from tensors at fixed addresses, and advances the device's
generator as an ordinary step does. Each set of players that move together has its own graph. The first steps of each
set run kernel by kernel on a separate stream, as recording demands.
"""

from collections.abc import Callable, Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from collapsar.samples import Samples

STEPS_BEFORE_RECORDING = 3  # optimisers create their states in them, and libraries choose their kernels

Moves = Callable[[Samples, Sequence[int]], dict[str, Tensor]]
"""Moves the players of these indices on a batch, and returns the losses by name."""


class GraphedSteps:
    """The steps of one training, as graphs.

    Args:
        moves: A whole step. It must not wait for the device, nor use a gradient or a batch of an earlier step.
    """

    def __init__(self, moves: Moves) -> None:
        self._moves = moves
        self._batch: Samples | None = None
        self._num_taken: dict[tuple[int, ...], int] = {}
        self._graphs: dict[tuple[int, ...], tuple[torch.cuda.CUDAGraph, dict[str, Tensor]]] = {}
        self._stream = torch.cuda.Stream()

    def step(self, batch: Samples, *, movers: Sequence[int]) -> dict[str, Tensor]:
        """Move these players and return the losses by name; batches lie on the device and have one size."""
        kept, key = self._keep(batch), tuple(movers)
        self._num_taken[key] = self._num_taken.get(key, 0) + 1
        if self._num_taken[key] <= STEPS_BEFORE_RECORDING:
            return self._beside(lambda: self._moves(kept, movers))
        if key not in self._graphs:
            self._graphs[key] = self._record(kept, movers)
        graph, losses = self._graphs[key]
        graph.replay()
        return {name: loss.clone() for name, loss in losses.items()}  # the next replay overwrites them

    def _keep(self, batch: Samples) -> Samples:
        """Copy the batch to where graphs read it."""
        if self._batch is None:
            self._batch = batch.clone()
        else:
            self._batch.values.copy_(batch.values)
            if self._batch.labels is not None and batch.labels is not None:
                self._batch.labels.copy_(batch.labels)
        return self._batch

    def _beside(self, moves: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Run moves on the separate stream; it waits for the present stream, which then waits for it."""
        present = torch.cuda.current_stream()
        self._stream.wait_stream(present)
        with torch.cuda.stream(self._stream):
            losses = moves()
        present.wait_stream(self._stream)
        return losses

    def _record(self, batch: Samples, movers: Sequence[int]) -> tuple[torch.cuda.CUDAGraph, dict[str, Tensor]]:
        """Record a step as a graph; nothing is computed yet."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            losses = self._moves(batch, movers)
        return graph, losses


def follow(average: AveragedModel, module: nn.Module) -> None:
    """Update an average after one move of its module, also while a graph is recorded.

    `AveragedModel.update_parameters` reads the number of moves from the device, which a recording does not allow.
    """
    if not (torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()):
        average.update_parameters(module)
        return
    assert average.multi_avg_fn is not None, "our averages are made with one"
    pairs = list(zip(tensors(average.module), tensors(module), strict=True))
    for is_float in (True, False):
        chosen = [pair for pair in pairs if pair[0].is_floating_point() == is_float]
        if chosen:
            averaged, present = (list(side) for side in zip(*chosen, strict=True))
            average.multi_avg_fn(averaged, present, average.n_averaged)
    average.n_averaged += 1


def tensors(module: nn.Module) -> list[Tensor]:
    """All parameters and buffers of a module, detached."""
    return [tensor.detach() for tensor in chain(module.parameters(), module.buffers())]
