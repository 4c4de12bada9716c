"""A pool becomes a trained model: a fresh one is fitted by its formula, or trained in steps.

A training in steps splits the pool, pretrains if the plan says so, fits, and concludes. A Lightning Trainer is
single-use: a second `fit` with a new module runs no step and raises nothing. So the model and the trainer are recipes
here, called anew for each generation.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import torch
from lightning import Callback
from lightning.fabric.utilities.exceptions import MisconfigurationException

from collapsar.data.pool import REAL, Part, Pool, PoolBatches, PoolInOrder, check_batch_size
from collapsar.foundations.errors import UsageError
from collapsar.foundations.recipes import flattened
from collapsar.foundations.samples import Samples
from collapsar.foundations.seeding import derive_seed, make_generator
from collapsar.machine import signals
from collapsar.machine.devices import device_seeded, explain_out_of_memory, tensor_cores_allowed
from collapsar.models.analytic.analytic import AnalyticModel
from collapsar.models.course import compiled, networks_of
from collapsar.models.generative import GenerativeModel
from collapsar.models.learned import LearnedModel
from collapsar.models.own_fit import AUTOCAST_DTYPES
from collapsar.training.callbacks import BestWeights, LossMonitor, OnReading, OnSteps, Place
from collapsar.training.pretraining import check_pretraining, pretrain
from collapsar.training.stored import begin_with
from collapsar.training.trainer import Recipe, Training, make_trainer, total_steps
from collapsar.training.unfinished import Checkpoints, Unfinished


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
    UsageError if the recipe cannot train on this pool, NonFiniteError if a loss became NaN or infinite,
    DeviceMemoryError if the device's memory is full. Texts say what to set, or name generation, epoch and step. Stopped
    if a signal asked to stop: a training in steps first ends its step and stores its progress.
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
    save = partial(torch.save, {"state_dict": model.state_dict()})
    return Training(model=model.eval(), summary={"steps": 0.0, "epochs": 1.0}, curve=[], save=save)


def check_training(recipe: Recipe, model: GenerativeModel, *, pool_size: int) -> None:
    """Refuse a lever without effect, and a pool too small for the model, its batches and the validation share."""
    model.check_plan(recipe.plan)
    num_trained_on = pool_size - recipe.plan.num_kept_from_pool(pool_size)
    model.check_pool_size(num_trained_on)
    if not model.is_trained_in_steps:
        return
    learner, size = cast("LearnedModel", model), recipe.batch_size
    check_batch_size(size, pool_size=num_trained_on)
    if recipe.plan.budget is not None and flattened(recipe.trainer).keywords.get("max_steps", -1) < 1:
        problem = f"training.budget={recipe.plan.budget} counts trainer.max_steps"
        raise UsageError(f"{problem}: set that to at least 1, or the budget to null")
    if size < learner.smallest_batch:
        raise UsageError(f"batch_size must be at least {learner.smallest_batch} with model.norm=batch: got {size}")
    if size % (group_size := learner.group_size):
        raise UsageError(f"batch_size must be a multiple of model.deviation_group_size={group_size}: got {size}")
    if recipe.plan.pretraining is not None:
        num_steps = total_steps(make_trainer(recipe.trainer), steps_per_epoch=num_trained_on // size)
        check_pretraining(recipe.plan.pretraining, learner, num_steps=num_steps, batch_size=size)


VALIDATED_AT_ONCE = 1024  # samples, at least: the distance of two small sets is noisy


@dataclass(kw_only=True)
class TrainingInSteps:
    """One training of a model, with a Trainer of its own; it continues from a stored state if there is one."""

    model: LearnedModel
    recipe: Recipe
    seed: int
    monitor: LossMonitor
    unfinished: Unfinished
    folder: Path | None

    def __post_init__(self) -> None:
        self.plan, self.generation, model = self.recipe.plan, self.monitor.generation, self.model
        self.state = self.unfinished.read()
        self.begun = self.state if self.state is not None and self.state["phase"] == "training" else None
        place = None
        if self.folder is not None:
            first_step = int(self.begun["step"]) if self.begun else 0
            place = Place(folder=self.folder, generation=self.generation, seed=self.seed, first_step=first_step)
        self.best: BestWeights | None = None
        if self.plan.early_stopping_patience is not None:
            self.best = BestWeights(f"validation/{model.watched}", patience=self.plan.early_stopping_patience)
        ours = [self.monitor, *([self.best] if self.best else [])]
        self.trainer = make_trainer(self.recipe.trainer, *ours, place=place)
        self.device: torch.device = self.trainer.strategy.root_device
        self.callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]  # a connector sets it
        model.is_on_its_own = False
        model.has_watchers = bool(self.trainer.loggers) or len(self.callbacks) > len(ours)
        model.autocast_dtype = AUTOCAST_DTYPES[str(self.trainer.precision)]
        model.uses_graphs = bool(self.plan.cuda_graphs) and self.device.type == "cuda"

    def run(self, pool: Pool, *, real: Samples | None, held_out: Samples | None) -> Training:
        """Train the model; afterwards it is in evaluation mode on the Trainer's device."""
        advice = f"lower batch_size, which is {self.recipe.batch_size}, or the width of the model"
        with (
            explain_out_of_memory(f"training generation {self.generation} on {self.device.type}", advice=advice),
            device_seeded(self.device, derive_seed(self.seed, self.generation, "train")),
            tensor_cores_allowed(self.device),
        ):
            unlabelled, pool = with_real(pool, real), self.recipe.device_cache.move(pool, self.device)
            batches, validation = self._split(pool, held_out)
            if self.model.condition is not None:
                self.model.condition.learn(pool.labels, weights=pool.weights)
            pretrained = self._pretrain(unlabelled, steps_per_epoch=len(batches))
            if self.plan.validation_checks is not None:  # at even intervals of the steps that are left
                interval = total_steps(self.trainer, steps_per_epoch=len(batches)) // self.plan.validation_checks
                self.trainer.check_val_every_n_epoch = None  # type: ignore[assignment]  # counts steps across epochs
                self.trainer.val_check_interval = max(interval, 1)
            self._fit(batches, validation, pretrained=pretrained)
        return self._conclude(batches, pretrained=pretrained)

    def save(self, path: Path) -> None:
        self.model.cpu()
        self.trainer.save_checkpoint(path, weights_only=self.plan.warm_start != "weights_and_optimizer")

    def _split(self, pool: Pool, held_out: Samples | None) -> tuple[PoolBatches, PoolInOrder | None]:
        kept_pool, kept, trained_on = pool, None, None
        if held_out is not None:
            kept_pool, kept = Pool((Part(held_out.to(self.device), REAL),)), torch.arange(len(held_out))
        elif num_kept := self.plan.num_kept_from_pool(len(pool)):
            order = torch.randperm(len(pool), generator=self._generator("validation"))
            kept, trained_on = order[:num_kept], order[num_kept:]
        batches = self._batches(pool, chosen=trained_on, purpose="batches")
        if kept is None:
            return batches, None
        size = max(self.recipe.batch_size, VALIDATED_AT_ONCE)
        return batches, PoolInOrder(kept_pool, device=self.device, batch_size=size, chosen=kept)

    def _pretrain(self, pool: Pool, *, steps_per_epoch: int) -> dict[str, float]:
        """Pretrain the model for its share of the steps, and leave the Trainer the rest; entries for the record."""
        if self.plan.pretraining is None:
            return {}
        total = total_steps(self.trainer, steps_per_epoch=steps_per_epoch)
        num_steps = self.plan.pretraining.num_steps(total)
        self.trainer.fit_loop.epoch_loop.max_steps = total - num_steps
        self.monitor.num_steps = num_steps
        if self.begun is not None:
            return cast("dict[str, float]", self.begun["pretrained"])
        return pretrain(
            self.model,
            self.plan.pretraining,
            self._batches(pool, purpose="pretraining"),
            num_steps=num_steps,
            generation=self.generation,
            on_steps=self.monitor.on_steps,
            unfinished=self.unfinished,
            state=self.state,
        )

    def _fit(self, batches: PoolBatches, validation: PoolInOrder | None, *, pretrained: dict[str, float]) -> None:
        checkpoints = Checkpoints(self.unfinished, state=self.begun, pretrained=pretrained)
        self.callbacks.insert(0, checkpoints)
        try:
            with compiled(networks_of(self.model, self.model.players())) if self.plan.compiled else nullcontext():
                self.trainer.fit(self.model, train_dataloaders=batches, val_dataloaders=validation)
        except signals.Stopped:
            raise
        except MisconfigurationException as error:
            raise UsageError(f"trainer cannot train: {str(error).splitlines()[0]}") from error
        except RuntimeError as error:
            if "conditioned on metric" in str(error):  # an EarlyStopping monitors what is not logged
                raise UsageError(f"trainer.callbacks: {' '.join(str(error).split())}") from error
            raise
        except SystemExit as error:  # Lightning turns Ctrl-C into this if our handler is not installed
            raise KeyboardInterrupt from error
        if not self.trainer.global_step:
            raise UsageError("the Trainer took no step: look at what conf/trainer and the overrides of trainer.* limit")

    def _conclude(self, batches: PoolBatches, *, pretrained: dict[str, float]) -> Training:
        """Put the best weights back, sum the training up, and fit what needs the final weights."""
        self.state = self.begun = None  # frees the memory of a checkpoint
        summary = {"steps": float(self.monitor.num_steps), "epochs": float(self.trainer.current_epoch)}
        summary |= self.monitor.last_losses | pretrained
        if self.best is not None:
            if self.best.weights:  # it was validated
                self.model.load_state_dict(self.best.weights)
            summary |= {"best_step": float(self.best.step), "best_score": float(self.best.best_score)}
        self.model.eval().to(self.device)

        def some(num_samples: int) -> Samples:
            """Up to so many of the training samples, drawn as an epoch is."""
            size = min(num_samples, batches.num_samples)
            return next(iter(self._batches(batches.pool, size=size, chosen=batches.chosen, purpose="conclude")))

        self.model.conclude(some, generator=self._generator("posterior"))
        return Training(
            model=self.model,
            summary=summary,
            curve=self.monitor.curve,
            save=self.save,
            earlier_seconds=self.unfinished.earlier_seconds,
        )

    def _batches(
        self, pool: Pool, *, purpose: str, size: int | None = None, chosen: torch.Tensor | None = None
    ) -> PoolBatches:
        size, generator = size or self.recipe.batch_size, self._generator(purpose)
        return PoolBatches(pool, device=self.device, batch_size=size, generator=generator, chosen=chosen)

    def _generator(self, purpose: str) -> torch.Generator:
        return make_generator(self.seed, self.generation, purpose)


def with_real(pool: Pool, real: Samples | None) -> Pool:
    """The pool together with the real training set, each sample once and with equal weight."""
    if real is None or any(part.samples.values is real.values for part in pool.parts):
        return Pool(pool.parts)
    return Pool((Part(real, REAL), *pool.parts))
