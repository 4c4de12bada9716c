"""A pool becomes a trained model: a fresh one is fitted by its formula, or trained in steps (`phases.py`).

A Lightning Trainer is single-use: a second `fit` with a new module runs no step and raises nothing. So the model and
the trainer are recipes here, called anew for each generation.
"""

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
from collapsar.records.recipes import flattened
from collapsar.samples import Samples
from collapsar.seeding import derive_seed, make_generator
from collapsar.training.callbacks import LossMonitor, OnReading, OnSteps
from collapsar.training.phases import Training, TrainingInSteps
from collapsar.training.pretraining import check_pretraining
from collapsar.training.stored import begin_with
from collapsar.training.trainer import Recipe, make_trainer, total_steps
from collapsar.training.unfinished import Unfinished


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
    """Train a fresh model on a pool, which moves to the trainer's device as it is, if it fits.

    Seed and generation select the random streams. `real` is the real training set, for pretraining without labels;
    `held_out` are real samples that no generation is trained on, if the plan validates on them; `start` is the
    checkpoint of the last generation, if the plan begins with its weights; below `folder`, the run folder, the user's
    loggers and callbacks write. `on_reading` also gets the readings from before the checkpoint that it continues from.

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
        if real is not None:
            recipe = recipe.for_pool(len(pool), num_real=len(real))
        if start is not None:
            begin_with(learner, start)
        with signals.deferred():
            training = TrainingInSteps(
                model=learner,
                recipe=recipe,
                seed=seed,
                monitor=LossMonitor(generation, on_steps, on_reading),
                unfinished=unfinished or Unfinished(),
                folder=folder,
            )
            return training.run(pool, real=real, held_out=held_out)


def fit(model: AnalyticModel, pool: Pool, *, generator: torch.Generator) -> Training:
    """Fit an analytic model by its formula, to the whole pool at once."""
    model.check_pool_size(len(pool))
    model.fit(pool.concatenated(), weights=pool.weights, generator=generator)

    def save(path: Path) -> None:
        torch.save({"state_dict": model.state_dict()}, path)

    return Training(model=model.eval(), summary={"steps": 0.0, "epochs": 1.0}, curve=[], save=save)


def check_training(recipe: Recipe, model: GenerativeModel, *, pool_size: int) -> None:
    """Refuse a lever without effect, and a pool too small for the model, its batches and the validation share."""
    model.check_plan(recipe.plan)
    num_trained_on = pool_size - recipe.plan.num_kept_from_pool(pool_size)
    model.check_pool_size(num_trained_on)
    if not model.is_trained_in_steps:
        return
    learner = cast("LearnedModel", model)
    check_batch_size(recipe.batch_size, pool_size=num_trained_on)
    if recipe.plan.budget is not None and flattened(recipe.trainer).keywords.get("max_steps", -1) < 1:
        raise UsageError(
            f"training.budget={recipe.plan.budget} counts trainer.max_steps: set that to at least 1, or the budget "
            "to null"
        )
    if recipe.batch_size < learner.smallest_batch:
        raise UsageError(
            f"batch_size must be at least {learner.smallest_batch} with model.norm=batch: got {recipe.batch_size}"
        )
    if recipe.batch_size % learner.group_size:
        raise UsageError(
            f"batch_size must be a multiple of model.deviation_group_size={learner.group_size}: got {recipe.batch_size}"
        )
    if recipe.plan.pretraining is not None:
        num_steps = total_steps(make_trainer(recipe.trainer), steps_per_epoch=num_trained_on // recipe.batch_size)
        check_pretraining(recipe.plan.pretraining, learner, num_steps=num_steps, batch_size=recipe.batch_size)
