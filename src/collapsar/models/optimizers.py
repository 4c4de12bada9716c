"""Torch's optimisers, by the names of `Plan.optimizer`."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from collapsar.errors import UsageError

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}
FUSED = ("adam", "adamw", "sgd")  # these have a fused step on every device
MOMENTUM = 0.9  # of sgd


def as_betas(adam_betas: Sequence[float]) -> tuple[float, float]:
    """The betas of Adam; UsageError if they are not two numbers in [0, 1)."""
    if len(adam_betas) != 2 or not all(0 <= beta < 1 for beta in adam_betas):
        raise UsageError(f"adam_betas must be two numbers from 0 up to, but not including, 1: got {adam_betas}")
    return adam_betas[0], adam_betas[1]


def make_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float,
    adam_betas: tuple[float, float],
    weight_decay: float,
    is_fused: bool,
    is_capturable: bool,
    device: torch.device,
) -> torch.optim.Optimizer:
    """The optimiser of a player.

    A fused step is one kernel, if the optimiser has one. A CUDA graph can record a capturable step (Adams only).
    """
    settings: dict[str, Any] = {"lr": learning_rate, "weight_decay": weight_decay}
    if name in FUSED:
        settings["fused"] = is_fused
    if name == "sgd":
        settings["momentum"] = MOMENTUM
    if "adam" in name:
        settings["betas"] = adam_betas
        if is_capturable:
            settings |= {"capturable": True, "lr": torch.tensor(learning_rate, device=device)}
    return OPTIMIZERS[name](parameters, **settings)
