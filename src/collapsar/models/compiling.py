"""Networks that are compiled for their training (torch.compile, with Inductor).

A CUDA graph launches the kernels of a step at once; compiled networks have fewer kernels, which read and write memory
less often. Compiling takes tens of seconds, so it pays only in long trainings.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


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
