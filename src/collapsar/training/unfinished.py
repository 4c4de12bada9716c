"""Checkpoints inside a generation: what they hold, when they are written, and how the same command continues from one.

    outputs/NAME/CHAIN/unfinished.ckpt    a checksum, a newline, and what `torch.save` writes

A checkpoint is taken between two steps, when the next batch is fetched but not yet seen. It holds all that later steps
depend on: weights, optimisers and the scale of half precision; averages, plateau and early stopping; the place in the
shuffled order; random states; and the loss curve. It is written every `checkpoint_minutes`, before the last step of a
training of over a minute, and before a signal ends the process. Lightning's own checkpoints (2.6) skip a validation
that is due, and pass through the system's temporary folder without being flushed.
"""

import logging
import pickle
import time
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import lightning
import torch
from lightning import Callback, LightningModule, Trainer

from collapsar.foundations import __version__
from collapsar.foundations.files import temporary_of, write_atomically
from collapsar.foundations.settings import binding_settings, digest
from collapsar.machine import signals
from collapsar.machine.choice import Machine
from collapsar.machine.devices import random_states, set_random_states
from collapsar.models.learned import LearnedModel

logger = logging.getLogger(__name__)

DAMAGE = (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError)  # of a stored file
WORTH_STORING_SECONDS = 60.0  # of training; a shorter one is repeated if a kill comes before its samples are scored

State = dict[str, Any]
"""Tensors and plain values in dicts and lists, so that reading one runs no code."""


class Unfinished:
    """The training of one generation, and the file that stores its progress; no path stores nothing.

    `belongs_to` must be the same when the training is continued (`belonging`). Without `minutes` between checkpoints
    there is one only before the last step and at a signal. `earlier_seconds` are those before the checkpoint read.
    """

    def __init__(
        self, path: Path | None = None, *, belongs_to: Mapping[str, Any] | None = None, minutes: float | None = None
    ) -> None:
        self.path, self.belongs_to, self.minutes = path, dict(belongs_to or {}), minutes
        self.earlier_seconds = 0.0
        self._begun = self._stored = time.monotonic()

    def read(self) -> State | None:
        """The stored state of this training; None if there is none, or, with a warning, if it cannot be used."""
        if self.path is None or not self.path.exists():
            return None
        generation = self.belongs_to["generation"]
        try:
            expected, _, stored = self.path.read_bytes().partition(b"\n")
            if checksum(stored) != expected:
                raise ValueError("it is damaged")
            state = cast("State", torch.load(BytesIO(stored), weights_only=True, map_location="cpu"))
            if state["belongs_to"].get("generation", generation) < generation:
                return None  # a kill came between the record of that generation and the deletion of this file
            foreign = [key for key in self.belongs_to if state["belongs_to"].get(key) != self.belongs_to[key]]
            if foreign:
                raise ValueError(f"another {foreign[0]}")
            self.earlier_seconds = float(state["seconds"])
        except DAMAGE as error:
            why = error if isinstance(error, ValueError) else type(error).__name__
            logger.warning("%s is not used (%s): generation %d is trained from its start", self.path, why, generation)
            return None
        logger.info("generation %d goes on after step %d", generation, state["step"])
        return state

    def is_due(self, *, is_last_step: bool = False) -> bool:
        """Whether to store the state: at a signal, after `minutes`, or before the last step of a long training."""
        now = time.monotonic()
        return (
            signals.is_asked()
            or (self.minutes is not None and now - self._stored >= 60 * self.minutes)
            or (is_last_step and now - self._begun >= WORTH_STORING_SECONDS)
        )

    def write(self, state: State) -> None:
        """Store a state, whole or not at all; if the disk refuses, log a warning and go on training."""
        if self.path is None:
            return
        seconds = self.earlier_seconds + time.monotonic() - self._begun
        try:
            write_atomically(self.path, pack({"belongs_to": self.belongs_to, "seconds": seconds, **state}))
        except OSError as error:
            with suppress(OSError):
                temporary_of(self.path).unlink()
            logger.warning("cannot store the unfinished generation in %s: %s", self.path, error.strerror)
        self._stored = time.monotonic()


def belonging(config: Mapping[str, Any], *, generation: int, machine: Machine | None) -> dict[str, Any]:
    """What a training depends on: it is continued only if all of this is the same."""
    return {
        "generation": generation,
        "settings": digest(binding_settings(config)),
        "machine": machine.to_dict() if machine else {},
        "version": [__version__, str(torch.__version__), str(lightning.__version__)],
    }


def pack(state: State) -> bytes:
    """The content of a file that holds a state."""
    file = BytesIO()
    torch.save(state, file)
    return checksum(file.getvalue()) + b"\n" + file.getvalue()


def checksum(stored: bytes) -> bytes:
    """A digest of 32 characters."""
    return blake2b(stored, digest_size=16).hexdigest().encode()


class Checkpoints(Callback):
    """Starts a Trainer from a state, if there is one, and stores later ones, before the other callbacks run."""

    def __init__(self, unfinished: Unfinished, *, state: State | None, pretrained: dict[str, float]) -> None:
        self.unfinished, self.state, self.pretrained = unfinished, state, pretrained
        self._num_steps, self._stored_step = 0, -1 if pretrained else 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._others = [each for each in trainer.callbacks if each is not self]  # type: ignore[attr-defined]
        if self.state is None:
            return
        pl_module.load_state_dict(self.state["model"])
        for optimizer, stored in zip(trainer.optimizers, self.state["optimizers"], strict=True):
            for group in stored["param_groups"]:
                if isinstance(group["lr"], torch.Tensor):  # CUDA graphs read it on the device
                    group["lr"] = group["lr"].to(trainer.strategy.root_device)
            optimizer.load_state_dict(stored)
        trainer.precision_plugin.load_state_dict(self.state["precision"])
        trainer.fit_loop.load_state_dict(self.state["loops"])
        for callback, stored in zip(self._others, self.state["callbacks"], strict=True):
            callback.load_state_dict(stored)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        signals.take_back()  # Lightning installed its own handler of SIGTERM, which would end the training
        self._num_steps = int(trainer.estimated_stepping_batches)
        if self.state is not None:
            trainer.should_stop = self.state.get("should_stop", False)
            logged = self.state.get("logged", {})
            trainer.callback_metrics.update({name: value.to(pl_module.device) for name, value in logged.items()})
            cast("LearnedModel", pl_module).course.load_state_dict(self.state["course"])
            set_random_states(trainer.strategy.root_device, self.state["random"])
            self._stored_step = trainer.global_step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.state is not None:  # Lightning counted a validation before this step again without running it
            stepped = self.state["loops"]["epoch_loop.state_dict"]["_batches_that_stepped"]
            trainer.fit_loop.epoch_loop._batches_that_stepped = stepped
            self.state = None
        step = trainer.global_step
        if step > self._stored_step and self.unfinished.is_due(is_last_step=step + 1 == self._num_steps):
            for each in trainer.loggers:
                each.save()  # or a kill would lose the steps that they have buffered
            self.unfinished.write(self._present(trainer, cast("LearnedModel", pl_module)))
            self._stored_step = step
        signals.leave_if_asked()

    def _present(self, trainer: Trainer, model: LearnedModel) -> State:
        return {
            "phase": "training",
            "step": trainer.global_step + int(self.pretrained.get("pretraining_steps", 0)),
            "pretrained": self.pretrained,
            "model": model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
            "precision": trainer.precision_plugin.state_dict(),
            "loops": before_the_batch(trainer.fit_loop.state_dict()),
            "callbacks": [callback.state_dict() for callback in self._others],
            "course": model.course.state_dict(),
            "random": random_states(trainer.strategy.root_device),
            "should_stop": trainer.should_stop,  # may be set, though min_steps or min_epochs is not reached
            "logged": dict(trainer.callback_metrics),  # the last values, which callbacks may read at any time
        }


def before_the_batch(loops: State) -> State:
    """Lightning's counts of steps and batches, without the batch that is fetched but not yet seen."""
    progress = loops["epoch_loop.batch_progress"]
    for counts in (progress["total"], progress["current"]):
        counts["ready"] = counts["completed"]
    progress["is_last_batch"] = False
    for loader in loops["state_dict"]["combined_loader"]:
        loader["num_given"] -= 1
    return loops
