"""A study: the jobs of a multirun, and the table and the page over its chains."""

import logging
import math
import os
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console

logger = logging.getLogger(__name__)

NUM_JOBS_VARIABLE = "COLLAPSAR_NUM_JOBS"  # tells the jobs of a multirun, in whatever process, how many they are
OPTIMISER_SETTINGS = ("direction", "ax_config", "optim")  # one of them stands in the config of Optuna, Ax, Nevergrad
PLAIN_WIDTH = 120  # characters, where there is no terminal to ask


class StudySummary(Callback):
    """A multirun: how many jobs it has, and at its end one table and one page over all its chains."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Hydra calls this once, before the first job."""
        os.environ[NUM_JOBS_VARIABLE] = str(count_jobs(config))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Hydra calls this once, when the last job is done."""
        folder = Path(config.hydra.sweep.dir)
        if any(folder.glob("*/records.jsonl")):
            show_results([folder], page=folder / "report.html")


def count_jobs(config: DictConfig) -> int:
    """The jobs of a multirun; 0 where its sweeper decides as it goes on."""
    if not is_grid(config.hydra):
        return 0
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    overrides = OverridesParser.create().parse_overrides([*params, *config.hydra.overrides.task])
    last = {override.get_key_element(): override for override in overrides}.values()  # of a key that stands twice
    return math.prod(len(list(swept.sweep_string_iterator())) for swept in last if swept.is_discrete_sweep())


def is_grid(hydra_config: Any) -> bool:
    """Whether a multirun takes every combination, as Hydra's own sweeper does."""
    return str(hydra_config.sweeper._target_).endswith("BasicSweeper")


def is_optimised(hydra_config: Any) -> bool:
    """Whether a multirun looks for the best chain and must be told what that is."""
    return hydra_config.mode == RunMode.MULTIRUN and any(key in hydra_config.sweeper for key in OPTIMISER_SETTINGS)


def job_number(hydra_config: Any) -> str:
    """Which job of a multirun this is, in words; empty for a single chain."""
    if hydra_config.mode != RunMode.MULTIRUN:
        return ""
    number, num_jobs = int(hydra_config.job.num) + 1, int(os.environ.get(NUM_JOBS_VARIABLE, "0"))
    return f"job {number} of {num_jobs}, {num_jobs - number} left" if num_jobs else f"job {number}"


def show_results(folders: list[Path], *, page: Path) -> None:
    """Print the table of some chains and write their page."""
    from collapsar.report.page import write_report
    from collapsar.report.tables import comparison_table

    make_console().print(comparison_table(folders))
    logger.info("page: %s", write_report(folders, page))


def make_console() -> Console:
    """Where progress and tables are drawn; wide enough for a table where there is no terminal to ask."""
    console = Console(stderr=True)
    return console if console.is_terminal else Console(stderr=True, width=PLAIN_WIDTH)
