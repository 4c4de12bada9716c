"""Torch's optimisers, by the names of `Plan.optimizer`."""

from collections.abc import Iterable

import torch
from torch import nn

MOMENTUM = 0.9  # of sgd
FUSED = ("adam", "adamw", "sgd")  # these have a fused step on every device
ADAMS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
}


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
    settings: dict[str, object] = {"lr": learning_rate, "weight_decay": weight_decay}
    if name in FUSED:
        settings["fused"] = is_fused
    if name in ADAMS:
        settings["betas"] = adam_betas
        if is_capturable:
            settings |= {"capturable": True, "lr": torch.tensor(learning_rate, device=device)}
        return ADAMS[name](parameters, **settings)  # type: ignore[arg-type]
    if name == "rmsprop":
        return torch.optim.RMSprop(parameters, **settings)  # type: ignore[arg-type]
    return torch.optim.SGD(parameters, momentum=MOMENTUM, **settings)  # type: ignore[arg-type]
