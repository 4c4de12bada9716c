"""Train a fresh model with a fresh Trainer on a pool; fit an analytic model instead.

A Lightning Trainer is single-use: a second `fit` with a new module runs no step and raises nothing. So the model and
the trainer are recipes here, called anew for each generation.
"""

import pickle
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from collapsar.data.batches import PoolBatches, PoolInOrder, check_batch_size
from collapsar.data.device_cache import DeviceCache
from collapsar.data.pool import REAL, Part, Pool
from collapsar.errors import UsageError
from collapsar.machine import signals
from collapsar.machine.choice import Machine
from collapsar.machine.devices import device_seeded, explain_out_of_memory, tensor_cores_allowed
from collapsar.models.analytic.analytic import AnalyticModel
from collapsar.models.generative import GenerativeModel
from collapsar.models.graphs import compiled
from collapsar.models.learned import LearnedModel
from collapsar.models.plan import Plan
from collapsar.samples import Samples
from collapsar.seeding import derive_seed, make_generator
from collapsar.training.early_stopping import BestWeights, early_stopping, validate_evenly
from collapsar.training.loggers import Place, announce
from collapsar.training.loss_monitor import LossMonitor, OnSteps
from collapsar.training.monitored import MonitorCheck, raise_if_unmonitored
from collapsar.training.pretraining import check_pretraining, pretrain_first, with_real
from collapsar.training.trainer import TrainerRecipe, autocast_dtype, in_full_precision, make_trainer, on_machine
from collapsar.training.unfinished import Checkpoints, Unfinished, unkept

VALIDATED_AT_ONCE = 1024  # samples, at least: the distance of two small sets is noisy


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a generation's model is made and trained.

    Attributes:
        model: Makes the model.
        trainer: Makes the `lightning.Trainer`; takes `callbacks`.
        plan: The levers of training.
        batch_size: Samples in a step.
        device_cache: The parts of the chain's pools that stay on the training device.
    """

    model: Callable[[], GenerativeModel]
    trainer: TrainerRecipe
    plan: Plan
    batch_size: int
    device_cache: DeviceCache = field(default_factory=DeviceCache)

    def on(self, machine: Machine) -> "Recipe":
        """The recipe with the machine's choices in place of what is left open."""
        plan = replace(self.plan, cuda_graphs=machine.cuda_graphs, compiled=machine.compiled)
        return replace(self, trainer=on_machine(self.trainer, machine), plan=plan)


@dataclass(frozen=True, kw_only=True)
class Training:
    """A trained model, and how it was trained.

    Attributes:
        model: In evaluation mode, on the device it was trained on.
        summary: Number of steps and epochs, and each loss averaged over the last group of steps.
        curve: Losses averaged over each group of steps, with the "step" and "epoch" at its end.
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
        real: The real training set, for pretraining without labels; None pretrains on the pool alone.
        held_out: Real samples that no generation is trained on, if the plan validates on them.
        start: The checkpoint of the last generation, if the plan begins with its weights.
        unfinished: Stores and restores the progress of a training in steps; None stores nothing.
        folder: The run folder, below which the user's loggers and callbacks write; None keeps their own paths.

    Raises:
        NonFiniteError: a loss became NaN or infinite; the text names generation, epoch and step.
        UsageError: the batch is larger than the pool, the Trainer takes no step, or a callback cannot work.
        DeviceMemoryError: the memory of the device is full.
        Stopped: a signal asked to stop; a training in steps first ends its step and stores its progress.
    """
    train_seed = derive_seed(seed, generation, "train")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(train_seed)  # the one global seed, for initial weights and noise
        model = recipe.model()
        if not model.is_trained_in_steps:
            generator = make_generator(seed, generation, "train")
            return fit(cast("AnalyticModel", model), pool, generator=generator)
        learner = cast("LearnedModel", model)
        learner.plan = recipe.plan
        if start is not None:
            begin_with(learner, start)
        with signals.deferred():
            return train_in_steps(
                learner,
                recipe,
                pool,
                seed=seed,
                generation=generation,
                on_steps=on_steps,
                real=real,
                held_out=held_out,
                unfinished=unfinished or unkept(),
                folder=folder,
            )


def begin_with(model: LearnedModel, checkpoint: Path) -> None:
    """Load a checkpoint's weights into a fresh model, and its optimiser states if the plan keeps them."""
    try:
        stored = torch.load(checkpoint, weights_only=True, map_location="cpu")
        model.load_state_dict(stored["state_dict"])
        model.optimizer_states = stored["optimizer_states"] if model.plan.keeps_optimizer else None
    except (OSError, KeyError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UsageError(
            f"{checkpoint} cannot be begun with ({type(error).__name__}): delete the run folder to start anew, or set "
            "training.warm_start=null"
        ) from error


def fit(model: AnalyticModel, pool: Pool, *, generator: torch.Generator) -> Training:
    """Fit an analytic model by its formula, to the whole pool at once."""
    model.fit(pool.concatenated(), weights=pool.weights, generator=generator)

    def save(path: Path) -> None:
        torch.save({"state_dict": model.state_dict()}, path)

    return Training(model=model.eval(), summary={"steps": 0.0, "epochs": 1.0}, curve=[], save=save)


def train_in_steps(
    model: LearnedModel,
    recipe: Recipe,
    pool: Pool,
    *,
    seed: int,
    generation: int,
    on_steps: OnSteps,
    real: Samples | None,
    held_out: Samples | None,
    unfinished: Unfinished,
    folder: Path | None,
) -> Training:
    """Train a model as its plan says, with a Trainer of its own; continue from a stored state if there is one."""
    state = unfinished.read()
    is_begun = state is not None and state["phase"] == "training"
    first_step = int(state["step"]) if state is not None and is_begun else 0
    place = None
    if folder is not None:
        place = Place(folder=folder, generation=generation, seed=seed, first_step=first_step)
    monitor, stopping = LossMonitor(generation, on_steps), early_stopping(recipe.plan, watched=model.watched)
    trainer = make_trainer(recipe.trainer, monitor, *stopping, place=place)
    if place is not None:
        announce(trainer.loggers, place)
    device = trainer.strategy.root_device
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # a Lightning connector sets it
    configured = [callback for callback in callbacks if callback not in (monitor, *stopping)]
    model.has_watchers = bool(trainer.loggers or configured)
    model.autocast_dtype = autocast_dtype(trainer)
    model.uses_graphs = bool(recipe.plan.cuda_graphs) and device.type == "cuda"
    advice = f"lower batch_size, which is {recipe.batch_size}, or the width of the model"
    with (
        explain_out_of_memory(f"training generation {generation} on {device.type}", advice=advice),
        device_seeded(device, derive_seed(seed, generation, "train")),
        tensor_cores_allowed(device),
    ):
        unlabelled, pool = with_real(pool, real), recipe.device_cache.move(pool, device)
        batches, validation = split(pool, recipe, device=device, seed=seed, generation=generation, held_out=held_out)
        if model.condition is not None:
            model.condition.learn(pool.labels, weights=pool.weights)
        pretrained: dict[str, float] = {}
        if recipe.plan.pretraining is not None:
            pretrained = pretrain_first(
                model,
                recipe.plan.pretraining,
                unlabelled,
                trainer=trainer,
                steps_per_epoch=len(batches),
                batch_size=recipe.batch_size,
                seed=seed,
                generation=generation,
                on_steps=on_steps,
                unfinished=unfinished,
                state=state,
            )
            monitor.num_steps = int(pretrained["pretraining_steps"])
        validate_evenly(trainer, recipe.plan, batches_per_epoch=len(batches))
        checkpoints = Checkpoints(unfinished, state=state if is_begun else None, pretrained=pretrained)
        callbacks[:0] = [checkpoints, MonitorCheck(configured)]
        try:
            with compiled(model.networks()) if recipe.plan.compiled else nullcontext():
                trainer.fit(model, train_dataloaders=batches, val_dataloaders=validation)
        except signals.Stopped:
            raise
        except MisconfigurationException as error:
            raise UsageError(f"trainer cannot train: {str(error).splitlines()[0]}") from error
        except RuntimeError as error:
            raise_if_unmonitored(error, trainer)
            raise
        except SystemExit as error:  # Lightning turns Ctrl-C into this if our handler is not installed
            raise KeyboardInterrupt from error
    if not trainer.global_step:
        raise UsageError("the Trainer took no step: look at what conf/trainer and the overrides of trainer.* limit")

    def save(path: Path) -> None:
        model.cpu()
        trainer.save_checkpoint(path, weights_only=not recipe.plan.keeps_optimizer)

    summary = {"steps": float(monitor.num_steps), "epochs": float(trainer.current_epoch)}
    summary |= monitor.last_losses | pretrained
    for callback in stopping:
        if isinstance(callback, BestWeights):
            callback.put_back(model)
            summary |= {"best_step": float(callback.step), "best_score": callback.score}
    model.eval().to(device)
    model.conclude(
        lambda num_samples: some_of(batches, num_samples, generator=make_generator(seed, generation, "conclude")),
        generator=make_generator(seed, generation, "posterior"),
    )
    return Training(
        model=model, summary=summary, curve=monitor.curve, save=save, earlier_seconds=unfinished.earlier_seconds
    )


def split(
    pool: Pool, recipe: Recipe, *, device: torch.device, seed: int, generation: int, held_out: Samples | None
) -> tuple[PoolBatches, PoolInOrder | None]:
    """Shuffled batches to train on, and those that the plan keeps for validation; None if it keeps none."""
    shuffle, size = make_generator(seed, generation, "batches"), recipe.batch_size
    validated_at_once = max(size, VALIDATED_AT_ONCE)
    if held_out is not None:
        kept_pool, everything = Pool((Part(held_out.to(device), REAL),)), torch.arange(len(held_out))
        batches = PoolBatches(pool, device=device, batch_size=size, generator=shuffle)
        return batches, PoolInOrder(kept_pool, device=device, batch_size=validated_at_once, chosen=everything)
    num_kept = recipe.plan.num_kept_from_pool(len(pool))
    if not num_kept:
        return PoolBatches(pool, device=device, batch_size=size, generator=shuffle), None
    order = torch.randperm(len(pool), generator=make_generator(seed, generation, "validation"))
    kept, trained_on = order[:num_kept], order[num_kept:]
    batches = PoolBatches(pool, device=device, batch_size=size, generator=shuffle, chosen=trained_on)
    return batches, PoolInOrder(pool, device=device, batch_size=validated_at_once, chosen=kept)


def some_of(batches: PoolBatches, num_samples: int, *, generator: torch.Generator) -> Samples:
    """Up to `num_samples` of the training samples, drawn as an epoch is."""
    size = min(num_samples, batches.num_samples)
    drawn = PoolBatches(
        batches.pool, device=batches.device, batch_size=size, generator=generator, chosen=batches.chosen
    )
    return next(iter(drawn))


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
        check_pretraining(
            recipe.plan.pretraining,
            learner,
            trainer=make_trainer(in_full_precision(recipe.trainer)),
            steps_per_epoch=num_trained_on // recipe.batch_size,
            batch_size=recipe.batch_size,
        )
