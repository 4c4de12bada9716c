"""Models that are stored: each generation's in its chain, and generation 0 once for all chains that start alike.

    outputs/NAME/.generation_0/DIGEST.ckpt    a checksum; a note on the training, in JSON; and a checkpoint

Chains that differ only in what comes after their first training (`settings.AFTER_TRAINING_0`) have the same DIGEST. It
covers their other settings, the real training set, the code, the threads and the device. The first chain trains while
the others wait; then each draws, scores and stores its own copy. Except for seconds, records are as without sharing.
"""

import inspect
import io
import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, cast

import lightning
import torch
from filelock import FileLock, Timeout
from lightning.pytorch.callbacks import EarlyStopping

from collapsar.foundations.errors import UsageError, is_of_disk
from collapsar.foundations.files import temporary_of, write_atomically
from collapsar.foundations.recipes import flattened
from collapsar.foundations.samples import Samples
from collapsar.foundations.settings import OURS, class_name, config_folder, digest, first_training_settings
from collapsar.judging.spaces import base
from collapsar.models.generative import GenerativeModel
from collapsar.models.learned import LearnedModel
from collapsar.models.own_fit import AUTOCAST_DTYPES
from collapsar.training.trainer import Recipe, Training, configured_list, make_trainer
from collapsar.training.unfinished import DAMAGE, checksum


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


logger = logging.getLogger(__name__)

SILENT_SECONDS = 2.0  # of waiting before a log line tells of it
FOLDER = ".generation_0"


class SharedTraining:
    """One training of generation 0, and the file that stores it; its context lets one chain at a time do it.

    `config` is the chain's resolved configuration, `real` its real training set. The context is None, with a warning,
    if the study's folder cannot be written: the chain then trains for itself.
    """

    def __init__(self, study: Path, recipe: Recipe, *, config: Mapping[str, Any], real: Samples) -> None:
        self.recipe = recipe
        self.depends_on = dependencies(recipe, settings=first_training_settings(config), real=real)
        self.path = study / FOLDER / f"{digest(self.depends_on)}.ckpt"
        self.lock = FileLock(self.path.with_suffix(".lock"))

    def __enter__(self) -> "SharedTraining | None":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self.lock.acquire(timeout=SILENT_SECONDS)
            except Timeout:
                logger.info("waiting for another chain that trains the same generation 0, kept in %s", self.path)
                self.lock.acquire()
        except OSError as error:
            if is_of_disk(error):
                raise
            logger.warning("generation 0 is not shared: cannot write to %s (%s)", self.path.parent, error.strerror)
            return None
        return self

    def __exit__(self, *_: object) -> None:
        self.lock.release()

    def training(self, train: Callable[[], Training]) -> Training:
        """The stored training; without one, train and store it. Then other chains may read it."""
        try:
            return self._kept() or self._train_and_keep(train)
        finally:
            self.lock.release()

    def _kept(self) -> Training | None:
        if not self.path.exists():
            return None
        try:
            expected, _, content = self.path.read_bytes().partition(b"\n")
            if checksum(content) != expected:
                raise ValueError("its checksum is another")
            line, _, weights = content.partition(b"\n")
            note, model = json.loads(line), load(self.recipe, weights)
            save = partial(Path.write_bytes, data=weights)
            return Training(model=model, save=save, shared_seconds=note["seconds"], **note["training"])
        except DAMAGE as error:
            logger.warning("%s is damaged (%s): generation 0 is trained again", self.path, type(error).__name__)
            return None

    def _train_and_keep(self, train: Callable[[], Training]) -> Training:
        start = time.perf_counter()
        training = train()
        seconds = {"train": round(training.earlier_seconds + time.perf_counter() - start, 3)}
        device, temporary = cast("LearnedModel", training.model).device, temporary_of(self.path)
        training.save(temporary)
        training.model.to(device)  # `save` moved it to the CPU
        weights = temporary.read_bytes()
        course = {"summary": training.summary, "curve": training.curve}
        note = {"seconds": seconds, "training": course, "depends_on": self.depends_on}
        content = json.dumps(note).encode() + b"\n" + weights
        write_atomically(self.path, checksum(content) + b"\n" + content)
        return replace(training, save=partial(Path.write_bytes, data=weights))


def can_be_shared(recipe: Recipe, model: GenerativeModel) -> bool:
    """Whether another chain can use this training: a fit by formula takes milliseconds and is not worth storing.

    A logger, plugin or callback that the user configured may have effects beside the model; an EarlyStopping has none.
    """
    callbacks = configured_list(recipe.trainer, "callbacks")
    acts = any(flattened(recipe.trainer).keywords.get(key) for key in ("logger", "plugins"))
    return model.is_trained_in_steps and not acts and all(type(callback) is EarlyStopping for callback in callbacks)


def dependencies(recipe: Recipe, *, settings: Mapping[str, Any], real: Samples) -> dict[str, Any]:
    """All that determines the result of a training, as plain values."""
    trainer = make_trainer(recipe.trainer)
    device = trainer.strategy.root_device
    return {
        "settings": dict(settings),
        "real": content_of(real),
        "code": code_of(recipe),
        "torch": str(torch.__version__),
        "lightning": str(lightning.__version__),
        "num_threads": torch.get_num_threads(),
        "precision": str(trainer.precision),
        "cuda_graphs": recipe.plan.cuda_graphs,
        "compiled": recipe.plan.compiled,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def content_of(samples: Samples) -> str:
    """A stable digest of every value and label."""
    labels = {} if samples.labels is None else {"labels": samples.labels}
    return base.checksum({"values": samples.values, **labels})


def code_of(recipe: Recipe) -> str:
    """A stable digest of our code, and of the source files of the model's class and its base classes."""
    package = Path(__file__).parents[1]
    with torch.random.fork_rng(devices=[]):
        classes = [each for each in type(recipe.model()).__mro__ if issubclass(each, GenerativeModel)]
    content = blake2b(digest_size=16)
    for path in sorted({*package.rglob("*.py"), *(Path(inspect.getfile(each)) for each in classes)}):
        content.update(path.read_bytes())
    return content.hexdigest()
