"""The base of our launchers: submit jobs, watch them until the last one is over, and report those that failed.

A launcher only provides the places where jobs run. A job that fails, or whose process dies, stops no other.
"""

import importlib.util
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict
from rich.progress import track

from collapsar.errors import UsageError
from collapsar.jobs.elsewhere import Job, Outcome
from collapsar.jobs.failures import FailedJob, command_of, failed_jobs
from collapsar.jobs.multirun import chosen_for, is_told_at_the_end, make_console, run_folders
from collapsar.jobs.shares import Share
from collapsar.jobs.watch import LOG, MultirunView, Watched

GLANCE_SECONDS = 0.2  # between two polls of the jobs
OWN_VARIABLES = "COLLAPSAR_"  # variables with this prefix are passed on to the jobs


class Handle(Protocol):
    """A submitted job: the future of joblib, submitit or Ray."""

    def done(self) -> bool: ...

    def result(self) -> Outcome:
        """How it ended; raises an exception if its process died."""


class SideBySide(Launcher, ABC):
    """A launcher whose jobs run in other processes, in places that run one job at a time."""

    package: str  # that it needs
    extra: str  # of ours, which installs the package
    restarts_jobs = False  # whether a job that a signal stopped is started again
    shares: Sequence[Share]  # of the machine, for the job in each place; `open` sets it

    @abstractmethod
    def open(self, num_jobs: int, folder: Path) -> None:
        """Make places for this number of jobs, before they are composed; `folder` is the study's."""

    @abstractmethod
    def start(self, jobs: Sequence[tuple[int, Job]]) -> list[Handle]:
        """Submit some jobs, each with the number of a free place."""

    @abstractmethod
    def stop(self) -> None:
        """End the running jobs; the same command continues them."""

    def close(self) -> None:
        """Release what the places hold, when all jobs are over."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store what jobs are made of; refuses to run them without the package."""
        if importlib.util.find_spec(self.package) is None:
            raise UsageError(
                f"hydra/launcher={config.hydra.runtime.choices['hydra/launcher']} needs {self.package}: "
                f"pip install 'collapsar[{self.extra}]', or choose hydra/launcher=basic"
            )
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs and note those that failed; returns the result of each, in the order of the jobs."""
        if self.config.get("dry_run"):  # trains nothing, and sums up its jobs within one process
            here = BasicLauncher()
            here.setup(hydra_context=self.hydra_context, task_function=self.task_function, config=self.config)
            return here.launch(job_overrides, initial_job_idx)
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        composing = track(job_overrides, description="composing the jobs", console=make_console(), transient=True)
        self.open(len(job_overrides), folder)
        try:
            jobs = [self._job(each, index=index) for index, each in enumerate(composing, start=initial_job_idx)]
            run_folders.extend(job.folder for job in jobs)
            outcomes = run_all(jobs, self)
        except BaseException:  # such as a job that cannot be composed, or a signal (`collapsar.machine.signals`)
            self.stop()
            raise
        self.close()
        return [self._returned(job, outcome) for job, outcome in zip(jobs, outcomes, strict=True)]

    def _job(self, overrides: Sequence[str], *, index: int) -> Job:
        """Compose a job here, so that a config that cannot be composed is refused before any job runs."""
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = index
        folder = Path(config.hydra.sweep.dir) / config.hydra.sweep.subdir
        return Job(
            number=index + 1,
            title=f"{chosen_for(config, folder).arm}, seed {config.seed}",
            config=config,
            folder=folder,
            num_generations=config.num_generations,
            command=command_of(config.hydra, folder=folder),
            hydra_context=self.hydra_context,
            singletons=Singleton.get_state(),
            working_folder=Path.cwd(),
            environment={name: value for name, value in os.environ.items() if name.startswith(OWN_VARIABLES)},
            is_restarted=self.restarts_jobs,
        )

    def _returned(self, job: Job, outcome: Outcome) -> JobReturn:
        """The result for the sweeper: a failure only if it has rules for it, else it would stop at the first one."""
        returned = JobReturn(overrides=list(job.config.hydra.overrides.task), cfg=job.config)
        returned.status, returned.return_value = JobStatus.COMPLETED, outcome.objective
        if outcome.reason and is_told_at_the_end(self.config.hydra):
            failed_jobs.append(
                FailedJob(number=job.number, reason=outcome.reason, exit_code=outcome.exit_code, command=job.command)
            )
        elif outcome.reason:
            returned.status, returned.return_value = JobStatus.FAILED, UsageError(outcome.reason)
        return returned


def run_all(jobs: Sequence[Job], launcher: SideBySide) -> list[Outcome]:
    """Run each job as soon as a place is free, and show the progress; returns how each job ended."""
    watched = [
        Watched(number=job.number, title=job.title, folder=job.folder, num_generations=job.num_generations)
        for job in jobs
    ]
    waiting, free = list(range(len(jobs))), list(range(len(launcher.shares)))
    running: dict[int, tuple[int, Handle]] = {}  # place and handle by the index of the job
    outcomes: dict[int, Outcome] = {}
    view = MultirunView(watched, console=make_console())
    with view.shown():
        while waiting or running:
            in_use, starting = {jobs[index].folder for index in running}, dict[int, int]()
            for index in waiting:
                if free and jobs[index].folder not in in_use:  # jobs of one chain run in turn, each continuing the last
                    in_use.add(jobs[index].folder)
                    starting[index] = free.pop(0)
            waiting = [index for index in waiting if index not in starting]
            if starting:
                handles = launcher.start([(place, jobs[index]) for index, place in starting.items()])
                running |= dict(zip(starting, zip(starting.values(), handles, strict=True), strict=True))
            for index, (place, handle) in list(running.items()):
                if handle.done():
                    del running[index]
                    free.append(place)
                    outcomes[index] = outcome_of(handle, job=jobs[index])
                    view.ended(watched[index], reason=outcomes[index].reason)
            view.look()
            time.sleep(GLANCE_SECONDS if running else 0)
    return [outcomes[index] for index in range(len(jobs))]


def outcome_of(handle: Handle, *, job: Job) -> Outcome:
    """How a job ended, even if its process died."""
    try:
        return handle.result()
    except Exception as error:  # whatever joblib, submitit or Ray raises for a process that died
        cause = getattr(error, "cause", None) or error  # Ray wraps what its worker raised before the job began
        what = str(cause).strip().partition("\n")[0] or type(cause).__name__
        log = job.folder / LOG
        return Outcome(reason=f"its process died ({what})" + (f"; its output is in {log}" if log.exists() else ""))
