"""Our callbacks of a training: they read losses, keep the best weights, and check what configured callbacks monitor.

`BestWeights` keeps weights in memory, because Lightning's ModelCheckpoint would write files of its own.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor

from collapsar.errors import NonFiniteError, UsageError
from collapsar.models.learned import LearnedModel
from collapsar.records.curve import is_loss

STEPS_BETWEEN_READINGS = 20  # losses are read in groups, so that not every step waits for the GPU
LIGHTNINGS_WORDS = "conditioned on metric"  # in the RuntimeError of an EarlyStopping
VALIDATED = "validation/"

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
        self._unread: list[dict[str, Tensor]] = []
        self._epochs: list[int] = []  # epochs of the unread steps

    @property
    def last_losses(self) -> dict[str, float]:
        """Each loss averaged over the last group of steps."""
        last = self.curve[-1] if self.curve else {}
        return {name: value for name, value in last.items() if is_loss(name)}

    def state_dict(self) -> dict[str, Any]:
        return {"num_steps": self.num_steps, "curve": self.curve, "unread": self._unread, "epochs": self._epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.num_steps, self.curve = state_dict["num_steps"], state_dict["curve"]
        self._unread, self._epochs = state_dict["unread"], state_dict["epochs"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._unread = [{name: loss.to(pl_module.device) for name, loss in losses.items()} for losses in self._unread]
        if self.on_reading:
            for reading in self.curve:  # of a training that continues
                self.on_reading(reading)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.num_steps += 1
        self._unread.append(outputs)
        self._epochs.append(trainer.current_epoch)
        if len(self._unread) >= STEPS_BETWEEN_READINGS:
            self._read(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._unread:
            self._read(pl_module)

    def _read(self, model: LightningModule) -> None:
        readings: list[tuple[int, str, float]] = []  # index of the step, loss, value
        means: dict[str, float] = {}
        for name in sorted({name for losses in self._unread for name in losses}):
            steps = [index for index, losses in enumerate(self._unread) if name in losses]
            values = torch.stack([self._unread[index][name] for index in steps]).tolist()  # one wait for the device
            means[name] = sum(values) / len(values)
            if is_loss(name):
                readings += [(index, name, value) for index, value in zip(steps, values, strict=True)]
            elif not math.isfinite(means[name]):  # half precision tries scales until gradients are finite
                del means[name]
        self._refuse_non_finite(readings)
        epoch = self._epochs[-1]
        rates = cast("LearnedModel", model).learning_rates_now()
        self.curve.append({"step": float(self.num_steps), "epoch": float(epoch), **means, **rates})
        self._unread.clear()
        self._epochs.clear()
        self.on_steps(epoch, self.num_steps)
        if self.on_reading:
            self.on_reading(self.curve[-1])

    def _refuse_non_finite(self, readings: Sequence[tuple[int, str, float]]) -> None:
        """Raise an error that names the earliest step with a non-finite loss."""
        broken = [reading for reading in readings if not math.isfinite(reading[2])]
        if broken:
            index, name, value = min(broken, key=lambda reading: reading[:2])
            raise NonFiniteError(
                f"{name} is {value} in generation {self.generation}, epoch {self._epochs[index]}, "
                f"step {self.num_steps - len(self._unread) + index}: "
                "lower the learning rate, or look at the pool this generation was trained on"
            )


class BestWeights(Callback):
    """Keeps the weights with the lowest validated score.

    Args:
        monitor: Name under which the score is logged.

    Attributes:
        score: The lowest score so far.
        step: Number of steps before that score was measured.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor, self.score, self.step = monitor, math.inf, 0
        self._weights: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        score = float(trainer.callback_metrics[self.monitor])
        if not trainer.sanity_checking and score < self.score:
            self.score, self.step = score, trainer.global_step
            self._weights = {name: value.detach().clone() for name, value in pl_module.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return {"score": self.score, "step": self.step, "weights": self._weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.score, self.step, self._weights = state_dict["score"], state_dict["step"], state_dict["weights"]

    def put_back(self, model: LightningModule) -> None:
        """Load the best weights into the model, if it was ever validated."""
        if self._weights:
            with torch.no_grad():
                model.load_state_dict(self._weights)


def early_stopping(patience: int | None, *, watched: str) -> tuple[Callback, ...]:
    """Callbacks that stop a training early and keep its best weights; none without a patience.

    `watched` names the validated score; lower is better (`LearnedModel.watched`).
    """
    if patience is None:
        return ()
    monitor = f"{VALIDATED}{watched}"
    return EarlyStopping(monitor, patience=patience, mode="min", check_finite=False), BestWeights(monitor)


class MonitorCheck(Callback):
    """Checks after the first step that the values that configured callbacks monitor are logged.

    The first step shows what a model of ours logs. A user's own models and callbacks may log more at any time; with
    these a callback is refused only if Lightning itself misses the value (`raise_if_unmonitored`).
    """

    def __init__(self, configured: Sequence[Callback]) -> None:
        self.configured = configured

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step != 1 or not type(pl_module).__module__.startswith("collapsar."):
            return
        if not all(type(callback).__module__.startswith("lightning.") for callback in self.configured):
            return
        for callback in self.configured:
            wanted = getattr(callback, "monitor", None)
            is_to_come = trainer.enable_validation and str(wanted).startswith(VALIDATED)
            if wanted is not None and wanted not in trainer.callback_metrics and not is_to_come:
                raise unmonitored(type(callback).__name__, wanted, trainer=trainer)


def raise_if_unmonitored(error: RuntimeError, trainer: Trainer) -> None:
    """Raise a UsageError in place of Lightning's error about a value that is not logged."""
    if LIGHTNINGS_WORDS in str(error):
        raise unmonitored("EarlyStopping", str(error).split("`")[1], trainer=trainer) from error


def unmonitored(callback: str, wanted: str, *, trainer: Trainer) -> UsageError:
    """The error for a callback that monitors a value that is not logged."""
    logged = sorted(map(str, trainer.callback_metrics))
    is_validated = any(name.startswith(VALIDATED) for name in logged)
    advice = "" if is_validated else f"; with training.validation_fraction also {VALIDATED}... of them"
    return UsageError(
        f"trainer.callbacks: {callback} monitors {wanted!r}, which is not logged: "
        f"monitor one of {', '.join(logged)}{advice}"
    )
