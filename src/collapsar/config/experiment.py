"""The experiment: the schema of the configuration, and its checks.

Only functions import torch, so a command that asks for help does not wait for it. `chain/run.py` runs the chain.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING

from collapsar.errors import UsageError, check_not_negative, check_positive

if TYPE_CHECKING:
    from rich.console import Console

    from collapsar.records.record import GenerationRecord

CHECKED_RANGES = ("seed", "num_generations", "num_synthetic", "batch_size", "num_threads", "checkpoint_minutes")


def check_ranges(
    *,
    seed: int,
    num_generations: int,
    num_synthetic: Any,
    batch_size: int,
    num_threads: int | None,
    checkpoint_minutes: float | None,
) -> None:
    """Refuse numbers out of range; a schedule of `num_synthetic` is checked when it is built."""
    from collapsar.data.schedules import Constant, check_bounds

    check_not_negative(seed=seed)
    for name, number in (("num_generations", num_generations), ("batch_size", batch_size)):
        if number < 1:
            raise UsageError(f"{name} must be at least 1: got {number}")
    if isinstance(num_synthetic, int | float):
        check_bounds("num_synthetic", Constant(num_synthetic), lowest=1)
    if num_threads is not None:
        check_positive(num_threads=num_threads)
    if checkpoint_minutes is not None:
        check_positive(checkpoint_minutes=checkpoint_minutes)


@dataclass
class Experiment:
    """One chain of generations.

    Attributes:
        name: The study: names the output folder and the W&B group.
        plugins: Modules that add metrics or sections of the page when they are imported (`judging.plugins`).
        seed: All randomness is derived from it.
        num_generations: Models to train, one after the other; generation 0 sees real data only.
        num_synthetic: Samples that each generation gives to the next pool: a number, a list with one value a
            generation, or a schedule (`collapsar.data.schedules`); null takes the real training set's size.
        size: Which recipe sets sizes and budgets: `small` or `full` (conf/size).
        batch_size: Samples in a training step.
        num_threads: CPU threads of torch; null takes torch's own choice. The smallest networks run best on one.
        continue_on_another_device: Whether a chain may continue here if the device that it began on is absent.
        data: The source of real data (`collapsar.data.sources`).
        cause: Defects of the real training set, by name (`collapsar.data.causes.cause.Cause`).
        model: Recipe of a generation's model.
        regime: How the next pool is made (`collapsar.data.regimes.Regime`).
        bias: How sampling departs from the model's own distribution (`collapsar.models.bias.Bias`).
        correction: How drawn samples are moved before the selection (`collapsar.drawing.correction.Correction`); null
            moves none. A correction that needs a warm start switches it on.
        selection: Which samples enter the pool (`collapsar.drawing.selection.Selection`).
        judge: The feature space in which a selection judges samples, fitted on the chain's own real training set
            (`collapsar.drawing.judge`); null judges vectors as they are.
        labelled_by: Who labels drawn samples: `judge`, or null, which keeps the class that each was drawn for.
        evaluation: What is measured (`collapsar.judging.evaluation.Evaluation`).
        training: The levers of training (`collapsar.models.plan.Plan`).
        trainer: Recipe of a generation's `lightning.Trainer`.
        tracking: Where records are mirrored (`collapsar.journal.tracking.Tracking`).
        alarm: When a chain counts as going wrong, and what then happens (`collapsar.journal.alarm.Alarm`).
        dry_run: Whether to only estimate what the chain would take (`collapsar.config.forecast`).
        checkpoint_minutes: Minutes between checkpoints inside a training, from which a killed process continues
            (`collapsar.training.unfinished`); null stores one only when a signal stops the process.
        wait_for_lock: Whether to wait if another process works in the run folder; else the chain is refused.
        share_generation_0: Whether chains of a study that start alike train their first model once
            (`collapsar.training.shared`).
        objective: What a job returns to an optimising sweeper (`collapsar.journal.objective`); null returns nothing.
    """

    name: Any = MISSING  # text; Any, so that check_study_name can refuse a number of a YAML file
    plugins: list[str] = MISSING
    seed: int = MISSING
    num_generations: int = MISSING
    num_synthetic: Any = MISSING
    size: str = MISSING
    batch_size: int = MISSING
    num_threads: int | None = MISSING
    continue_on_another_device: bool = MISSING
    data: Any = MISSING
    cause: Any = MISSING
    model: Any = MISSING
    regime: Any = MISSING
    bias: Any = MISSING
    correction: Any = MISSING
    selection: Any = MISSING
    judge: Any = MISSING
    labelled_by: str | None = MISSING
    evaluation: Any = MISSING
    training: Any = MISSING
    trainer: Any = MISSING
    tracking: Any = MISSING
    alarm: Any = MISSING
    dry_run: bool = MISSING
    checkpoint_minutes: float | None = MISSING
    wait_for_lock: bool = MISSING
    share_generation_0: bool = MISSING
    objective: Any = MISSING

    def __post_init__(self) -> None:
        from collapsar.chain.feasibility import build_on_meta, check_parts
        from collapsar.chain.parts import Parts
        from collapsar.data.causes.cause import checked_causes
        from collapsar.data.schedules import as_schedule, check_bounds
        from collapsar.drawing.correction import check_correction, warm_started
        from collapsar.training.trainer import Recipe, check_trainer

        check_ranges(**{key: getattr(self, key) for key in CHECKED_RANGES})
        num_synthetic, plan = None, self.training
        if self.num_synthetic is not None:
            num_synthetic = check_bounds("num_synthetic", as_schedule(self.num_synthetic), lowest=1)
        cause = checked_causes(
            self.cause,
            sample_shape=self.data.sample_shape,
            num_classes=self.data.num_classes,
            factors=self.data.factors,
        )
        if self.correction is not None and check_correction(self.correction).needs_warm_start:
            plan = warm_started(plan)
        recipe = Recipe(
            model=self.data.completed(self.model), trainer=self.trainer, plan=plan, batch_size=self.batch_size
        )
        model = build_on_meta(recipe.model)  # call both recipes once, to refuse a wrong value before any training
        max_steps = check_trainer(self.trainer).max_steps if model.is_trained_in_steps else 0
        made = {"num_synthetic": num_synthetic, "cause": cause, "recipe": recipe, "model": model}
        given = {each.name: getattr(self, each.name) for each in fields(Parts) if hasattr(self, each.name)}
        self.parts = Parts(**given | made, max_steps=max_steps)
        check_parts(self.parts)

    def run(
        self, folder: Path, *, chain: str, config: dict[str, Any], console: "Console", position: str = ""
    ) -> "list[GenerationRecord]":
        """Run the chain: see `run_chain`."""
        from collapsar.chain.run import run_chain

        return run_chain(self.parts, folder, chain=chain, config=config, console=console, position=position)
