"""A fresh model and a fresh Trainer on a pool give a trained model; an analytic model is fitted instead.

A Lightning Trainer is single-use: a second `fit` with a new module runs no step and raises nothing. So the model and
the trainer are recipes here, called anew for each generation.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import torch

from collapsar.data.batches import PoolBatches, PoolInOrder, check_batch_size
from collapsar.data.pool import Pool
from collapsar.data.residents import Residents
from collapsar.devices import device_seeded, full_memory_told, tensor_cores_allowed
from collapsar.errors import UsageError
from collapsar.machine import Machine
from collapsar.models.analytic import AnalyticModel
from collapsar.models.generative import GenerativeModel
from collapsar.models.learned import LearnedModel
from collapsar.models.plan import Plan
from collapsar.seeding import derive_seed, make_generator
from collapsar.training.loss_monitor import LossMonitor, OnSteps
from collapsar.training.trainer import TrainerRecipe, autocast_dtype, make_trainer, on_machine


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a generation's model is made and trained.

    Attributes:
        model: Makes the model.
        trainer: Makes the `lightning.Trainer`; takes `callbacks`.
        plan: The levers of training.
        batch_size: Samples in a step.
        residents: What the device of the training holds of the chain's pools.
    """

    model: Callable[[], GenerativeModel]
    trainer: TrainerRecipe
    plan: Plan
    batch_size: int
    residents: Residents = field(default_factory=Residents)

    def on(self, machine: Machine) -> "Recipe":
        """The recipe with what the machine chose in place of what is left open."""
        plan = replace(self.plan, cuda_graphs=machine.cuda_graphs)
        return replace(self, trainer=on_machine(self.trainer, machine), plan=plan)


@dataclass(frozen=True, kw_only=True)
class Training:
    """A trained model, and how it got there.

    Attributes:
        model: In evaluation mode, on the device it was trained on.
        summary: Number of steps and epochs, and each loss averaged over the last reading.
        curve: Losses averaged over each group of steps, with the "step" and "epoch" at its end.
        save: Moves the model to the CPU, and writes a Lightning checkpoint (weights and hyperparameters) to a path.
        shared_seconds: Where another chain trained the model: the seconds that it took there ("train").
    """

    model: GenerativeModel
    summary: dict[str, float]
    curve: list[dict[str, float]]
    save: Callable[[Path], None]
    shared_seconds: dict[str, float] = field(default_factory=dict)


def train(recipe: Recipe, pool: Pool, *, seed: int, generation: int, on_steps: OnSteps) -> Training:
    """Train a fresh model on a pool.

    Args:
        recipe: Of the model, its Trainer and their plan.
        pool: What to train on; moved to the trainer's device as it is, where it fits.
        seed: The experiment's seed.
        generation: Names the random streams, and an error.
        on_steps: Told of the progress.

    Raises:
        NonFiniteError: a loss became NaN or infinite: generation, epoch and step are named.
        UsageError: the batch is larger than the pool, or the Trainer takes no step.
        DeviceMemoryError: the memory of the device is full.
    """
    train_seed = derive_seed(seed, generation, "train")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(train_seed)  # the one global seed: initial weights and noise
        model = recipe.model()
        if not model.is_trained_in_steps:
            generator = make_generator(seed, generation, "train")
            return fit(cast("AnalyticModel", model), pool, generator=generator)
        learner = cast("LearnedModel", model)
        learner.plan = recipe.plan
        return train_in_steps(learner, recipe, pool, seed=seed, generation=generation, on_steps=on_steps)


def fit(model: AnalyticModel, pool: Pool, *, generator: torch.Generator) -> Training:
    """Fit a model that has a formula for it, to the whole pool at once."""
    model.fit(pool.concatenated(), weights=pool.weights, generator=generator)

    def save(path: Path) -> None:
        torch.save({"state_dict": model.state_dict()}, path)

    return Training(model=model.eval(), summary={"steps": 0.0, "epochs": 1.0}, curve=[], save=save)


def train_in_steps(
    model: LearnedModel, recipe: Recipe, pool: Pool, *, seed: int, generation: int, on_steps: OnSteps
) -> Training:
    """Step a model's players as its plan says, with a Trainer of its own."""
    monitor = LossMonitor(generation, on_steps)
    trainer = make_trainer(recipe.trainer, monitor)
    device = trainer.strategy.root_device
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # a connector of Lightning's sets it
    model.has_watchers = bool(trainer.loggers) or any(callback is not monitor for callback in callbacks)
    model.autocast_dtype = autocast_dtype(trainer)
    model.uses_graphs = bool(recipe.plan.cuda_graphs) and device.type == "cuda"
    advice = f"lower batch_size, which is {recipe.batch_size}, or the width of the model"
    with (
        full_memory_told(f"training generation {generation} on {device.type}", advice=advice),
        device_seeded(device, derive_seed(seed, generation, "train")),
        tensor_cores_allowed(device),
    ):
        pool = recipe.residents.move(pool, device)
        batches, validation = split(pool, recipe, device=device, seed=seed, generation=generation)
        try:
            trainer.fit(model, train_dataloaders=batches, val_dataloaders=validation)
        except SystemExit as error:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from error
    if not monitor.num_steps:
        raise UsageError("the Trainer took no step: look at what conf/trainer and the overrides of trainer.* limit")

    def save(path: Path) -> None:
        model.cpu()
        trainer.save_checkpoint(path, weights_only=True)

    summary = {"steps": float(monitor.num_steps), "epochs": float(trainer.current_epoch), **monitor.last_losses}
    return Training(model=model.eval().to(device), summary=summary, curve=monitor.curve, save=save)


def split(
    pool: Pool, recipe: Recipe, *, device: torch.device, seed: int, generation: int
) -> tuple[PoolBatches, PoolInOrder | None]:
    """Shuffled batches to train on, and those that the plan keeps for validation; None where it keeps none."""
    shuffle, size = make_generator(seed, generation, "batches"), recipe.batch_size
    num_validation = recipe.plan.num_validation(len(pool))
    if not num_validation:
        return PoolBatches(pool, device=device, batch_size=size, generator=shuffle), None
    order = torch.randperm(len(pool), generator=make_generator(seed, generation, "validation"))
    kept, trained_on = order[:num_validation], order[num_validation:]
    batches = PoolBatches(pool, device=device, batch_size=size, generator=shuffle, chosen=trained_on)
    return batches, PoolInOrder(pool, device=device, batch_size=size, chosen=kept)


def check_training(recipe: Recipe, model: GenerativeModel, *, pool_size: int) -> None:
    """Refuse a pool that is too small for the model, its batches and what its plan keeps for validation.

    Raises:
        UsageError: it is.
    """
    model.check_pool_size(pool_size)
    if model.is_trained_in_steps:
        check_batch_size(recipe.batch_size, pool_size=pool_size - recipe.plan.num_validation(pool_size))
