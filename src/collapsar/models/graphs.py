"""Fewer launches of kernels in a step: CUDA graphs, and networks that are compiled.

A GPU runs a small network's step in less time than Python takes to launch it. A graph (`torch.cuda.CUDAGraph`) launches
the recorded kernels of a step as one, without Python. It reads its batch and its learning rates from tensors at fixed
addresses, and advances the device's generator as an ordinary step does. Each set of players that move together has its
own graph. The first steps of each set run kernel by kernel on a separate stream, as recording demands.

Compiled networks (torch.compile, with Inductor) have fewer kernels, which read and write memory less often. Compiling
takes tens of seconds, so it pays only in long trainings.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from collapsar.models.course import Losses, Player, tensors_of
from collapsar.samples import Samples

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
