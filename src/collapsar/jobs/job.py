"""A job: one chain of the command, alone or in a multirun, with its page, its table and its objective.

A job of a plain multirun, whose jobs run one after another in this process, leaves one line on the terminal. All else
that it says goes to `job.log` in its run folder, as it does if jobs run side by side.
"""

import atexit
import gc
import json
import logging
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from collapsar.config import composition
from collapsar.config.command_line import is_tiny
from collapsar.config.constructors import instantiated
from collapsar.foundations.errors import UsageError
from collapsar.foundations.files import disk_errors_name
from collapsar.foundations.words import duration_text
from collapsar.jobs import multirun
from collapsar.jobs.failures import command_of, note, one_line
from collapsar.journal.objective import read_objective
from collapsar.journal.rows import headline
from collapsar.machine.signals import catch_signals

if TYPE_CHECKING:
    from collapsar.config.forecast import Forecast

logger = logging.getLogger(__name__)

dry_chains: list["Forecast"] = []  # of this command


def run_job(config: DictConfig) -> float | tuple[float, ...] | None:
    """Run one chain, write its page and print its table; returns its objective, None if it failed.

    A breakdown is an outcome of the chain: it is reported at the end, and a sweeper gets an objective for it. Launchers
    other than Hydra's own get the error itself.
    """
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    is_in_turn = hydra_config.mode == RunMode.MULTIRUN and multirun.runs_here(hydra_config)
    multirun.run_folders.append(folder)
    gc.disable()  # until all is imported: looking for garbage takes a fifth of that time
    try:
        with catch_signals():
            composition.check(config)
            multirun.keep_length(config, hydra_config=hydra_config, folder=folder)
            quieten_libraries(is_tiny=is_tiny(config))
            with own_log(folder) if is_in_turn and not config.dry_run else nullcontext():
                return run_chain(config, hydra_config=hydra_config, folder=folder, is_in_turn=is_in_turn)
    except Exception as error:
        if not multirun.runs_here(hydra_config):
            raise
        if is_in_turn:
            note(error, number=int(hydra_config.job.num) + 1, command=command_of(hydra_config, folder=folder))
            if multirun.begun:
                say_end(hydra_config, folder, f"failed: {one_line(error)}")
        else:
            note(error)
    finally:
        gc.enable()
    return objective_of_breakdown(config, folder)


def run_chain(
    config: DictConfig, *, hydra_config: Any, folder: Path, is_in_turn: bool
) -> float | tuple[float, ...] | None:
    """Build, run and show the chain of one job, whose settings are checked; returns its objective."""
    experiment, settings = instantiated(config), composition.settings(config)
    if multirun.is_optimised(hydra_config) and settings["objective"] is None:
        raise UsageError("this sweeper looks for the best chain: say what is best, as in objective=final/recall")
    chain = composition.chain_name(str(folder.parent), _root_=config)
    from collapsar.config import forecast  # imports torch

    gc.freeze()  # what was imported stays: looking through it takes a third of a second each time
    gc.enable()
    atexit.register(gc.unfreeze)  # or libraries report it as leaked

    if settings["dry_run"]:
        dry_chains.append(forecast.forecast(experiment, folder, chain=chain, config=settings))
        logger.info("%s", forecast.line(dry_chains[-1]))
        if not (folder / "config.yaml").exists():  # Hydra made the folder for this dry run
            shutil.rmtree(folder / ".hydra", ignore_errors=True)
            with suppress(OSError):
                folder.rmdir()
        return None
    from collapsar.report.page import write_report

    with disk_errors_name(folder):
        position = multirun.job_number(hydra_config)
        study, num_chains = (Path(hydra_config.sweep.dir), multirun.num_jobs()) if position else (folder, 1)
        records = experiment.run(
            folder,
            chain=chain,
            config=settings,
            console=multirun.make_console(),
            position=position,
            expected="" if position else forecast.expected(folder, config=settings),
            command=command_of(hydra_config, folder=folder),
            chosen=multirun.chosen_for(config, folder),
            write_page=lambda: write_report([folder], folder / multirun.PAGE),
            after_generation=multirun.WatchedPage(study, num_chains=num_chains),
        )
        multirun.show_results(folder, is_printed=not is_in_turn)
        if is_in_turn:
            say_end(hydra_config, folder, f"is done: {headline(records[-1])}")
    profile = json.loads((folder / "profile.json").read_text())
    return read_objective(settings["objective"], records=records, profile=profile)


@contextmanager
def own_log(folder: Path) -> Iterator[None]:
    """Send what a job logs to its own file; only lines of this module reach the terminal."""
    multirun.begun.append(time.monotonic())
    root, file = logging.getLogger(), logging.FileHandler(folder / multirun.LOG, delay=True)
    of_this_module = logging.Filter(__name__)
    terminal = [handler for handler in root.handlers if type(handler) is logging.StreamHandler]
    root.addHandler(file)
    for handler in terminal:
        handler.addFilter(of_this_module)
    try:
        yield
    finally:
        root.removeHandler(file)
        file.close()
        for handler in terminal:
            handler.removeFilter(of_this_module)


def say_end(hydra_config: Any, folder: Path, outcome: str) -> None:
    """Log the one line of a job of a plain multirun: how it ended, and the time left at the speed so far."""
    now, number, num_jobs = time.monotonic(), int(hydra_config.job.num) + 1, multirun.num_jobs()
    left, pace = num_jobs - number, (now - multirun.begun[0]) / len(multirun.begun)
    of = f" of {num_jobs}" if num_jobs else ""
    rest = f"; about {duration_text(left * pace)} left" if left > 0 else ""
    took = duration_text(now - multirun.begun[-1])
    logger.info("job %d%s (%s) %s (%s)%s", number, of, folder.name, outcome, took, rest)


def objective_of_breakdown(config: DictConfig, folder: Path) -> float | tuple[float, ...] | None:
    """The objective of a chain whose numbers broke down; None for a chain that failed otherwise."""
    with suppress(OSError, ValueError):  # no profile, or no such number: the job has failed
        profile = json.loads((folder / "profile.json").read_text())
        if profile.get("ending") == "broke down" and config.get("objective") is not None:
            return read_objective(composition.settings(config)["objective"], records=(), profile=profile)
    return None


def sum_up_dry_run(outputs: Path) -> None:
    """Log the total of all chains of a dry run, if there are any; refuse it if the disk is too small."""
    if dry_chains:
        from collapsar.config import forecast
        from collapsar.study.comparison import forecast_power

        chains = dry_chains.copy()
        dry_chains.clear()
        logger.info("%s", forecast.summary(chains, free_bytes=forecast.check_disk(chains, outputs)))
        for sentence in forecast_power([chain.config for chain in chains]):
            logger.info("dry run: %s", sentence)


def quieten_libraries(*, is_tiny: bool) -> None:
    """Hide messages of Lightning, which would crowd out the chain's own, and for size=tiny those on few samples."""
    import lightning.pytorch  # noqa: F401  importing it sets the levels of its loggers

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("collapsar.judging").setLevel(logging.ERROR if is_tiny else logging.NOTSET)
