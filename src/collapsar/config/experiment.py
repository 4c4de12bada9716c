"""The experiment: the schema of the configuration, and its checks.

Only functions import torch, so a command that asks for help does not wait for it. `chain/run.py` runs the chain.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING

from collapsar.foundations.errors import UsageError, check_not_negative, check_positive

if TYPE_CHECKING:
    from collapsar.foundations.record import GenerationRecord


def check_ranges(settings: Mapping[str, Any]) -> None:
    """Refuse numbers out of range; a schedule of `num_synthetic` is checked when it is built."""
    from collapsar.data.schedules import Constant, check_bounds

    check_not_negative(seed=settings["seed"])
    for name in ("num_generations", "batch_size"):
        if settings[name] < 1:
            raise UsageError(f"{name} must be at least 1: got {settings[name]}")
    if isinstance(settings["num_synthetic"], int | float):
        check_bounds("num_synthetic", Constant(settings["num_synthetic"]), lowest=1)
    optional = ("num_threads", "checkpoint_minutes")
    check_positive(**{name: settings[name] for name in optional if settings[name] is not None})


@dataclass
class Experiment:
    """One chain of generations. `conf/config.yaml` explains the settings; a comment here names the class of a part."""

    name: Any = MISSING  # text; Any, so that check_study_name can refuse a number of a YAML file
    plugins: list[str] = MISSING  # modules that add metrics and sections of the page
    seed: int = MISSING
    num_generations: int = MISSING  # generation 0 sees real data only
    extend: str | None = None  # see `jobs.multirun.keep_length`; folders from before this setting lack it
    num_synthetic: Any = MISSING  # `data.schedules.Schedule`, or what it is made from
    size: str = MISSING
    batch_size: int = MISSING
    num_threads: int | None = MISSING  # the smallest networks run best on one
    continue_on_another_device: bool = MISSING
    data: Any = MISSING  # `data.real_data.Source`
    cause: Any = MISSING  # `data.causes.cause.Cause`, by name
    model: Any = MISSING  # recipe of a `models.generative.GenerativeModel`
    regime: Any = MISSING  # `data.regimes.Regime`
    bias: Any = MISSING  # `models.bias.Bias`
    correction: Any = MISSING  # `drawing.correction.Correction`; one that needs a warm start switches it on
    selection: Any = MISSING  # `drawing.selection.Selection`
    judge: Any = MISSING  # a feature space, fitted on the chain's own real training set (`drawing.selection`)
    labelled_by: str | None = MISSING
    evaluation: Any = MISSING  # `judging.evaluation.Evaluation`
    training: Any = MISSING  # `models.plan.Plan`
    trainer: Any = MISSING  # recipe of a `lightning.Trainer`
    tracking: Any = MISSING  # `journal.tracking.Tracking`
    alarm: Any = MISSING  # `journal.alarm.Alarm`
    dry_run: bool = MISSING  # see `config.forecast`
    checkpoint_minutes: float | None = MISSING  # see `training.unfinished`
    wait_for_lock: bool = MISSING  # else a chain whose run folder is in use is refused
    share_generation_0: bool = MISSING  # see `training.stored`
    objective: Any = MISSING  # see `journal.objective`
    analysis: Any = MISSING  # see `study.analysis`

    def __post_init__(self) -> None:
        from collapsar.chain.parts import checked_parts

        check_ranges(vars(self))
        self.parts = checked_parts(vars(self))

    def run(self, folder: Path, **arguments: Any) -> "list[GenerationRecord]":
        """Run the chain: the arguments are those of `run_chain`."""
        from collapsar.chain.run import run_chain

        return run_chain(self.parts, folder, **arguments)
