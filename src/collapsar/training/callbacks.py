"""What watches a training: our callbacks, which read losses and keep the best weights, and the loggers of a user.

`BestWeights` keeps weights in memory, because Lightning's ModelCheckpoint would write files of its own. Each generation
has its own copies of the loggers. Those that write files do so below the run folder:

RUN/SAVE_DIR/NAME/generation_003/                  a training that began with its first step
RUN/SAVE_DIR/NAME/generation_003_from_step_400/    one that continued after a kill
"""

import copy
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, cast

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch import Tensor

from collapsar.foundations.errors import NonFiniteError, UsageError
from collapsar.foundations.record import is_loss
from collapsar.models.learned import LearnedModel

STEPS_BETWEEN_READINGS = 20  # losses are read in groups, so that not every step waits for the GPU

OnSteps = Callable[[int, int], None]
"""Called with (epoch, steps done) now and then during training."""
OnReading = Callable[[Mapping[str, float]], None]
"""Called with each entry of a curve as it is made."""


class LossMonitor(Callback):
    """Reads losses in groups: keeps their curve, reports progress and raises NonFiniteError at a non-finite loss."""

    def __init__(self, generation: int, on_steps: OnSteps, on_reading: OnReading | None = None) -> None:
        self.generation, self.on_steps, self.on_reading = generation, on_steps, on_reading
        self.num_steps = 0
        self.curve: list[dict[str, float]] = []
        self._unread: list[tuple[int, dict[str, Tensor]]] = []  # epoch and losses of each step

    @property
    def last_losses(self) -> dict[str, float]:
        """Each loss averaged over the last group of steps."""
        return {name: value for reading in self.curve[-1:] for name, value in reading.items() if is_loss(name)}

    def state_dict(self) -> dict[str, Any]:
        return {"num_steps": self.num_steps, "curve": self.curve, "unread": self._unread}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.num_steps, self.curve, self._unread = (state_dict[name] for name in ("num_steps", "curve", "unread"))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._unread = [
            (epoch, {name: loss.to(pl_module.device) for name, loss in losses.items()})
            for epoch, losses in self._unread
        ]
        if self.on_reading:
            for reading in self.curve:  # of a training that continues
                self.on_reading(reading)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.num_steps += 1
        self._unread.append((trainer.current_epoch, outputs))
        if len(self._unread) >= STEPS_BETWEEN_READINGS:
            self._read(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._unread:
            self._read(pl_module)

    def _read(self, model: LightningModule) -> None:
        broken: list[tuple[int, str, float]] = []  # index of the step, loss, value
        means: dict[str, float] = {}
        epochs, losses = zip(*self._unread, strict=True)
        for name in sorted({name for each in losses for name in each}):
            steps = [index for index, each in enumerate(losses) if name in each]
            values = torch.stack([losses[index][name] for index in steps]).tolist()  # one wait for the device
            means[name] = sum(values) / len(values)
            if is_loss(name):
                broken += [(at, name, value) for at, value in zip(steps, values, strict=True) if not isfinite(value)]
            elif not isfinite(means[name]):  # half precision tries scales until gradients are finite
                del means[name]
        if broken:
            index, name, value = min(broken, key=lambda reading: reading[:2])  # the earliest step
            raise NonFiniteError(
                f"{name} is {value} in generation {self.generation}, epoch {epochs[index]}, "
                f"step {self.num_steps - len(self._unread) + index}: "
                "lower the learning rate, or look at the pool this generation was trained on"
            )
        rates = cast("LearnedModel", model).learning_rates_now()
        self.curve.append({"step": float(self.num_steps), "epoch": float(epochs[-1]), **means, **rates})
        self._unread.clear()
        self.on_steps(epochs[-1], self.num_steps)
        if self.on_reading:
            self.on_reading(self.curve[-1])


class BestWeights(EarlyStopping):
    """Ends a training after `patience` validations without a lower score; keeps step and weights of the lowest one."""

    def __init__(self, monitor: str, *, patience: int) -> None:
        super().__init__(monitor, patience=patience, mode="min", check_finite=False)
        self.step = 0
        self.weights: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        lowest = float(self.best_score)
        super().on_validation_end(trainer, pl_module)
        if float(self.best_score) < lowest:
            self.step = trainer.global_step
            self.weights = {name: value.detach().clone() for name, value in pl_module.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"step": self.step, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.step, self.weights = state_dict["step"], state_dict["weights"]


FOLDER = "logs"  # in the run folder, for files without a folder of their own
FILE_LOGGERS = (CSVLogger, TensorBoardLogger)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a training's loggers and callbacks write; `first_step` is above 0 if it continues after a kill."""

    folder: Path
    generation: int
    seed: int
    first_step: int = 0

    @property
    def version(self) -> str:
        return f"generation_{self.generation:03d}" + (f"_from_step_{self.first_step}" if self.first_step else "")


def configured_loggers(configured: Any) -> list[Logger]:
    """The loggers that a recipe sets: none for null and false, a CSV file for true; UsageError for what is none."""
    if configured is None or isinstance(configured, bool):
        return [CSVLogger(FOLDER, name=None)] if configured else []
    loggers = list(configured) if isinstance(configured, list | tuple) else [configured]
    for logger in loggers:
        if not isinstance(logger, Logger):
            raise UsageError(f"trainer.logger must be false, true or a logger: got {configured!r}")
        if type(logger).__module__.startswith("lightning.") and not isinstance(logger, FILE_LOGGERS):
            known, given = " and ".join(each.__name__ for each in FILE_LOGGERS), type(logger).__name__
            problem = f"trainer.logger takes {known} of Lightning's loggers: got {given}"
            raise UsageError(f"{problem}; for Weights & Biases set tracking=wandb")
    return loggers


def placed(loggers: Iterable[Logger], place: Place | None) -> list[Logger]:
    """Copies of loggers for a training, which log its generation and seed.

    Their files lie below its place, or in an absolute `save_dir` in a folder named like the run folder. If the training
    starts from its first step, the files that an earlier start of it left are deleted.
    """
    copies: list[Any] = copy.deepcopy(list(loggers))
    if place is None:
        return copies
    for logger in copies:
        if isinstance(logger, FILE_LOGGERS):
            save_dir = Path(str(logger.save_dir))
            root = save_dir / place.folder.name if save_dir.is_absolute() else place.folder / save_dir
            version = place.version if logger._version is None else f"{logger._version}_{place.version}"
            vars(logger).update(_root_dir=str(root), _save_dir=str(root), _version=version)  # there are no setters
            folder = Path(logger.log_dir)
            for stale in [] if place.first_step else (folder, *folder.parent.glob(f"{folder.name}_from_step_*")):
                shutil.rmtree(stale, ignore_errors=True)
        logger.log_hyperparams({"generation": place.generation, "seed": place.seed})
    return copies
