"""Seconds to quality: how long the training of a generation 0 takes until its samples are good.

Good are samples of which precision and recall, in the first feature space of the shipped evaluation, are both at least
`GOOD`. A model of version 0.2 is looked at every `SLICE_STEPS` steps, and its time is that of the first look at which
it is good. The shipped recipe has a schedule over its own budget, so its model is looked at once, at the end. Looking
is outside the clock.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from benchmarks.composed import Case, ready_recipe
from benchmarks.ways import quiet
from collapsar.config.experiment import Experiment
from collapsar.data.pool import REAL, Part, Pool
from collapsar.foundations.seeding import make_generator
from collapsar.judging.evaluator import Evaluator
from collapsar.models.generative import GenerativeModel
from collapsar.training.train import train
from collapsar.training.trainer import Recipe

GOOD = 0.8
SLICE_STEPS = 200
OLD, SHIPPED = "version 0.2", "shipped"


@dataclass(frozen=True, kw_only=True)
class Look:
    """What samples were like when training had come so far."""

    step: int
    seconds: float
    precision: float
    recall: float

    @property
    def is_good(self) -> bool:
        return min(self.precision, self.recall) >= GOOD


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How a recipe came to its quality.

    Attributes:
        recipe: Which.
        good_after_seconds: Of training; None if samples were good at no look.
        looks: In order; the last one is at the end of the budget.
    """

    recipe: str
    good_after_seconds: float | None
    looks: tuple[Look, ...]

    def __str__(self) -> str:
        last, after = self.looks[-1], self.good_after_seconds
        good = "not good" if after is None else f"good after {after:.1f} s"
        return f"{good}; after {last.seconds:.1f} s precision {last.precision:.2f}, recall {last.recall:.2f}"


class Watch:
    """A clock for a training that stands still while samples are scored.

    Args:
        score: Gives a model's precision and recall.
        due: Whether they are scored after so many steps.
    """

    def __init__(self, score: Callable[[GenerativeModel], Mapping[str, float]], *, due: Callable[[int], bool]) -> None:
        self.score, self.due = score, due
        self.seconds, self.looks, self.mark = 0.0, list[Look](), time.perf_counter()
        self.model: GenerativeModel | None = None

    def noting(self, recipe: Recipe) -> Recipe:
        """The recipe, whose models the watch knows."""

        def model() -> GenerativeModel:
            self.model = recipe.model()
            return self.model

        return replace(recipe, model=model)

    def on_steps(self, epoch: int, step: int) -> None:
        self.seconds += time.perf_counter() - self.mark
        if self.due(step):
            self.looks.append(self.look(step))
        self.mark = time.perf_counter()

    def look(self, step: int) -> Look:
        """Score the model as it is."""
        assert self.model is not None, "a model is made before it is trained"
        scores = self.score(self.model)
        return Look(step=step, seconds=self.seconds, precision=scores["precision"], recall=scores["recall"])


def score_model(model: GenerativeModel, *, evaluator: Evaluator) -> Mapping[str, float]:
    """Metrics of a model's samples, in the first space and as many as the evaluation takes."""
    samples = model.sample(evaluator.num_synthetic, make_generator(0, 0, "sample"))
    return evaluator.evaluate(samples, seed=0, generation=0).metrics


def old_experiment(case: Case) -> Experiment:
    """What version 0.2 shipped for this family on this data: conf keeps it under the name of its body."""
    family = case.model.partition("_")[0]
    return Case(data=case.data, model=f"{family}_conv").composed()[0]


def measure_quality(case: Case, recipe: str) -> Quality:
    """Train by a recipe from its beginning to its end."""
    with quiet():
        support = "evaluation.metrics=[support]"
        experiment, _ = case.composed(support, "evaluation.num_batches=0", "evaluation.num_training=2")
        shipped = ready_recipe(experiment)
        real = experiment.data.load()
        evaluator = experiment.evaluation.prepare(real)
        evaluator = replace(evaluator, references={"": evaluator.references[""]})
        if recipe == OLD:
            old = old_experiment(case)
            chosen, budget, every = ready_recipe(old), old.parts.max_steps, SLICE_STEPS
        else:
            chosen, budget, every = shipped, experiment.parts.max_steps, experiment.parts.max_steps
        score = partial(score_model, evaluator=evaluator)
        watch = Watch(score, due=lambda step: step % every == 0 or step == budget)
        train(watch.noting(chosen), Pool((Part(real.train, REAL),)), seed=0, generation=0, on_steps=watch.on_steps)
    good = [look.seconds for look in watch.looks if look.is_good]
    return Quality(recipe=recipe, good_after_seconds=good[0] if good else None, looks=tuple(watch.looks))
