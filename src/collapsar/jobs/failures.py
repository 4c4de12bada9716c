"""Failed jobs: an error becomes one line and an exit code, and the end of the command prints the lines.

A reason that all jobs of a multirun share is a mistake in the command itself, and is printed once, without the jobs.
"""

import os
import re
import shlex
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from collapsar.config.constructors import ANY, options_of
from collapsar.foundations.errors import FULL_DISK, DeviceMemoryError, NonFiniteError, UsageError, is_of_disk, printable

USAGE_EXIT_CODE, BREAKDOWN_EXIT_CODE = 2, 1
EXPECTED_ERRORS = (UsageError, NonFiniteError, DeviceMemoryError, HydraException, OmegaConfBaseException, OSError)
SWEEP_FOLDERS = ("hydra.sweep.dir=", "hydra.sweep.subdir=")  # these give a multirun other folders than a single chain

wants_traceback = bool(os.environ.get("HYDRA_FULL_ERROR"))  # as the user set it: the command itself sets it later


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended."""

    objective: Any = None  # for a sweeper
    reason: str = ""  # why it failed, in one line; empty if it did not
    exit_code: int = BREAKDOWN_EXIT_CODE  # of the command if this is its first failure
    number: int | None = None  # of the job, from 1; None for a single chain or a mistake in the command as a whole
    command: str = ""  # repeats this job alone; empty for a single chain


failed_jobs: list[Outcome] = []  # of this command


def note(error: Exception, *, number: int | None = None, command: str = "") -> None:
    """Keep an expected error for the end of the command; raises any other one, and each if tracebacks are wanted."""
    if wants_traceback or not is_expected(error):
        raise error
    failed_jobs.append(Outcome(reason=one_line(error), exit_code=exit_code(error), number=number, command=command))


def is_expected(error: Exception) -> bool:
    """Whether one line is enough: Hydra itself refuses some overrides with a plain ValueError or TypeError."""
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    is_of_hydra = str(frame.f_globals["__name__"]).startswith("hydra.")
    return isinstance(error, EXPECTED_ERRORS) or (is_of_hydra and isinstance(error, ValueError | TypeError))


def lines(failed: Sequence[Outcome], *, num_jobs: int) -> Iterator[str]:
    """Each reason, and below it the jobs that had it, unless all `num_jobs` had it (0 if their number is unknown)."""
    for reason in dict.fromkeys(job.reason for job in failed):
        jobs = [job for job in failed if job.reason == reason and job.number is not None]
        yield f"collapsar: {reason}"
        if len(jobs) != num_jobs:
            yield from (f"  job {job.number} failed; repeat it with: {job.command}" for job in jobs)


def command_of(hydra_config: Any, *, folder: Path) -> str:
    """The command that runs a job of a multirun alone, in the same folder."""
    sources = hydra_config.runtime.config_sources
    added = [part for source in sources if source.provider == "command-line" for part in ("--config-dir", source.path)]
    typed: Any = OmegaConf.to_container(hydra_config.overrides, resolve=False)
    is_elsewhere = any(override.lstrip("+").startswith(SWEEP_FOLDERS) for override in typed["hydra"])
    return shlex.join(["collapsar", *added, *typed["task"], *([f"hydra.run.dir={folder}"] if is_elsewhere else [])])


def exit_code(error: Exception) -> int:
    """1 if the chain, a disk or a device's memory broke down; 2 for what the user can mend by another command."""
    is_breakdown = isinstance(error, NonFiniteError | DeviceMemoryError) or find_disk_error(error)
    return BREAKDOWN_EXIT_CODE if is_breakdown else USAGE_EXIT_CODE


def one_line(error: Exception) -> str:
    """What is wrong, the value, and what is allowed, on one line."""
    if disk_error := find_disk_error(error):
        advice = "free space" if disk_error.errno in FULL_DISK else "see to the disk"
        where = disk_error.filename or "below .hydra in the run folder"  # if the error names no file
        what = f"cannot write {where}: {disk_error.strerror}" if isinstance(error, OSError) else str(error)
        return printable(f"{what}; {advice}: the same command continues")
    error = find_usage_error(error) or error
    match error, error.__cause__:
        case MissingConfigException(missing_cfg_file=str() as file), _:
            text = describe_choice(file, options=error.options, search_path=str(error))
        case OSError(filename=str() as file), _:
            text = f"cannot use {file}: {error.strerror}; hydra.run.dir names the output folder"
        case _, OmegaConfBaseException() as cause if cause.parent_node is not None:
            text = describe_key(cause)
        case _ if isinstance(error, TypeError) or "group override must be" in str(error):  # a number as a choice
            advice = "a group, such as model, takes one name, and lever and cause take a list of names"
            text = f"an override cannot be read ({error}): {advice}"
        case _:
            text = str(error).partition("Config search path")[0]
    return printable(text)


def find_disk_error(error: Exception) -> OSError | None:
    """The error of a full or broken disk: this error or its cause; None if neither is one."""
    candidates = (error, error.__cause__)
    return next((found for found in candidates if isinstance(found, OSError) and is_of_disk(found)), None)


def find_usage_error(error: BaseException | None) -> UsageError | None:
    """The mistake that a resolver of ours found; OmegaConf wraps it and puts its own text before it."""
    while error is not None and not isinstance(error, UsageError):
        error = error.__cause__ or error.__context__
    return error


def describe_choice(file: str, *, options: Sequence[str] | None, search_path: str) -> str:
    """Name the missing choice, the closest existing one, and all existing ones."""
    # If Hydra names no choices, as for lists, they are found in the folders of its message.
    folders = re.findall(r"path=file://(.+)$", search_path, flags=re.MULTILINE)
    options = options or sorted(path.stem for folder in folders for path in Path(folder, file).parent.glob("*.yaml"))
    group, _, choice = file.rpartition("/")
    available = f"available options in '{group}' are {', '.join(options) or 'none'}"
    return f"Could not find '{file}': {did_you_mean(choice, options)}{available}"


def describe_key(error: OmegaConfBaseException) -> str:
    """Name the refused key, and why it was refused or the closest allowed key."""
    parent = error.parent_node
    if not isinstance(parent, DictConfig) or error.key in parent:
        return f"{error.full_key}: {str(error.msg).splitlines()[0]}"
    listed = [str(key) for key in parent if not str(key).startswith("_")]
    taken = options_of(str(parent["_target_"])) - {ANY, *listed} if "_target_" in parent else ()
    keys = [*listed, *sorted(taken)]
    return f"{error.full_key} is not an option: {did_you_mean(str(error.key), keys)}allowed are {', '.join(keys)}"


def did_you_mean(name: str, options: Sequence[str]) -> str:
    """The closest option, or the first one that holds the name; empty if there is none."""
    close = get_close_matches(name, options, n=1) or [option for option in options if name and name in option]
    return f"did you mean {close[0]}? " if close else ""
