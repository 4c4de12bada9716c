"""The Trainer of a generation: made from its recipe with our callback beside the configured ones, and checked."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

from lightning import Callback, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException

from collapsar.errors import UsageError

TrainerRecipe = Callable[..., Trainer]


def make_trainer(recipe: TrainerRecipe, *callbacks: Callback) -> Trainer:
    """A fresh Trainer with these callbacks after the configured ones, which start anew too."""
    return recipe(callbacks=[*copy.deepcopy(configured_callbacks(recipe)), *callbacks])


def configured_callbacks(recipe: TrainerRecipe) -> Sequence[Callback]:
    """The callbacks that a recipe brings along."""
    keywords: dict[str, Any] = getattr(recipe, "keywords", {})
    return keywords.get("callbacks") or ()


def check_trainer(recipe: TrainerRecipe) -> Trainer:
    """The Trainer of a recipe, having refused what could not train a generation.

    Raises:
        UsageError: a value that Lightning refuses, more than one device, no step to take, or clipping, which is ours.
    """
    try:
        trainer = make_trainer(recipe)
    except (MisconfigurationException, ValueError, TypeError, RuntimeError, ModuleNotFoundError) as error:
        raise UsageError(f"trainer has a wrong value: {str(error).splitlines()[0]}") from error
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
    if trainer.gradient_clip_val is not None:
        raise UsageError(
            f"trainer.gradient_clip_val must be null: got {trainer.gradient_clip_val}; set training.gradient_clip_norm"
        )
    return trainer
