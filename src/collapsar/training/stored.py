"""Models that a chain has stored, read from their checkpoints as they were when they were trained."""

import io
from pathlib import Path
from typing import cast

import torch

from collapsar.errors import UsageError
from collapsar.models.learned import LearnedModel
from collapsar.training.trainer import Recipe, autocast_dtype, make_trainer
from collapsar.training.unfinished import DAMAGE


def load(recipe: Recipe, weights: bytes) -> LearnedModel:
    """A model in evaluation mode, on the device it was trained on, with a checkpoint's weights and buffers.

    These keep their types and layouts. No stored code runs.
    """
    with torch.random.fork_rng(devices=[]):
        model = cast("LearnedModel", recipe.model())
    trainer = make_trainer(recipe.trainer)
    model.plan, model.autocast_dtype = recipe.plan, autocast_dtype(trainer)
    stored = torch.load(io.BytesIO(weights), weights_only=True, map_location="cpu")
    model.load_state_dict(stored["state_dict"], assign=True)
    return model.eval().to(trainer.strategy.root_device)


def load_stored(recipe: Recipe, path: Path) -> LearnedModel:
    """The model of a finished generation, as `load` gives it.

    Raises:
        UsageError: its checkpoint is missing or damaged.
    """
    try:
        return load(recipe, path.read_bytes())
    except DAMAGE as error:
        raise UsageError(
            f"cannot continue: {path} is missing or damaged ({type(error).__name__}); restore the file, or start again "
            "in another folder"
        ) from error


def begin_with(model: LearnedModel, checkpoint: Path) -> None:
    """Load a checkpoint's weights into a fresh model, and its optimiser states if the plan keeps them."""
    try:
        stored = torch.load(checkpoint, weights_only=True, map_location="cpu")
        model.load_state_dict(stored["state_dict"])
        model.optimizer_states = stored["optimizer_states"] if model.plan.keeps_optimizer else None
    except DAMAGE as error:
        raise UsageError(
            f"{checkpoint} cannot be begun with ({type(error).__name__}): delete the run folder to start anew, or set "
            "training.warm_start=null"
        ) from error
