"""The base of sweepers that choose the next chains by earlier objectives. A trial is one chain for each seed.

Finished chains of a trial are read again at once, so the same command continues a search that was stopped.
"""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
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
        try:
            self.search()
        except FailedTrialError:
            return

    @abstractmethod
    def search(self) -> None:
        """Run trials one after another, or several at once."""

    def objectives(self, trials: Sequence[Sequence[str]]) -> list[Any]:
        """The objectives of some trials, each the mean over its seeds; a list for each if there are several objectives.

        Args:
            trials: The overrides of each.

        Raises:
            FailedTrialError: a job failed.
        """
        jobs = [self._jobs(overrides) for overrides in trials]
        flat = [job for seeds in jobs for job in seeds]
        returned = iter(self.launcher.launch(flat, initial_job_idx=self.num_jobs))
        self.num_jobs += len(flat)
        return [mean([objective_of(next(returned)) for _ in seeds]) for seeds in jobs]

    def _jobs(self, overrides: Sequence[str]) -> list[list[str]]:
        """The jobs of a trial; the typed overrides may change the seeds, but not the trial's values."""
        loader = self.hydra_context.config_loader
        jobs = arm_jobs([""], params=[f"seed={self.seeds}"], typed=self.typed, config_loader=loader)
        return [[*job, *overrides] for job in jobs]


def objective_of(returned: JobReturn) -> Any:
    """The objective that a job returned; raises FailedTrialError if it failed."""
    if returned.return_value is None:
        raise FailedTrialError
    return returned.return_value


def mean(objectives: Sequence[Any]) -> Any:
    """The mean of numbers, or of tuples element by element."""
    if isinstance(objectives[0], int | float):
        return fmean(objectives)
    return [fmean(values) for values in zip(*objectives, strict=True)]
