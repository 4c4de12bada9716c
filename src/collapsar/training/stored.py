"""Models that a chain has stored, read from their checkpoints as they were when they were trained."""

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, cast

import torch

from collapsar.errors import UsageError
from collapsar.models.generative import GenerativeModel
from collapsar.models.learned import LearnedModel
from collapsar.models.own_fit import AUTOCAST_DTYPES
from collapsar.records.settings import OURS, class_name, config_folder
from collapsar.training.trainer import Recipe, make_trainer
from collapsar.training.unfinished import DAMAGE


def load(recipe: Recipe, weights: bytes) -> LearnedModel:
    """A model in evaluation mode, on the device it was trained on, with a checkpoint's weights; no stored code runs."""
    with torch.random.fork_rng(devices=[]):
        model = cast("LearnedModel", recipe.model())
    trainer = make_trainer(recipe.trainer)
    model.plan, model.autocast_dtype = recipe.plan, AUTOCAST_DTYPES[str(trainer.precision)]
    stored = torch.load(io.BytesIO(weights), weights_only=True, map_location="cpu")
    model.load_state_dict(stored["state_dict"], assign=True)
    return model.eval().to(trainer.strategy.root_device)


def open_model(checkpoint: Path, *, settings: Mapping[str, Any], precision: str | None) -> GenerativeModel:
    """The model of a finished generation of any chain, on the CPU, in evaluation mode, from its `model.ckpt`.

    `settings` are the chain's of its model; samples are decoded in the precision of the training. UsageError if the
    checkpoint is missing or damaged, or the settings name no model.
    """
    made_from, own = model_class(str(settings["_target_"])), {key: settings[key] for key in settings if key[0] != "_"}
    with (
        damage_told(f"{checkpoint} is missing or damaged", advice="restore the file"),
        torch.random.fork_rng(devices=[]),
    ):
        stored = torch.load(checkpoint, weights_only=True, map_location="cpu")
        model = made_from(**own | stored.get("hyper_parameters", {}))
        model.load_state_dict(stored["state_dict"], assign=True)
    if isinstance(model, LearnedModel):
        model.autocast_dtype = AUTOCAST_DTYPES.get(str(precision))
    return model.eval()


def model_class(target: str) -> type[GenerativeModel]:
    """The class of a model by its path; a class of ours that has moved is found by its name. UsageError if none is."""
    paths = [target]
    if target.startswith(OURS):
        texts = [path.read_text(encoding="utf-8") for path in sorted((config_folder() / "model").glob("*.yaml"))]
        targets = [match for text in texts for match in re.findall(r"^_target_: (\S+)", text, flags=re.MULTILINE)]
        paths += [each for each in targets if class_name(each) == class_name(target)]
    for path in paths:
        with suppress(ImportError, AttributeError, ValueError):
            found = resolve_name(path)
            if isinstance(found, type) and issubclass(found, GenerativeModel):
                return found
    raise UsageError(f"model._target_ names no model that can be imported here: got {target!r}")


def load_stored(recipe: Recipe, path: Path) -> LearnedModel:
    """The model of a finished generation, as `load` gives it; UsageError if its checkpoint is missing or damaged."""
    advice = "restore the file, or start again in another folder"
    with damage_told(f"cannot continue: {path} is missing or damaged", advice=advice):
        return load(recipe, path.read_bytes())


def begin_with(model: LearnedModel, checkpoint: Path) -> None:
    """Load a checkpoint's weights into a fresh model, and its optimiser states if the plan keeps them."""
    advice = "delete the run folder to start anew, or set training.warm_start=null"
    with damage_told(f"{checkpoint} cannot be begun with", advice=advice):
        stored = torch.load(checkpoint, weights_only=True, map_location="cpu")
        model.load_state_dict(stored["state_dict"])
        keeps_optimizer = model.plan.warm_start == "weights_and_optimizer"
        model.optimizer_states = stored["optimizer_states"] if keeps_optimizer else None


@contextmanager
def damage_told(problem: str, *, advice: str) -> Iterator[None]:
    """Replace an error of a damaged file by a UsageError."""
    try:
        yield
    except DAMAGE as error:
        raise UsageError(f"{problem} ({type(error).__name__}); {advice}") from error
