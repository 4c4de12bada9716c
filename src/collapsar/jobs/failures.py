"""The jobs of a multirun that failed, and what is said of them at its end: the reason, and the command that repeats it.

A reason that all jobs share is a mistake in the command itself, and is told once.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

SWEEP_FOLDERS = (
    "hydra.sweep.dir=",
    "hydra.sweep.subdir=",
)  # what leads a multirun to other folders than a single chain


@dataclass(frozen=True, kw_only=True)
class FailedJob:
    """A job that did not come to its end.

    Attributes:
        number: Which job it was, from 1; None for a single chain, or for what is wrong with the command as a whole.
        reason: What was wrong, in one line.
        exit_code: Of the command, if this is the first failure.
        command: Repeats the job by itself; empty for a single chain.
    """

    number: int | None
    reason: str
    exit_code: int
    command: str = ""


failed_jobs: list[FailedJob] = []  # of this command


def lines(failed: Sequence[FailedJob], *, num_jobs: int) -> Iterator[str]:
    """Each reason, and below it the jobs that had it, unless all had.

    Args:
        failed: The failures of a command.
        num_jobs: How many jobs it had; 0 where that is not known.
    """
    for reason in dict.fromkeys(job.reason for job in failed):
        jobs = [job for job in failed if job.reason == reason and job.number is not None]
        yield f"collapsar: {reason}"
        if len(jobs) != num_jobs:
            yield from (f"  job {job.number} failed; repeat it with: {job.command}" for job in jobs)


def repeating_command(overrides: Sequence[str], *, folder: Path | None = None, conf: Sequence[str] = ()) -> str:
    """The command that runs a job of a multirun by itself, in the same folder.

    Args:
        overrides: Of the job.
        folder: The run folder of the job, where it is not the one that these overrides lead to.
        conf: Folders of conf that were added with `--config-dir`.
    """
    added = [part for path in conf for part in ("--config-dir", path)]
    where = [] if folder is None else [f"hydra.run.dir={folder}"]
    return shlex.join(["collapsar", *added, *overrides, *where])


def command_of(hydra_config: Any, *, folder: Path) -> str:
    """The same, of a job by the `hydra` node of its composed config."""
    added = [str(source.path) for source in hydra_config.runtime.config_sources if source.provider == "command-line"]
    typed = OmegaConf.to_container(hydra_config.overrides, resolve=False)
    assert isinstance(typed, dict)
    is_elsewhere = any(override.lstrip("+").startswith(SWEEP_FOLDERS) for override in typed["hydra"])
    return repeating_command(typed["task"], folder=folder if is_elsewhere else None, conf=added)
