"""Whether the parts of an experiment go together: asked before anything is read or trained."""

import os
from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import nn

from collapsar.data.causes.cause import num_planted
from collapsar.data.rehearsal import rehearse
from collapsar.drawing.judge import check_labeller, choose_space, num_judged_classes
from collapsar.errors import UsageError
from collapsar.journal.objective import Measured
from collapsar.models.conditioning import check_classes
from collapsar.models.generative import GenerativeModel
from collapsar.seeding import make_generator
from collapsar.training.train import check_training

if TYPE_CHECKING:
    from collapsar.config.experiment import Experiment


NEED_CLASSES = ("classes", "recall_by_class", "coverage_by_class", "downstream", "table_downstream")
BYTES_PER_WEIGHT = 4 * 4  # of the weight itself, its gradient, and the two averages of Adam
BYTES_PER_NUMBER = 4


def sketch(recipe: Callable[[], GenerativeModel]) -> GenerativeModel:
    """A model of a recipe without any weights in memory: what it says of itself can be asked, and nothing be drawn.

    Raises:
        UsageError: a value that the model refuses, or a training of it would not fit into the memory of this machine.
    """
    try:
        with torch.device("meta"):
            model = recipe()
    except (RuntimeError, OverflowError, MemoryError) as error:
        raise UsageError(f"the model cannot be made, lower its sizes: {str(error).splitlines()[0]}") from error
    except TypeError as error:  # of a constructor that takes any argument and hands it on
        raise UsageError(f"the model cannot be made: {error}") from error
    num_weights = sum(weight.numel() for weight in model.parameters()) if isinstance(model, nn.Module) else 0
    refuse_unless_it_fits("the model", num_weights * BYTES_PER_WEIGHT, advice="lower its sizes")
    return model


def check_memory(experiment: "Experiment") -> None:
    """Refuse real data, or samples of one generation, that would not fit into the memory of this machine.

    Raises:
        UsageError: with their size.
    """
    sizes, num_numbers = experiment.data.sizes, prod(experiment.data.sample_shape)
    is_image = len(experiment.data.sample_shape) == 3
    num_bytes = num_numbers * (1 if is_image else BYTES_PER_NUMBER)
    num_real = sizes.train + sizes.test + sizes.reserve
    refuse_unless_it_fits("the real data", num_real * num_bytes, advice="lower data.num_train or its other sizes")
    num_synthetic = max(map(experiment.num_synthetic_at, range(experiment.num_generations)))
    refuse_unless_it_fits("the samples of a generation", num_synthetic * num_bytes, advice="lower num_synthetic")


def refuse_unless_it_fits(what: str, num_bytes: int, *, advice: str) -> None:
    """Refuse what is larger than the memory of this machine.

    Raises:
        UsageError: it is.
    """
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if num_bytes > present:
        raise UsageError(
            f"{what} would take {num_bytes / 1e9:.3g} GB, and this machine has {present / 1e9:.3g} GB: {advice}"
        )


def check_parts(experiment: "Experiment", model: GenerativeModel) -> None:
    """Refuse parts that do not go together.

    Args:
        experiment: Its parts, each checked by itself.
        model: One that its recipe makes.

    Raises:
        UsageError: with what to set instead.
    """
    data = experiment.data
    model.check_bias(experiment.bias)
    check_classes(model.num_classes, of_data=data.num_classes)
    judge = choose_space(experiment.judge, sample_shape=data.sample_shape, judged_by=experiment.judged_by)
    num_classes = num_judged_classes(judge, num_classes=data.num_classes)
    experiment.selection.check(num_classes=num_classes, has_critic=model.realism is not None)
    check_labeller(experiment.labelled_by, num_classes=num_classes)
    if experiment.correction is not None:
        experiment.correction.check(model)
    experiment.evaluation.check(num_real=data.sizes.test, sample_shape=data.sample_shape, num_classes=data.num_classes)
    check_objective_of(experiment)
    check_memory(experiment)
    check_labels(experiment)
    num_real = num_planted(experiment.cause, data.sizes.train, num_classes=data.num_classes)
    check_sizes(experiment, model, num_real=num_real)


def check_objective_of(experiment: "Experiment") -> None:
    """Refuse an objective that these data do not let the evaluation measure.

    Raises:
        UsageError: with what there will be.
    """
    data, evaluation = experiment.data, experiment.evaluation
    absent = [
        *(() if data.num_classes or data.factors else NEED_CLASSES),
        *(() if data.known_modes or data.factors else ("known_modes",)),
    ]
    groups = [*evaluation.metrics, *(evaluation.table.metrics if evaluation.table else ())]
    Measured(
        groups=[group for group in groups if group not in absent],
        batch_groups=evaluation.batch_metrics if evaluation.num_batches else (),
        spaces=evaluation.names_before_keys(data.sample_shape),
        has_factors=data.factors is not None,
    ).check(experiment.objective)


def check_labels(experiment: "Experiment") -> None:
    """Refuse a cause that gives samples other labels, where these follow from the samples.

    Raises:
        UsageError: with what to choose instead.
    """
    changing = [name for name, cause in experiment.cause.items() if cause.changes_labels]
    if changing and experiment.data.labels_are_computed:
        raise UsageError(
            f"cause={changing[0]} changes labels, and those of data={experiment.data.name} follow from a number: "
            "choose data with a category as their target, such as data=breast_cancer"
        )


def check_sizes(experiment: "Experiment", model: GenerativeModel, *, num_real: int) -> None:
    """Refuse a real training set, of this size, that is too small for what is made of it.

    Raises:
        UsageError: it is.
    """
    num_real -= experiment.training.num_validation(num_real) if experiment.training.holds_out_real else 0
    if experiment.correction is not None:
        experiment.correction.check_sizes(num_real=num_real, num_classes=experiment.data.num_classes)
    check_training(experiment.recipe, model, pool_size=min(pool_sizes(experiment, num_real=num_real)))


def pool_sizes(experiment: "Experiment", *, num_real: int) -> list[int]:
    """Sizes of all pools, as the regime will make them of so many real samples."""
    num_synthetic = [experiment.num_synthetic_at(generation) for generation in range(experiment.num_generations)]
    return rehearse(
        experiment.regime,
        num_real=num_real,
        num_reserve=experiment.data.sizes.reserve,
        num_synthetic=num_synthetic[:-1],
        generator_at=lambda generation: make_generator(experiment.seed, generation, "pool"),
    )
