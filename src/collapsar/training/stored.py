"""Models that a chain has stored, read from their checkpoints as they were when they were trained."""

import io
import pickle
from pathlib import Path
from typing import cast

import torch

from collapsar.errors import UsageError
from collapsar.models.learned import LearnedModel
from collapsar.training.train import Recipe
from collapsar.training.trainer import autocast_dtype, make_trainer

DAMAGE = (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError)


def load(recipe: Recipe, weights: bytes) -> LearnedModel:
    """A model with the weights and buffers of a checkpoint, in their own types and layouts; no stored code runs."""
    with torch.random.fork_rng(devices=[]):
        model = cast("LearnedModel", recipe.model())
    model.plan = recipe.plan
    model.autocast_dtype = autocast_dtype(make_trainer(recipe.trainer))
    stored = torch.load(io.BytesIO(weights), weights_only=True, map_location="cpu")
    model.load_state_dict(stored["state_dict"], assign=True)
    return model


def load_stored(recipe: Recipe, path: Path) -> LearnedModel:
    """The model of a finished generation, in evaluation mode on the device that it was trained on.

    Raises:
        UsageError: its checkpoint is missing or damaged.
    """
    try:
        return load(recipe, path.read_bytes()).eval().to(make_trainer(recipe.trainer).strategy.root_device)
    except DAMAGE as error:
        raise UsageError(
            f"cannot continue: {path} is missing or damaged ({type(error).__name__}); restore the file, or start again "
            "in another folder"
        ) from error
