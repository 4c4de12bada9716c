"""The base of sweepers that choose the next chains by earlier objectives. A trial is one chain for each seed.

Finished chains of a trial are read again at once, so the same command continues a search that was stopped.
"""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from collapsar.jobs.multirun import arm_jobs


class FailedTrialError(Exception):
    """A job of a trial failed; the reason is already noted."""


class Search(Sweeper):
    """A sweeper whose trials depend on earlier trials."""

    launcher: Launcher
    hydra_context: HydraContext
    config: DictConfig

    def __init__(self, *, seeds: str) -> None:
        self.seeds = seeds
        self.num_jobs = 0  # launched so far

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Search to the end, or until a job fails: the reason is printed at the end, and the same command continues."""
        self.typed = list(arguments)
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        with suppress(FailedTrialError):
            self.search()

    @abstractmethod
    def search(self) -> None:
        """Run trials one after another, or several at once."""

    def objectives(self, trials: Sequence[Sequence[str]]) -> list[Any]:
        """The mean objective over seeds of each trial, which is given by its overrides; a list if there are several.

        The typed overrides may change the seeds, but not the values of a trial. A job that fails is a FailedTrialError.
        """
        loader = self.hydra_context.config_loader
        jobs = arm_jobs([""], params=[f"seed={self.seeds}"], typed=self.typed, config_loader=loader)
        of_all = [[*job, *overrides] for overrides in trials for job in jobs]
        returned = self.launcher.launch(of_all, initial_job_idx=self.num_jobs)
        self.num_jobs += len(of_all)
        found = [job.return_value for job in returned]
        if None in found:
            raise FailedTrialError
        return [mean(found[first : first + len(jobs)]) for first in range(0, len(found), len(jobs))]


def mean(objectives: Sequence[Any]) -> Any:
    """The mean of numbers, or of tuples element by element."""
    if isinstance(objectives[0], int | float):
        return fmean(objectives)
    return [fmean(values) for values in zip(*objectives, strict=True)]
