"""The experiment: the schema of the configuration, and its checks.

Only functions import torch, so a command that asks for help does not wait for it. `chain/run.py` runs the chain.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING

from collapsar.foundations.errors import UsageError, check_finite, check_not_negative, check_positive

if TYPE_CHECKING:
    from collapsar.foundations.record import GenerationRecord


LARGEST_WHOLE_NUMBER = 2**63 - 1  # of int64, the widest integer of a tensor
LARGEST_NUMBER = 1e30  # float32 ends at 3.4e38; this leaves room to multiply


def walk(value: Any, *, key: str = "") -> Iterator[tuple[str, Any]]:
    """A setting and all settings within it, each with its dotted key."""
    yield key, value
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from walk(inner, key=f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from walk(inner, key=f"{key}[{index}]")


def parts(settings: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Every part, which is a setting with a `_target_`, with its dotted key."""
    for key, value in walk(settings):
        if key and isinstance(value, Mapping) and "_target_" in value:
            yield key, value


def check_study_name(name: Any) -> None:
    """Refuse a study's name that is not text (2024_01_15 in a YAML file is a number) or not the name of one folder."""
    if not isinstance(name, str):
        raise UsageError(f"name must be a text: got {name!r}; in a YAML file, put quotes around it")
    if not name.strip() or name in (".", "..") or not name.isprintable() or re.search(r"[/\\]", name):
        allowed = "the name of one folder, without path separators or control characters"
        raise UsageError(f"name must be {allowed}: got {name!r}")


def check_numbers(settings: Mapping[str, Any]) -> None:
    """Refuse a number that is NaN, infinite or too large for a tensor, at any depth, or out of its range.

    `num_synthetic`, which may be a schedule, is checked when the experiment is made.
    """
    for key, value in walk(settings):
        if isinstance(value, float):
            check_finite(key, value)
            if abs(value) > LARGEST_NUMBER:
                raise UsageError(f"{key} must be at most {LARGEST_NUMBER} in size: got {value}")
        elif isinstance(value, int) and abs(value) > LARGEST_WHOLE_NUMBER:
            raise UsageError(f"{key} must have at most 64 bits: got {value}")
    check_not_negative(seed=settings["seed"])
    for name in ("num_generations", "batch_size"):
        if settings[name] < 1:
            raise UsageError(f"{name} must be at least 1: got {settings[name]}")
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

        check_numbers(vars(self))
        self.parts = checked_parts(vars(self))

    def run(self, folder: Path, **arguments: Any) -> "list[GenerationRecord]":
        """Run the chain: the arguments are those of `run_chain`."""
        from collapsar.chain.run import run_chain

        return run_chain(self.parts, folder, **arguments)
