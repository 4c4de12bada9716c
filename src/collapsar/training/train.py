"""A pool becomes a trained model: a fresh one is fitted by its formula, or trained in steps (`phases.py`).

A Lightning Trainer is single-use: a second `fit` with a new module runs no step and raises nothing. So the model and
the trainer are recipes here, called anew for each generation.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch

from collapsar.data.batches import check_batch_size
from collapsar.data.pool import Pool
from collapsar.errors import UsageError
from collapsar.machine import signals
from collapsar.models.analytic.analytic import AnalyticModel
from collapsar.models.generative import GenerativeModel
from collapsar.models.learned import LearnedModel
from collapsar.samples import Samples
from collapsar.seeding import derive_seed, make_generator
from collapsar.training.callbacks import OnReading, OnSteps
from collapsar.training.phases import TrainingInSteps
from collapsar.training.pretraining import check_pretraining
from collapsar.training.stored import begin_with
from collapsar.training.trainer import Recipe, in_full_precision, make_trainer, total_steps
from collapsar.training.unfinished import Unfinished


@dataclass(frozen=True, kw_only=True)
class Training:
    """A trained model, and how it was trained.

    Attributes:
        model: In evaluation mode, on the device it was trained on.
        summary: Number of steps and epochs, and each loss averaged over the last group of steps.
        curve: Losses averaged over each group of steps, with the "step" and "epoch" at its end, the learning rates of
            its last step, and norms of gradients within it (`records.curve`).
        save: Moves the model to the CPU, and writes a Lightning checkpoint (weights and hyperparameters) to a path.
        shared_seconds: Seconds that another chain took to train this model ("train"); empty if this chain trained it.
        earlier_seconds: Seconds of training before the checkpoint that it continued from; 0 without one.
    """

    model: GenerativeModel
    summary: dict[str, float]
    curve: list[dict[str, float]]
    save: Callable[[Path], None]
    shared_seconds: dict[str, float] = field(default_factory=dict)
    earlier_seconds: float = 0.0


def train(
    recipe: Recipe,
    pool: Pool,
    *,
    seed: int,
    generation: int,
    on_steps: OnSteps,
    on_reading: OnReading | None = None,
    real: Samples | None = None,
    held_out: Samples | None = None,
    start: Path | None = None,
    unfinished: Unfinished | None = None,
    folder: Path | None = None,
) -> Training:
    """Train a fresh model on a pool.

    Args:
        recipe: How to make and train the model.
        pool: What to train on; moved to the trainer's device as it is, if it fits.
        seed: The experiment's seed.
        generation: Selects the random streams; errors name it.
        on_steps: Called with the progress.
        on_reading: Called with each reading of the losses, also with those before the checkpoint it continues from.
        real: The real training set, for pretraining without labels; None pretrains on the pool alone.
        held_out: Real samples that no generation is trained on, if the plan validates on them.
        start: The checkpoint of the last generation, if the plan begins with its weights.
        unfinished: Stores and restores the progress of a training in steps; None stores nothing.
        folder: The run folder, below which the user's loggers and callbacks write; None keeps their own paths.

    Raises:
        UsageError: the recipe cannot train on this pool; the text says what to set.
        NonFiniteError: a loss became NaN or infinite; the text names generation, epoch and step.
        DeviceMemoryError: the memory of the device is full.
        Stopped: a signal asked to stop; a training in steps first ends its step and stores its progress.
    """
    with torch.random.fork_rng(devices=[]):
        train_seed = derive_seed(seed, generation, "train")
        torch.default_generator.manual_seed(train_seed)  # the one global seed, for initial weights and noise
        model = recipe.model()
        if not model.is_trained_in_steps:
            return fit(cast("AnalyticModel", model), pool, generator=make_generator(seed, generation, "train"))
        learner = cast("LearnedModel", model)
        learner.plan = recipe.plan
        if start is not None:
            begin_with(learner, start)
        unfinished = unfinished or Unfinished()
        with signals.deferred():
            training = TrainingInSteps(
                learner,
                recipe,
                seed=seed,
                generation=generation,
                on_steps=on_steps,
                on_reading=on_reading,
                unfinished=unfinished,
                folder=folder,
            )
            training.run(pool, real=real, held_out=held_out)
        return Training(
            model=learner,
            summary=training.summary,
            curve=training.monitor.curve,
            save=training.save,
            earlier_seconds=unfinished.earlier_seconds,
        )


def fit(model: AnalyticModel, pool: Pool, *, generator: torch.Generator) -> Training:
    """Fit an analytic model by its formula, to the whole pool at once."""
    model.fit(pool.concatenated(), weights=pool.weights, generator=generator)

    def save(path: Path) -> None:
        torch.save({"state_dict": model.state_dict()}, path)

    return Training(model=model.eval(), summary={"steps": 0.0, "epochs": 1.0}, curve=[], save=save)


def check_training(recipe: Recipe, model: GenerativeModel, *, pool_size: int) -> None:
    """Check that each lever has an effect on the model, and that the pool is large enough.

    Raises:
        UsageError: a lever has no effect, or the pool is too small for the model, its batches and the validation share.
    """
    model.check_plan(recipe.plan)
    num_trained_on = pool_size - recipe.plan.num_kept_from_pool(pool_size)
    model.check_pool_size(num_trained_on)
    if not model.is_trained_in_steps:
        return
    learner = cast("LearnedModel", model)
    check_batch_size(recipe.batch_size, pool_size=num_trained_on)
    if recipe.batch_size < learner.smallest_batch:
        raise UsageError(
            f"batch_size must be at least {learner.smallest_batch} with model.norm=batch: got {recipe.batch_size}"
        )
    if recipe.plan.pretraining is not None:
        trainer = make_trainer(in_full_precision(recipe.trainer))
        num_steps = total_steps(trainer, steps_per_epoch=num_trained_on // recipe.batch_size)
        check_pretraining(recipe.plan.pretraining, learner, num_steps=num_steps, batch_size=recipe.batch_size)
