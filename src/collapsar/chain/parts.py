"""What a chain is made of: the settings of `Experiment` (config/experiment.py), checked and completed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from collapsar.data.causes.cause import Cause
from collapsar.data.regimes import Regime
from collapsar.data.schedules import Schedule
from collapsar.data.sources.source import Source
from collapsar.drawing.correction import Correction
from collapsar.drawing.judge import JudgedBy
from collapsar.drawing.selection import Selection
from collapsar.journal.alarm import Alarm
from collapsar.journal.tracking import Tracking
from collapsar.judging.evaluation import Evaluation, find_device
from collapsar.machine.choice import Machine
from collapsar.models.bias import Bias
from collapsar.models.generative import GenerativeModel
from collapsar.training.hardware import choose_machine
from collapsar.training.trainer import Recipe


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
            evaluated_on=find_device(self.evaluation.accelerator).type,
            may_move=self.continue_on_another_device,
            plan=self.recipe.plan,
            num_steps=self.max_steps,
            may_be_compiled=self.model.may_be_compiled,
        )

    def on(self, machine: Machine) -> "Parts":
        """The parts with the machine's choices in place of what is left open."""
        evaluation = replace(self.evaluation, accelerator=machine.evaluated_on)
        return replace(self, recipe=self.recipe.on(machine), evaluation=evaluation)
