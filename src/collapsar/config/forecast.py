"""Estimate the time and disk space of chains before any of them runs.

A chain's generations are assumed to take as much as those of the latest chain below the same output folder with the
same training and evaluation, whatever its seed and regime. Without one, a generation 0 is made in a temporary folder.
"""

import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from collapsar.config.experiment import Experiment
from collapsar.foundations.errors import UsageError
from collapsar.foundations.files import whole_lines
from collapsar.foundations.record import GenerationRecord
from collapsar.foundations.settings import (
    CONFIG,
    SEEDS,
    binding_settings,
    first_training_settings,
    flatten,
    read_config,
)
from collapsar.foundations.words import counted, duration_text
from collapsar.journal.alarm import Alarm
from collapsar.journal.store import RECORDS
from collapsar.journal.tracking import NoTracking

logger = logging.getLogger(__name__)

FEW = 50  # chains whose settings are compared before a chain begins; a dry run looks at all


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What one generation takes."""

    seconds: float  # wall-clock
    num_bytes: int  # on disk
    known_from: str  # how we know, in words


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a chain would still take: so many unfinished generations, each of which takes the same."""

    chain: str
    num_generations: int
    generation: Generation
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return self.num_generations * self.generation.seconds

    @property
    def num_bytes(self) -> int:
        return self.num_generations * self.generation.num_bytes


known: dict[str, Generation] = {}  # by settings; in this process, chains that are alike time one generation


def forecast(experiment: Experiment, folder: Path, *, chain: str, config: dict[str, Any]) -> Forecast:
    """What the chain of a run folder, which need not exist yet, would still take."""
    key = str(sorted(alike(config).items()))
    if key not in known:
        known[key] = from_records(folder.parent.parent, alike_to=config) or timed(experiment, config=config)
    return Forecast(chain=chain, num_generations=_num_left(folder, config), generation=known[key], config=config)


def _num_left(folder: Path, config: Mapping[str, Any]) -> int:
    return max(int(config["num_generations"]) - len(whole_lines(folder / RECORDS)), 0)


def alike(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the time and disk space of a generation depend on."""
    measured = {key: value for key, value in binding_settings(config).items() if key.startswith("evaluation.")}
    trained = {key: value for key, value in first_training_settings(config).items() if key not in SEEDS}
    return trained | measured | {"num_synthetic": str(flatten(config).get("num_synthetic"))}


def expected(folder: Path, *, config: dict[str, Any]) -> str:
    """How long the rest of a chain will take, in words, as the latest of the chains beside it; empty without one."""
    found = from_records(folder.parent.parent, alike_to=config, at_most=FEW)
    seconds = _num_left(folder, config) * found.seconds if found else 0.0
    return f"about {duration_text(seconds)} (as {found.known_from})" if found else ""


def from_records(outputs: Path, *, alike_to: Mapping[str, Any], at_most: int | None = None) -> Generation | None:
    """A generation of the latest chain with the same training and evaluation; None without one in the latest few."""
    wanted, dated = alike(alike_to), []
    for path in outputs.glob(f"*/*/{RECORDS}"):
        with suppress(OSError):
            dated.append((path.stat().st_mtime, path))
    for _, path in sorted(dated, reverse=True)[:at_most]:
        try:
            if alike(read_config(path.parent / CONFIG)) != wanted:
                continue
            seconds = [GenerationRecord.from_json(line).all_seconds for line in whole_lines(path)]
            num_bytes = size_of(path.parent)
        except (UsageError, OSError):  # a chain that cannot be read, or is deleted meanwhile, does not count
            continue
        if seconds:
            known_from = f"{path.parent.parent.name}/{path.parent.name}"
            return Generation(seconds=median(seconds), num_bytes=num_bytes // len(seconds), known_from=known_from)
    return None


def timed(experiment: Experiment, *, config: dict[str, Any]) -> Generation:
    """Make and measure a generation 0 in a temporary folder."""
    logger.info("no earlier chain is alike: a generation is timed")
    alarm = Alarm(action="warn", rules={})
    aside = replace(experiment, num_generations=1, tracking=NoTracking(), alarm=alarm, share_generation_0=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        (record,) = aside.run(folder, chain="timed", config=config, console=Console(quiet=True))
        return Generation(seconds=record.all_seconds, num_bytes=size_of(folder), known_from="a timed generation")


def size_of(folder: Path) -> int:
    """Bytes of all files at and below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def summary(forecasts: Sequence[Forecast], *, free_bytes: int) -> str:
    """The totals of all chains in one line."""
    seconds, num_bytes = (sum(getattr(one, key) for one in forecasts) for key in ("seconds", "num_bytes"))
    to_go = counted(sum(one.num_generations for one in forecasts), "generation")
    takes = f"{duration_text(seconds)} one after another, {num_bytes / 1e9:.2f} GB of {free_bytes / 1e9:.1f} GB"
    return f"dry run: {counted(len(forecasts), 'chain')}, {to_go} to go, {takes} that are free"


def line(one: Forecast) -> str:
    """The forecast of one chain in one line."""
    takes = f"{duration_text(one.seconds)}, {one.num_bytes / 1e6:.1f} MB (as {one.generation.known_from})"
    return f"{one.chain}: {counted(one.num_generations, 'generation')} to go, {takes}"


def check_disk(forecasts: Sequence[Forecast], outputs: Path) -> int:
    """The free bytes on the disk of the outputs; refuses chains that need more."""
    free_bytes = shutil.disk_usage(next(path for path in (outputs, *outputs.parents) if path.exists())).free
    num_bytes = sum(one.num_bytes for one in forecasts)
    if num_bytes > free_bytes:
        problem = f"the chains need {num_bytes / 1e9:.2f} GB and {outputs} has {free_bytes / 1e9:.2f} GB free"
        advice = "make room, choose fewer generations or seeds, or another disk with hydra.sweep.dir"
        raise UsageError(f"{problem}: {advice}")
    return free_bytes
