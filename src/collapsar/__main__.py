"""The command `collapsar`: one experiment, or a Hydra multirun.

A user's mistake gives one line on stderr and exit code 2. Numbers that broke down, a full or broken disk, and a
device's full memory give one line and exit code 1. HYDRA_FULL_ERROR=1 shows the traceback. In a multirun the other
jobs still run.
"""

import json
import logging
import os
import re
import shutil
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from collapsar import __version__
from collapsar.config import composition
from collapsar.config.command_line import readable_by_hydra
from collapsar.config.constructors import ANY, options_of
from collapsar.errors import (
    FULL_DISK,
    DeviceMemoryError,
    NonFiniteError,
    UsageError,
    disk_errors_name,
    is_of_disk,
    printable,
)
from collapsar.jobs import multirun
from collapsar.jobs.failures import FailedJob, command_of, failed_jobs, lines
from collapsar.journal.objective import read_objective
from collapsar.machine import signals
from collapsar.records.settings import config_folder

if TYPE_CHECKING:
    from collapsar.config.experiment import Experiment

USAGE_EXIT_CODE, BREAKDOWN_EXIT_CODE = 2, 1
EXPECTED_ERRORS = (UsageError, NonFiniteError, DeviceMemoryError, HydraException, OmegaConfBaseException, OSError)

wants_traceback = bool(os.environ.get("HYDRA_FULL_ERROR"))


def run_job(config: DictConfig) -> float | tuple[float, ...] | None:
    """Run one chain, write its page and print its table; returns its objective, None if it failed.

    A breakdown is an outcome of the chain: it is reported at the end, and a sweeper gets an objective for it.
    """
    with signals.catch_signals(), expected_errors_noted():
        composition.check(config)  # finds mistakes that need no torch before torch is imported
        quieten_libraries()
        return run_chain(config, hydra_config=HydraConfig.get())
    return objective_of_breakdown(config, Path(HydraConfig.get().runtime.output_dir))


def run_chain(config: DictConfig, *, hydra_config: Any) -> float | tuple[float, ...] | None:
    """Build, run and show the chain of one job, whose settings are checked; returns its objective."""
    experiment, settings = composition.make(config), composition.settings(config)
    if multirun.is_optimised(hydra_config) and settings["objective"] is None:
        raise UsageError("this sweeper looks for the best chain: say what is best, as in objective=final/recall")
    folder = Path(hydra_config.runtime.output_dir)
    if settings["dry_run"]:
        estimate_chain(experiment, folder, config=config)
        return None
    with disk_errors_name(folder):
        records = experiment.run(
            folder,
            chain=composition.chain_name(_root_=config),
            config=settings,
            console=multirun.make_console(),
            position=multirun.job_number(hydra_config),
        )
        multirun.show_results([folder], page=folder / "report.html")
    profile = json.loads((folder / "profile.json").read_text())
    return read_objective(settings["objective"], records=records, profile=profile)


def objective_of_breakdown(config: DictConfig, folder: Path) -> float | tuple[float, ...] | None:
    """The objective of a chain whose numbers broke down; None for a chain that failed otherwise."""
    with suppress(OSError, ValueError):  # no profile, or no such number: the job has failed
        profile = json.loads((folder / "profile.json").read_text())
        if profile.get("ending") == "broke down" and config.get("objective") is not None:
            return read_objective(composition.settings(config)["objective"], records=(), profile=profile)
    return None


def estimate_chain(experiment: "Experiment", folder: Path, *, config: DictConfig) -> None:
    """Log what a chain would take, and leave no new folder behind."""
    from collapsar.config import forecast

    chain = composition.chain_name(_root_=config)
    one = forecast.forecast(experiment, folder, chain=chain, config=composition.settings(config))
    logging.getLogger(__name__).info("%s", forecast.line(one))
    if not (folder / "config.yaml").exists():
        shutil.rmtree(folder / ".hydra", ignore_errors=True)
        with suppress(OSError):
            folder.rmdir()


def sum_up_dry_run(outputs: Path) -> None:
    """Log the total of all chains of a dry run, if this process made one; refuse it if the disk is too small."""
    forecast = sys.modules.get("collapsar.config.forecast")
    if forecast is None or not forecast.made:
        return
    chains = forecast.made.copy()
    forecast.made.clear()
    logging.getLogger(__name__).info("%s", forecast.summary(chains, free_bytes=forecast.check_disk(chains, outputs)))


@contextmanager
def expected_errors_noted() -> Iterator[None]:
    """Keep an expected error for the end of the command, so that the other jobs of a multirun go on.

    Launchers other than Hydra's own and sweepers of other packages get the error itself: they have rules for it.
    """
    try:
        yield
    except EXPECTED_ERRORS as error:
        config = HydraConfig.get()
        is_ours_to_tell = config.launcher._target_.endswith("BasicLauncher") and multirun.is_told_at_the_end(config)
        if wants_traceback or not is_ours_to_tell:
            raise
        failed_jobs.append(failed_job(error, hydra_config=config))


def failed_job(error: Exception, *, hydra_config: Any) -> FailedJob:
    """The report of the running job, which ends with this error."""
    if hydra_config.mode != RunMode.MULTIRUN:
        return failed_command(error)
    return FailedJob(
        number=int(hydra_config.job.num) + 1,
        reason=one_line(error),
        exit_code=exit_code(error),
        command=command_of(hydra_config, folder=Path(hydra_config.runtime.output_dir)),
    )


def failed_command(error: BaseException) -> FailedJob:
    """The report of a single chain, or of a command as a whole, that failed."""
    return FailedJob(number=None, reason=one_line(error), exit_code=exit_code(error))


def quieten_libraries() -> None:
    """Hide Lightning's information messages and warnings, which would crowd out the chain's own lines."""
    import lightning.pytorch  # noqa: F401  importing it sets the levels of its loggers

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")


def main() -> None:
    """Compose, check and run; report a user's mistake in one line."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints a traceback and exits; we write one line
    composition.register()
    conf = str(config_folder())
    if "--version" in sys.argv[1:]:
        sys.stdout.write(f"collapsar {__version__}\n")
        return
    try:
        sys.argv[1:] = readable_by_hydra(sys.argv[1:])
        with signals.catch_signals():
            hydra.main(version_base="1.3", config_path=conf, config_name="config")(run_job)()
            sum_up_dry_run(Path("outputs"))
    except EXPECTED_ERRORS as error:
        if wants_traceback:
            raise
        failed_jobs.append(failed_command(error))
    except (ValueError, TypeError) as error:
        if wants_traceback or not is_of_hydra(error):
            raise
        failed_jobs.append(failed_command(readable(error)))
    except (KeyboardInterrupt, signals.Stopped) as error:
        sys.stderr.write("collapsar: interrupted; the same command continues\n")
        sys.exit(error.code if isinstance(error, signals.Stopped) else 130)
    for line in lines(failed_jobs, num_jobs=multirun.num_jobs()):
        sys.stderr.write(f"{line}\n")
    if failed_jobs:
        sys.exit(failed_jobs[0].exit_code)


def is_of_hydra(error: BaseException) -> bool:
    """Whether Hydra itself raised an error: it refuses some overrides with a plain ValueError or TypeError."""
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals["__name__"]).startswith("hydra.")


def readable(error: Exception) -> Exception:
    """An error of Hydra's; with advice for the TypeError that a number in a list of a group's choices causes."""
    if not isinstance(error, TypeError):
        return error
    advice = "a group, such as model, takes one name, and lever and cause take a list of names"
    return UsageError(f"an override cannot be read ({error}): {advice}")


def exit_code(error: BaseException) -> int:
    """1 if the chain, a disk or a device's memory broke down; 2 for what the user can mend by another command."""
    is_breakdown = isinstance(error, NonFiniteError | DeviceMemoryError) or find_disk_error(error)
    return BREAKDOWN_EXIT_CODE if is_breakdown else USAGE_EXIT_CODE


def one_line(error: BaseException) -> str:
    """What is wrong, the value, and what is allowed, on one line."""
    if disk_error := find_disk_error(error):
        advice = "free space" if disk_error.errno in FULL_DISK else "see to the disk"
        where = disk_error.filename or "below .hydra in the run folder"  # if the error names no file
        what = f"cannot write {where}: {disk_error.strerror}" if isinstance(error, OSError) else str(error)
        return printable(f"{what}; {advice}: the same command continues")
    error = find_usage_error(error) or error
    match error, error.__cause__:
        case MissingConfigException(missing_cfg_file=str() as file), _:
            text = describe_choice(file, options=error.options or options_in(file, search_path=str(error)))
        case OSError(filename=str()), _:
            text = f"cannot use {error.filename}: {error.strerror}; hydra.run.dir names the output folder"
        case _, OmegaConfBaseException() as cause if cause.parent_node is not None:
            text = describe_key(cause)
        case _:
            text = str(error).partition("Config search path")[0]
    return printable(text)


def find_disk_error(error: BaseException) -> OSError | None:
    """The error of a full or broken disk: this error or its cause; None if neither is one."""
    candidates = (error, error.__cause__)
    return next((found for found in candidates if isinstance(found, OSError) and is_of_disk(found)), None)


def find_usage_error(error: BaseException | None) -> UsageError | None:
    """The mistake that a resolver of ours found; OmegaConf wraps it and puts its own text before it."""
    while error is not None and not isinstance(error, UsageError):
        error = error.__cause__ or error.__context__
    return error


def describe_choice(file: str, *, options: Sequence[str]) -> str:
    """Name the missing choice, the closest existing one, and all existing ones."""
    group, _, choice = file.rpartition("/")
    close = get_close_matches(choice, options, n=1) or [option for option in options if choice and choice in option]
    hint = f"did you mean {close[0]}? " if close else ""
    return f"Could not find '{file}': {hint}available options in '{group}' are {', '.join(options) or 'none'}"


def options_in(file: str, *, search_path: str) -> list[str]:
    """The choices beside a missing one, in the folders of Hydra's message; for lists Hydra names no choices."""
    folders = re.findall(r"path=file://(.+)$", search_path, flags=re.MULTILINE)
    return sorted(path.stem for folder in folders for path in Path(folder, file).parent.glob("*.yaml"))


def describe_key(error: OmegaConfBaseException) -> str:
    """Name the refused key, and why it was refused or the closest allowed key."""
    parent = error.parent_node
    if not isinstance(parent, DictConfig) or error.key in parent:
        return f"{error.full_key}: {str(error.msg).splitlines()[0]}"
    listed = [str(key) for key in parent if not str(key).startswith("_")]
    taken = options_of(str(parent["_target_"])) - {ANY, *listed} if "_target_" in parent else ()
    keys = [*listed, *sorted(taken)]
    close = get_close_matches(str(error.key), keys, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{error.full_key} is not an option: {hint}allowed are {', '.join(keys)}"


if __name__ == "__main__":
    main()
