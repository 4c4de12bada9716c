"""Whether the parts of an experiment go together: asked before anything is read or trained."""

from typing import TYPE_CHECKING

from collapsar.data.causes.cause import num_planted
from collapsar.data.rehearsal import rehearse
from collapsar.drawing.judge import check_labeller, choose_space, num_judged_classes
from collapsar.models.conditioning import check_classes
from collapsar.models.generative import GenerativeModel
from collapsar.seeding import make_generator
from collapsar.training.train import check_training

if TYPE_CHECKING:
    from collapsar.experiment import Experiment


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
    experiment.evaluation.check(num_real=data.sizes.test)
    num_real = num_planted(experiment.cause, data.sizes.train, num_classes=data.num_classes)
    check_sizes(experiment, model, num_real=num_real)


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
