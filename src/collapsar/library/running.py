"""Chains from Python: the command `collapsar` in this process, and its records as a table."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
import pandas as pd

from collapsar.config import composition
from collapsar.config.command_line import readable_by_hydra
from collapsar.errors import UsageError
from collapsar.jobs import failures, multirun
from collapsar.jobs.job import run_job, sum_up_dry_run
from collapsar.library.composing import as_overrides, mistakes_named, own_hydra
from collapsar.machine.signals import Stopped
from collapsar.records.settings import CONFIG
from collapsar.study.study import read_study

FULL_ERRORS = "HYDRA_FULL_ERROR"


def run(overrides: Sequence[str] = (), *, is_multirun: bool = False, **settings: Any) -> pd.DataFrame:
    """Run one chain, or all chains of a multirun, as the command `collapsar` does; what was stopped is continued.

    Args:
        overrides: As on the command line, such as `["data=mnist", "lever=[ema]"]`; options, such as `--config-dir`,
            may stand among them.
        is_multirun: Whether commas sweep, as with the option `-m`: `run(["seed=0,1"], is_multirun=True)`.
        settings: The same as keyword arguments; mappings stand for dotted keys: `run(model={"width": 8}, seed=1)`.

    Returns:
        One row for each generation of each chain, in the order of the jobs: arm, chain, seed, data, model, regime,
        generation, and each metric that was recorded. Its `attrs` hold the `folder` of the chain, or of the study, and
        the `failures`: lines about the chains that broke down, which are also a warning.

    Raises:
        UsageError: the command would end with exit code 2, or no chain has a record.
        KeyboardInterrupt: Ctrl-C; the same call continues.
    """
    options = ["-m"] if is_multirun else []
    typed = [*options, *overrides, *as_overrides(settings, may_sweep=is_multirun)]
    conf = composition.register()
    with own_hydra(), command_of_its_own(), mistakes_named():
        sys.argv = ["collapsar", *readable_by_hydra(typed)]
        try:
            hydra.main(version_base="1.3", config_path=str(conf), config_name="config")(run_job)()
        except Stopped as stop:
            if stop.code == 130:
                raise KeyboardInterrupt from stop
            raise
        sum_up_dry_run(Path("outputs"))
        failed, folders = failures.failed_jobs.copy(), list(dict.fromkeys(multirun.run_folders))
        lines = [line.removeprefix("collapsar: ") for line in failures.lines(failed, num_jobs=len(folders))]
    begun = [folder for folder in folders if (folder / CONFIG).is_file()]
    table = read_study(begun).records if begun else pd.DataFrame()
    if failed and (table.empty or any(job.exit_code == failures.USAGE_EXIT_CODE for job in failed)):
        raise UsageError("\n".join(lines))
    if failed:
        warnings.warn("\n".join(lines), stacklevel=2)
    common = Path(os.path.commonpath(folders)) if folders else Path()
    table.attrs |= {"folder": str(common), "failures": lines}
    return table


@contextmanager
def command_of_its_own() -> Iterator[None]:
    """Within this context, a fresh command; afterwards, the logging, arguments and environment of the caller."""
    root, arguments = logging.getLogger(), sys.argv
    handlers, level = root.handlers[:], root.level
    kept = {name: os.environ.get(name) for name in (FULL_ERRORS, multirun.NUM_JOBS_VARIABLE)}
    os.environ[FULL_ERRORS] = "1"  # else Hydra prints a traceback and exits
    failures.failed_jobs.clear()
    multirun.run_folders.clear()
    try:
        yield
    finally:
        sys.argv, root.handlers[:] = arguments, handlers
        root.setLevel(level)
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
