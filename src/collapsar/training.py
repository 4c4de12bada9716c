"""A fresh model and a fresh Trainer on a pool give a trained model; an analytic model is fitted instead.

A Lightning Trainer is single-use: a second `fit` with a new module runs no step and raises nothing. So the model and
the trainer are recipes here, called anew for each generation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from collapsar.data.batches import PoolBatches
from collapsar.data.pool import Pool
from collapsar.errors import NonFiniteError
from collapsar.models.analytic import AnalyticModel
from collapsar.models.generative import GenerativeModel
from collapsar.seeding import derive_seed, make_generator

STEPS_BETWEEN_READINGS = 20  # losses are read in groups, so that a GPU is not waited for at every step

OnSteps = Callable[[int, int], None]
"""Called with (epoch, steps done) now and then during training."""


@dataclass(frozen=True)
class Training:
    """A trained model, and how it got there.

    Attributes:
        model: On the CPU, in evaluation mode.
        summary: Number of steps and epochs, and each loss averaged over the last reading.
        curve: Losses averaged over each group of steps, with the "step" and "epoch" at its end.
        save: Writes a Lightning checkpoint (weights and hyperparameters) to a path.
    """

    model: GenerativeModel
    summary: dict[str, float]
    curve: list[dict[str, float]]
    save: Callable[[Path], None]


def train(
    *,
    model: Callable[[], GenerativeModel],
    trainer: Callable[..., Trainer],
    pool: Pool,
    batch_size: int,
    seed: int,
    generation: int,
    on_steps: OnSteps,
) -> Training:
    """Train a fresh model on a pool.

    Args:
        model: Recipe of the model.
        trainer: Recipe of the Trainer; takes `callbacks`.
        pool: What to train on; moved to the trainer's device as it is.
        batch_size: Samples in a step.
        seed: The experiment's seed.
        generation: Names the random stream, and an error.
        on_steps: Told of the progress.

    Raises:
        NonFiniteError: a loss became NaN or infinite: generation, epoch and step are named.
        UsageError: the batch is larger than the pool.
    """
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, generation, "train"))  # the one global seed: initial weights and noise
        fresh_model = model()
        if isinstance(fresh_model, AnalyticModel):
            return fit(fresh_model, pool, generator=make_generator(seed, generation, "train"))
        monitor = LossMonitor(generation, on_steps)
        fresh_trainer = trainer(callbacks=[monitor])
        on_device = pool.to(fresh_trainer.strategy.root_device)
        shuffle = make_generator(seed, generation, "batches")
        batches = PoolBatches(on_device, batch_size=batch_size, generator=shuffle)
        try:
            fresh_trainer.fit(fresh_model, train_dataloaders=batches)
        except SystemExit as error:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from error
    summary = {"steps": float(monitor.num_steps), "epochs": float(fresh_trainer.current_epoch), **monitor.last_losses}
    return Training(
        fresh_model.eval().cpu(),
        summary,
        monitor.curve,
        save=lambda path: fresh_trainer.save_checkpoint(path, weights_only=True),
    )


def fit(model: AnalyticModel, pool: Pool, *, generator: torch.Generator) -> Training:
    """Fit a model that has a formula for it, to the whole pool at once."""
    model.fit(pool.concatenated(), weights=pool.weights, generator=generator)

    def save(path: Path) -> None:
        torch.save({"state_dict": model.state_dict()}, path)

    return Training(model.eval(), {"steps": 0.0, "epochs": 1.0}, [], save)


class LossMonitor(Callback):
    """Reads losses in groups: keeps their curve, reports progress and stops at the first that is not finite."""

    def __init__(self, generation: int, on_steps: OnSteps) -> None:
        self.generation, self.on_steps = generation, on_steps
        self.num_steps = 0
        self.curve: list[dict[str, float]] = []
        self._unread: list[dict[str, Tensor]] = []
        self._epochs: list[int] = []  # of the unread steps

    @property
    def last_losses(self) -> dict[str, float]:
        """Each loss averaged over the last reading."""
        last = self.curve[-1] if self.curve else {}
        return {name: value for name, value in last.items() if name not in ("step", "epoch")}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Tensor, batch_idx: int
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
        readings: dict[str, list[tuple[int, float]]] = {}  # by loss: the steps it was computed in, and its values
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
        """Name the earliest step whose loss is not finite."""
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
