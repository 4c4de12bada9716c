"""What sweepers share that choose the next chains by what the last ones came to: a trial is a chain of every seed.

A trial whose chains are finished is read again in no time, so the same command continues a search that was stopped.
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
    """A job of a trial failed; why is noted already."""


class Search(Sweeper):
    """A sweeper whose trials follow from one another."""

    launcher: Launcher
    hydra_context: HydraContext
    config: DictConfig

    def __init__(self, *, seeds: str) -> None:
        self.seeds = seeds
        self.num_jobs = 0  # so far

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Notes what trials are made of."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Search to the end, or until a job fails: its reason is told at the end, and the same command continues."""
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
        """The objectives of some trials, each the mean over its seeds; a list where there are several objectives.

        Args:
            trials: The overrides of each.

        Raises:
            FailedTrialError: a job has none, because it failed.
        """
        jobs = [self._jobs(overrides) for overrides in trials]
        flat = [job for seeds in jobs for job in seeds]
        returned = iter(self.launcher.launch(flat, initial_job_idx=self.num_jobs))
        self.num_jobs += len(flat)
        return [mean([objective_of(next(returned)) for _ in seeds]) for seeds in jobs]

    def _jobs(self, overrides: Sequence[str]) -> list[list[str]]:
        """The jobs of a trial; what is typed may say other seeds, but not another trial."""
        loader = self.hydra_context.config_loader
        jobs = arm_jobs([""], params=[f"seed={self.seeds}"], typed=self.typed, config_loader=loader)
        return [[*job, *overrides] for job in jobs]


def objective_of(returned: JobReturn) -> Any:
    """What a job returned.

    Raises:
        FailedTrialError: nothing, as it failed.
    """
    if returned.return_value is None:
        raise FailedTrialError
    return returned.return_value


def mean(objectives: Sequence[Any]) -> Any:
    """The mean of numbers, or of tuples place by place."""
    if isinstance(objectives[0], int | float):
        return fmean(objectives)
    return [fmean(values) for values in zip(*objectives, strict=True)]
