"""The failed jobs of a multirun, and the lines printed at its end: the reason, and the command that repeats the job.

A reason that all jobs share is a mistake in the command itself, and is printed once, without the jobs.
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
)  # these give a multirun other folders than a single chain


@dataclass(frozen=True, kw_only=True)
class FailedJob:
    """A job that did not finish.

    Attributes:
        number: The number of the job, from 1; None for a single chain or a mistake in the command as a whole.
        reason: What was wrong, in one line.
        exit_code: The exit code of the command if this is the first failure.
        command: The command that repeats this job alone; empty for a single chain.
    """

    number: int | None
    reason: str
    exit_code: int
    command: str = ""


failed_jobs: list[FailedJob] = []  # of this command


def lines(failed: Sequence[FailedJob], *, num_jobs: int) -> Iterator[str]:
    """Each reason, and below it the jobs that had it, unless all `num_jobs` had it (0 if their number is unknown)."""
    for reason in dict.fromkeys(job.reason for job in failed):
        jobs = [job for job in failed if job.reason == reason and job.number is not None]
        yield f"collapsar: {reason}"
        if len(jobs) != num_jobs:
            yield from (f"  job {job.number} failed; repeat it with: {job.command}" for job in jobs)


def repeating_command(overrides: Sequence[str], *, folder: Path | None = None, conf: Sequence[str] = ()) -> str:
    """The command that runs a job of a multirun alone, in the same folder.

    Args:
        overrides: Overrides of the job.
        folder: The run folder of the job; None if the overrides lead to it anyway.
        conf: Folders of conf that were added with `--config-dir`.
    """
    added = [part for path in conf for part in ("--config-dir", path)]
    where = [] if folder is None else [f"hydra.run.dir={folder}"]
    return shlex.join(["collapsar", *added, *overrides, *where])


def command_of(hydra_config: Any, *, folder: Path) -> str:
    """The same for a job, from the `hydra` node of its composed config."""
    added = [str(source.path) for source in hydra_config.runtime.config_sources if source.provider == "command-line"]
    typed = OmegaConf.to_container(hydra_config.overrides, resolve=False)
    assert isinstance(typed, dict)
    is_elsewhere = any(override.lstrip("+").startswith(SWEEP_FOLDERS) for override in typed["hydra"])
    return repeating_command(typed["task"], folder=folder if is_elsewhere else None, conf=added)
