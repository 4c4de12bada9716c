"""Steps as CUDA graphs: the kernels of a step are recorded once, and from then on launched as one.

A small network's step takes a GPU less time than Python takes to launch it. A graph (`torch.cuda.CUDAGraph`) leaves
Python out: it reads its batch and its learning rates from tensors that stay where they are, and draws its noise from
the device's generator, which goes on as it would. There is one graph for each set of players that move together. The
first steps of each are taken one kernel at a time, on a stream of their own, as recording demands.
"""

from collections.abc import Callable, Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from collapsar.samples import Samples

STEPS_BEFORE_RECORDING = 3  # in which optimisers make their state, and libraries choose their kernels

Moves = Callable[[Samples, Sequence[int]], dict[str, Tensor]]
"""Moves these players on a batch, and returns the losses by name."""


class GraphedSteps:
    """The steps of one training, as graphs.

    Args:
        moves: A whole step; it must wait for nothing on the device, and use neither a gradient nor a batch again.
    """

    def __init__(self, moves: Moves) -> None:
        self._moves = moves
        self._batch: Samples | None = None
        self._num_taken: dict[tuple[int, ...], int] = {}
        self._graphs: dict[tuple[int, ...], tuple[torch.cuda.CUDAGraph, dict[str, Tensor]]] = {}
        self._stream = torch.cuda.Stream()

    def step(self, batch: Samples, *, movers: Sequence[int]) -> dict[str, Tensor]:
        """Move these players on a batch on the device, each batch of one size; returns the losses by name."""
        kept, key = self._keep(batch), tuple(movers)
        self._num_taken[key] = self._num_taken.get(key, 0) + 1
        if self._num_taken[key] <= STEPS_BEFORE_RECORDING:
            return self._beside(lambda: self._moves(kept, movers))
        if key not in self._graphs:
            self._graphs[key] = self._record(kept, movers)
        graph, losses = self._graphs[key]
        graph.replay()
        return {name: loss.clone() for name, loss in losses.items()}  # the next replay writes where these lie

    def _keep(self, batch: Samples) -> Samples:
        """The batch where graphs read it."""
        if self._batch is None:
            self._batch = batch.clone()
        else:
            self._batch.values.copy_(batch.values)
            if self._batch.labels is not None and batch.labels is not None:
                self._batch.labels.copy_(batch.labels)
        return self._batch

    def _beside(self, moves: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Losses of moves on the stream of our own, which waits for the present one and is waited for."""
        present = torch.cuda.current_stream()
        self._stream.wait_stream(present)
        with torch.cuda.stream(self._stream):
            losses = moves()
        present.wait_stream(self._stream)
        return losses

    def _record(self, batch: Samples, movers: Sequence[int]) -> tuple[torch.cuda.CUDAGraph, dict[str, Tensor]]:
        """A step as a graph; nothing is computed yet."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            losses = self._moves(batch, movers)
        return graph, losses


def follow(average: AveragedModel, module: nn.Module) -> None:
    """Let an average follow its module by one move; while a graph is recorded, without asking how many there were.

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
    """All parameters and buffers, detached."""
    return [tensor.detach() for tensor in chain(module.parameters(), module.buffers())]
