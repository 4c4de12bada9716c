"""A Lightning callback that reads the losses: it keeps their curve, reports progress and stops at a non-finite loss."""

import math
from collections.abc import Callable
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from collapsar.errors import NonFiniteError

STEPS_BETWEEN_READINGS = 20  # losses are read in groups, so that not every step waits for the GPU

OnSteps = Callable[[int, int], None]
"""Called with (epoch, steps done) now and then during training."""


class LossMonitor(Callback):
    """Reads losses in groups: keeps their curve, reports progress and raises NonFiniteError at a non-finite loss."""

    def __init__(self, generation: int, on_steps: OnSteps) -> None:
        self.generation, self.on_steps = generation, on_steps
        self.num_steps = 0
        self.curve: list[dict[str, float]] = []
        self._unread: list[dict[str, Tensor]] = []
        self._epochs: list[int] = []  # epochs of the unread steps

    @property
    def last_losses(self) -> dict[str, float]:
        """Each loss averaged over the last group of steps."""
        last = self.curve[-1] if self.curve else {}
        return {name: value for name, value in last.items() if name not in ("step", "epoch")}

    def state_dict(self) -> dict[str, Any]:
        return {
            "num_steps": self.num_steps,
            "curve": self.curve,
            "unread": self._unread,
            "epochs": self._epochs,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.num_steps, self.curve = state_dict["num_steps"], state_dict["curve"]
        self._unread, self._epochs = state_dict["unread"], state_dict["epochs"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._unread = [{name: loss.to(pl_module.device) for name, loss in losses.items()} for losses in self._unread]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.num_steps += 1
        self._unread.append(outputs)
        self._epochs.append(trainer.current_epoch)
        if len(self._unread) >= STEPS_BETWEEN_READINGS:
            self._read()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._read()

    def _read(self) -> None:
        if not self._unread:
            return
        epoch = self._epochs[-1]
        readings: dict[str, list[tuple[int, float]]] = {}  # by loss: (index of the step, value)
        for name in sorted({name for losses in self._unread for name in losses}):
            steps = [index for index, losses in enumerate(self._unread) if name in losses]
            values = torch.stack([self._unread[index][name] for index in steps]).tolist()  # one wait for the device
            readings[name] = list(zip(steps, values, strict=True))
        self._refuse_non_finite(readings)
        means = {name: sum(value for _, value in pairs) / len(pairs) for name, pairs in readings.items()}
        self.curve.append({"step": float(self.num_steps), "epoch": float(epoch), **means})
        self._unread.clear()
        self._epochs.clear()
        self.on_steps(epoch, self.num_steps)

    def _refuse_non_finite(self, readings: dict[str, list[tuple[int, float]]]) -> None:
        """Raise an error that names the earliest step with a non-finite loss."""
        broken = [
            (index, name, value)
            for name, values in readings.items()
            for index, value in values
            if not math.isfinite(value)
        ]
        if not broken:
            return
        index, name, value = min(broken, key=lambda entry: entry[:2])
        raise NonFiniteError(
            f"{name} is {value} in generation {self.generation}, epoch {self._epochs[index]}, "
            f"step {self.num_steps - len(self._unread) + index}: "
            "lower the learning rate, or look at the pool this generation was trained on"
        )
