"""Networks that are compiled while they are trained (torch.compile, with Inductor).

A graph launches the kernels of a step at once; compiled networks have fewer of them, and each reads and writes memory
less often. Compiling takes tens of seconds, so it pays for long trainings alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def compiled(networks: Sequence[nn.Module]) -> Iterator[None]:
    """Have networks run compiled code here, and forget it afterwards: sampling needs other code for each batch size."""
    for network in networks:
        network.forward = torch.compile(network.forward, dynamic=False)
    try:
        yield
    finally:
        for network in networks:
            del network.forward  # of the instance; that of the class remains
        torch.compiler.reset()  # else a long chain would come to the most variants that torch keeps
