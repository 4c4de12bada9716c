"""The Trainer of a generation: made from its recipe with our callback beside the configured ones, and checked.

What stands as `auto` in a recipe is filled in from what the chain's machine is (`machine.py`).
"""

import copy
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger

from collapsar.errors import UsageError
from collapsar.machine.choice import AUTO, Machine

TrainerRecipe = Callable[..., Trainer]

FULL_PRECISION = "32-true"
AUTOCAST_DTYPES = {FULL_PRECISION: None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}

if not torch.cuda.is_available():
    # Lightning sets this when it is imported; without a GPU it makes each step of an optimiser look for NVML anew.
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)


def make_trainer(recipe: TrainerRecipe, *callbacks: Callback) -> Trainer:
    """A fresh Trainer with these callbacks after the configured ones, which start anew too.

    It does not look for SLURM, where Lightning would requeue jobs by itself and count their tasks.
    """
    return recipe(
        callbacks=[*copy.deepcopy(configured_callbacks(recipe)), *callbacks],
        plugins=configured(recipe, "plugins") or [LightningEnvironment()],
    )


def configured_callbacks(recipe: TrainerRecipe) -> Sequence[Callback]:
    """The callbacks that a recipe brings along."""
    return configured(recipe, "callbacks") or ()


def configured(recipe: TrainerRecipe, key: str) -> Any:
    """What a recipe says of an argument; None where it says nothing."""
    keywords: dict[str, Any] = getattr(recipe, "keywords", {})
    return keywords.get(key)


def on_machine(recipe: TrainerRecipe, machine: Machine) -> TrainerRecipe:
    """The recipe with the machine's device and precision in place of `auto`."""
    found = {"accelerator": machine.device, "precision": machine.precision}
    return partial(recipe, **{key: value for key, value in found.items() if configured(recipe, key) == AUTO})


def autocast_dtype(trainer: Trainer) -> torch.dtype | None:
    """What the networks of a Trainer compute in; None where that is the type of their weights."""
    return AUTOCAST_DTYPES[str(trainer.precision)]


def check_trainer(recipe: TrainerRecipe) -> Trainer:
    """The Trainer of a recipe, having refused what could not train a generation.

    Raises:
        UsageError: a value that Lightning refuses, more than one device, no step to take, another precision than ours,
            or clipping, which is ours.
    """
    try:
        trainer = make_trainer(in_full_precision(recipe))
    except (MisconfigurationException, ValueError, TypeError, AttributeError, RuntimeError, ImportError) as error:
        raise UsageError(f"trainer has a wrong value: {str(error).splitlines()[0]}") from error
    if not all(isinstance(logger, Logger) for logger in trainer.loggers):  # Lightning takes any text for a list of them
        raise UsageError(f"trainer.logger must be false, true or a logger: got {configured(recipe, 'logger')!r}")
    if trainer.num_devices * trainer.num_nodes != 1:
        raise UsageError(
            f"trainer.devices must be 1, since a generation is trained on one device: got {trainer.num_devices}; "
            "run several chains side by side instead"
        )
    if trainer.max_steps == 0 or (trainer.max_steps < 0 and (trainer.max_epochs or 0) < 1):
        raise UsageError(
            f"trainer.max_steps must be at least 1, or -1 with trainer.max_epochs at least 1: "
            f"got {trainer.max_steps} and {trainer.max_epochs}"
        )
    if str(trainer.precision) not in AUTOCAST_DTYPES:
        raise UsageError(
            f"trainer.precision must be {AUTO} or one of {', '.join(AUTOCAST_DTYPES)}: got {trainer.precision}"
        )
    if trainer.gradient_clip_val is not None:
        raise UsageError(
            f"trainer.gradient_clip_val must be null: got {trainer.gradient_clip_val}; set training.gradient_clip_norm"
        )
    return trainer


def in_full_precision(recipe: TrainerRecipe) -> TrainerRecipe:
    """The recipe with float32 in place of a precision that is still to be chosen."""
    return partial(recipe, precision=FULL_PRECISION) if configured(recipe, "precision") == AUTO else recipe
