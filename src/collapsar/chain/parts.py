"""What a chain is made of: the settings of `Experiment` (config/experiment.py), completed and checked.

Everything that does not fit together is refused here, before anything is read or trained.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from math import prod
from typing import Any

import torch
from torch import nn

from collapsar.data.causes.cause import Cause, checked_causes, num_planted
from collapsar.data.real_data import Source
from collapsar.data.regimes import Regime, simulate_pools
from collapsar.data.schedules import Schedule, as_schedule, check_bounds
from collapsar.drawing.correction import Correction, check_correction
from collapsar.drawing.selection import JudgedBy, KeepAll, Selection, check_labeller, choose_space, num_judged_classes
from collapsar.foundations.errors import UsageError, check_memory
from collapsar.foundations.seeding import make_generator
from collapsar.journal.alarm import Alarm
from collapsar.journal.objective import Measured
from collapsar.journal.tracking import Tracking
from collapsar.judging.evaluation import Evaluation
from collapsar.judging.metric_keys import METRICS
from collapsar.machine.choice import Machine
from collapsar.models.bias import Bias
from collapsar.models.conditioning import check_classes
from collapsar.models.generative import GenerativeModel
from collapsar.training.hardware import choose_machine
from collapsar.training.train import check_training
from collapsar.training.trainer import Recipe, check_trainer

BYTES_PER_WEIGHT = 4 * 4  # float32: the weight, its gradient, and Adam's two averages
BYTES_PER_NUMBER = 4


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of a chain; those without a comment are the settings of the same name."""

    name: str
    seed: int
    num_generations: int
    num_synthetic: Schedule | None  # of `num_synthetic_at`; None takes the real training set's size
    size: str
    num_threads: int | None
    continue_on_another_device: bool
    data: Source
    cause: Mapping[str, Cause]  # by name, adapted to the data
    recipe: Recipe  # how each generation's model is made and trained
    model: GenerativeModel  # of the recipe, on the meta device: it has properties but no weights
    max_steps: int  # of training in each generation; 0 for a model that is fitted by formula
    regime: Regime
    bias: Bias
    correction: Correction | None
    selection: Selection
    judge: Any  # `choose_space` refuses what is no feature space
    labelled_by: str | None
    evaluation: Evaluation
    tracking: Tracking
    alarm: Alarm
    checkpoint_minutes: float | None
    share_generation_0: bool
    objective: Any

    def num_synthetic_at(self, generation: int) -> int:
        """Samples that a generation gives to the next pool."""
        return self.data.sizes.train if self.num_synthetic is None else self.num_synthetic.count_at(generation)

    @property
    def all_num_synthetic(self) -> list[int]:
        """The same of each generation."""
        return [self.num_synthetic_at(generation) for generation in range(self.num_generations)]

    @property
    def judged_by(self) -> JudgedBy:
        """Which output of the judge is used: its space if it labels samples, else the selection's choice."""
        return "space" if self.labelled_by == "judge" else self.selection.judged_by

    def machine(self, stored: Machine | None) -> Machine:
        """The machine settings for training here: chosen for a new chain, else as stored; also sets torch's threads."""
        return choose_machine(
            stored,
            trainer=self.recipe.trainer if self.max_steps else None,
            num_threads=self.num_threads,
            evaluated_on=self.evaluation.device.type,
            may_move=self.continue_on_another_device,
            plan=self.recipe.plan,
            num_steps=self.max_steps,
            may_be_compiled=self.model.may_be_compiled,
        )

    def on(self, machine: Machine) -> "Parts":
        """The parts with the machine's choices in place of what is left open."""
        evaluation = replace(self.evaluation, accelerator=machine.evaluated_on)
        return replace(self, recipe=self.recipe.on(machine), evaluation=evaluation)


def build_on_meta(recipe: Callable[[], GenerativeModel]) -> GenerativeModel:
    """A model on the meta device, which has properties but no weights; refuses one that does not fit into memory."""
    try:
        with torch.device("meta"):
            model = recipe()
    except (RuntimeError, OverflowError, MemoryError) as error:
        raise UsageError(f"the model cannot be made, lower its sizes: {str(error).splitlines()[0]}") from error
    except TypeError as error:  # from a constructor that passes on any argument
        raise UsageError(f"the model cannot be made: {error}") from error
    num_weights = sum(weight.numel() for weight in model.parameters()) if isinstance(model, nn.Module) else 0
    check_memory("the model", num_weights * BYTES_PER_WEIGHT, advice="lower its sizes")
    return model


def checked_parts(settings: Mapping[str, Any]) -> Parts:
    """The parts that the settings of an `Experiment` make; refuses those that do not fit together."""
    data, correction, plan = settings["data"], settings["correction"], settings["training"]
    num_synthetic, shape = settings["num_synthetic"], data.sample_shape
    if num_synthetic is not None:
        num_synthetic = check_bounds("num_synthetic", as_schedule(num_synthetic), lowest=1)
    cause = checked_causes(settings["cause"], sample_shape=shape, num_classes=data.num_classes, factors=data.factors)
    if correction is not None and check_correction(correction).needs_warm_start:
        plan = replace(plan, warm_start=plan.warm_start or "weights")  # without the optimiser's state
    made_from, trainer = data.completed(settings["model"]), settings["trainer"]
    recipe = Recipe(model=made_from, trainer=trainer, plan=plan, batch_size=settings["batch_size"])
    model = build_on_meta(recipe.model)  # call both recipes once, to refuse a wrong value before any training
    max_steps = check_trainer(trainer).max_steps if model.is_trained_in_steps else 0
    given = {each.name: settings[each.name] for each in fields(Parts) if each.name in settings}
    made = {"num_synthetic": num_synthetic, "cause": cause, "recipe": recipe, "model": model, "max_steps": max_steps}
    parts = Parts(**given | made)
    _check_parts(parts)
    return parts


def _check_parts(parts: Parts) -> None:
    data, model = parts.data, parts.model
    model.check_bias(parts.bias)
    check_classes(model.num_classes, of_data=data.num_classes)
    judge = choose_space(parts.judge, sample_shape=data.sample_shape, judged_by=parts.judged_by)
    num_classes = num_judged_classes(judge, num_classes=data.num_classes)
    parts.selection.check(num_classes=num_classes, has_critic=model.realism is not None)
    check_labeller(parts.labelled_by, num_classes=num_classes)
    if parts.correction is not None:
        parts.correction.check(model)
    parts.evaluation.check(num_real=data.sizes.test, sample_shape=data.sample_shape, num_classes=data.num_classes)
    if parts.evaluation.first_encoder and model.posterior_sd is None:
        problem = "evaluation.first_encoder=true needs a VAE"
        raise UsageError(f"{problem}: got model={model.name}; set it to null, or choose model=vae")
    _check_objective(parts)
    num_bytes = prod(data.sample_shape) * (1 if len(data.sample_shape) == 3 else BYTES_PER_NUMBER)
    num_real = data.sizes.train + data.sizes.test + data.sizes.reserve
    check_memory("the real data", num_real * num_bytes, advice="lower data.num_train or its other sizes")
    num_drawn, fewer = parts.selection.num_candidates(max(parts.all_num_synthetic)), "lower num_synthetic"
    fewer += "" if isinstance(parts.selection, KeepAll) else ", or choose a selection that draws fewer for each"
    check_memory("the samples of a generation", num_drawn * num_bytes, advice=fewer)
    changing = [name for name, cause in parts.cause.items() if cause.changes_labels]
    if changing and data.labels_are_computed:
        problem = f"cause={changing[0]} changes labels, and those of data={data.name} follow from a number"
        raise UsageError(f"{problem}: choose data with a category as their target, such as data=breast_cancer")
    check_sizes(parts, num_real=num_planted(parts.cause, data.sizes.train, num_classes=data.num_classes))


def _check_objective(parts: Parts) -> None:
    data, evaluation = parts.data, parts.evaluation
    modes = {"classes": data.num_classes, "known modes": data.known_modes}
    there: dict[str | None, bool] = {None: True, **{need: bool(known or data.factors) for need, known in modes.items()}}
    groups = [*evaluation.metrics, *(evaluation.table.metrics if evaluation.table else ())]
    Measured(
        groups=[group for group in groups if group not in METRICS or there[METRICS[group].needs]],
        batch_groups=evaluation.batch_metrics if evaluation.num_batches else (),
        spaces=evaluation.names_before_keys(data.sample_shape),
        has_factors=data.factors is not None,
    ).check(parts.objective)


def check_sizes(parts: Parts, *, num_real: int) -> None:
    """Refuse a real training set of `num_real` samples if it is too small for the correction or for training."""
    num_real -= parts.recipe.plan.num_validation(num_real) if parts.recipe.plan.holds_out_real else 0
    if parts.correction is not None:
        parts.correction.check_sizes(num_real=num_real, num_classes=parts.data.num_classes)
    check_training(parts.recipe, parts.model, pool_size=min(pool_sizes(parts, num_real=num_real)))


def pool_sizes(parts: Parts, *, num_real: int) -> list[int]:
    """The sizes of all pools that the regime will make from `num_real` real samples."""
    return simulate_pools(
        parts.regime,
        num_real=num_real,
        num_reserve=parts.data.sizes.reserve,
        num_synthetic=parts.all_num_synthetic[:-1],
        generator_at=lambda generation: make_generator(parts.seed, generation, "pool"),
    )
