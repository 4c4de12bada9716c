"""Models that a chain has stored, read from their checkpoints as they were when they were trained."""

import io
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch

from collapsar.errors import UsageError
from collapsar.models.generative import GenerativeModel
from collapsar.models.learned import LearnedModel
from collapsar.models.own_fit import AUTOCAST_DTYPES
from collapsar.records.settings import OURS, class_name, config_folder
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


def open_model(checkpoint: Path, *, settings: Mapping[str, Any], precision: str | None) -> GenerativeModel:
    """The model of a finished generation of any chain, on the CPU, in evaluation mode.

    Args:
        checkpoint: Its `model.ckpt`.
        settings: The chain's settings of its model.
        precision: Of its training; samples are decoded in it too.

    Raises:
        UsageError: the checkpoint is missing or damaged, or the settings name no model.
    """
    made_from, own = model_class(str(settings["_target_"])), {key: settings[key] for key in settings if key[0] != "_"}
    try:
        stored = torch.load(checkpoint, weights_only=True, map_location="cpu")
        with torch.random.fork_rng(devices=[]):
            model = made_from(**own | stored.get("hyper_parameters", {}))
        model.load_state_dict(stored["state_dict"], assign=True)
    except DAMAGE as error:
        raise UsageError(f"{checkpoint} is missing or damaged ({type(error).__name__}): restore the file") from error
    if isinstance(model, LearnedModel):
        model.autocast_dtype = AUTOCAST_DTYPES.get(str(precision))
    return model.eval()


def model_class(target: str) -> type[GenerativeModel]:
    """The class of a model by its path; a class of ours that has moved is found by its name.

    Raises:
        UsageError: the path names no model.
    """
    found = imported(target)
    if found is None and target.startswith(OURS):
        texts = [path.read_text(encoding="utf-8") for path in sorted((config_folder() / "model").glob("*.yaml"))]
        targets = [match for text in texts for match in re.findall(r"^_target_: (\S+)", text, flags=re.MULTILINE)]
        found = next((imported(each) for each in targets if class_name(each) == class_name(target)), None)
    if not (isinstance(found, type) and issubclass(found, GenerativeModel)):
        raise UsageError(f"model._target_ names no model that can be imported here: got {target!r}")
    return found


def imported(path: str) -> Any:
    """What a path names; None if it cannot be imported."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name, None)
    except (ImportError, ValueError):
        return None


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
