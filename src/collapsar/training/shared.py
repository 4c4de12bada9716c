"""Generation 0, trained once for all chains of a study that start alike.

    outputs/NAME/.generation_0/DIGEST/    model.ckpt    training.json (a note on it, and what DIGEST covers)

Chains that differ only in what comes after their first training (`settings.AFTER_TRAINING_0`) have the same DIGEST. It
covers their other settings, the real training set, the code, the threads and the device. The first chain trains while
the others wait; then each draws, scores and stores its own copy. Except for seconds, records are as without sharing.
"""

import inspect
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

import lightning
import torch
from filelock import FileLock, Timeout
from lightning.pytorch.callbacks import EarlyStopping

import collapsar
from collapsar.errors import disk_errors_name, is_of_disk
from collapsar.files import flush_to_disk, temporary_of
from collapsar.judging.spaces import base
from collapsar.models.generative import GenerativeModel
from collapsar.models.learned import LearnedModel
from collapsar.records.recipes import flattened
from collapsar.records.settings import digest, first_training_settings
from collapsar.samples import Samples
from collapsar.training.phases import Training
from collapsar.training.stored import load
from collapsar.training.trainer import Recipe, configured_list, make_trainer
from collapsar.training.unfinished import DAMAGE

logger = logging.getLogger(__name__)

SILENT_SECONDS = 2.0  # of waiting before a log line tells of it
FOLDER, MODEL, NOTE = ".generation_0", "model.ckpt", "training.json"


class SharedTraining:
    """One training of generation 0, and the folder that stores it; its context lets one chain at a time do it.

    `config` is the chain's resolved configuration, `real` its real training set. The context is None, with a warning,
    if the study's folder cannot be written: the chain then trains for itself.
    """

    def __init__(self, study: Path, recipe: Recipe, *, config: Mapping[str, Any], real: Samples) -> None:
        self.recipe = recipe
        self.depends_on = dependencies(recipe, settings=first_training_settings(config), real=real)
        self.path = study / FOLDER / digest(self.depends_on)
        self.lock = FileLock(self.path.with_name(f"{self.path.name}.lock"))

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
        """The training that the folder holds; None if there is none, or it is damaged."""
        if not self.path.exists():
            return None
        try:
            note, weights = json.loads((self.path / NOTE).read_text()), (self.path / MODEL).read_bytes()
            if note["checksum"] != checksum(note["training"], weights=weights):
                raise ValueError("its checksum is another")
            model, save = load(self.recipe, weights), writer(weights)
            return Training(model=model, save=save, shared_seconds=note["seconds"], **note["training"])
        except DAMAGE as error:
            logger.warning("%s is damaged (%s): generation 0 is trained again", self.path, type(error).__name__)
            return None

    def _train_and_keep(self, train: Callable[[], Training]) -> Training:
        start = time.perf_counter()
        training = train()
        seconds = {"train": round(training.earlier_seconds + time.perf_counter() - start, 3)}
        device, temporary = cast("LearnedModel", training.model).device, temporary_of(self.path)
        with disk_errors_name(self.path):
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            training.save(temporary / MODEL)
            training.model.to(device)  # `save` moved it to the CPU
            weights = (temporary / MODEL).read_bytes()
            course = {"summary": training.summary, "curve": training.curve}
            note = {"checksum": checksum(course, weights=weights), "seconds": seconds, "training": course}
            (temporary / NOTE).write_text(json.dumps(note | {"depends_on": self.depends_on}, indent=1))
            for path in temporary.iterdir():
                flush_to_disk(path)
            shutil.rmtree(self.path, ignore_errors=True)
            temporary.rename(self.path)
        return replace(training, save=writer(weights))


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
    package = Path(inspect.getfile(collapsar)).parent
    with torch.random.fork_rng(devices=[]):
        classes = [each for each in type(recipe.model()).__mro__ if issubclass(each, GenerativeModel)]
    content = blake2b(digest_size=16)
    for path in sorted({*package.rglob("*.py"), *(Path(inspect.getfile(each)) for each in classes)}):
        content.update(path.read_bytes())
    return content.hexdigest()


def checksum(course: Mapping[str, Any], *, weights: bytes) -> str:
    """A digest of a checkpoint and of the note about its training."""
    return blake2b(json.dumps(course, sort_keys=True).encode() + weights, digest_size=16).hexdigest()


def writer(weights: bytes) -> Callable[[Path], None]:
    """A function that writes a copy of a checkpoint."""

    def save(path: Path) -> None:
        path.write_bytes(weights)

    return save
