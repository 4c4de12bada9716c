"""Launchers that run the jobs of a multirun side by side, watch them, and report those that failed.

A launcher only provides the places where jobs run: processes of this machine (joblib, submitit), SLURM's queue
(submitit), or a Ray cluster. A job that fails, or whose process dies, stops no other.
"""

import importlib.util
import os
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict
from rich.progress import track

from collapsar.foundations.errors import UsageError
from collapsar.jobs.failures import Outcome, command_of, failed_jobs
from collapsar.jobs.multirun import chosen_for, keep_length, make_console, run_folders
from collapsar.jobs.processes import ForkContext, Job, Share, shares_here, start_fork_server
from collapsar.jobs.watch import Handle, run_all

GRACE_SECONDS = 10.0  # for a chain to end after SIGTERM


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
        if importlib.util.find_spec(self.package) is None:
            needs = f"hydra/launcher={config.hydra.runtime.choices['hydra/launcher']} needs {self.package}"
            raise UsageError(f"{needs}: pip install 'collapsar[{self.extra}]', or choose hydra/launcher=basic")
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
            outcomes = run_all(jobs, num_places=len(self.shares), start=self.start)
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
        keep_length(config, hydra_config=config.hydra, folder=folder)  # before any job runs
        return Job(
            number=index + 1,
            title=f"{chosen_for(config, folder).arm}, seed {config.seed}",
            config=config,
            folder=folder,
            num_generations=config.num_generations,
            command=command_of(config.hydra, folder=folder),
            hydra_context=self.hydra_context,
            environment={name: value for name, value in os.environ.items() if name.startswith("COLLAPSAR_")},
            is_restarted=self.restarts_jobs,
        )

    def _returned(self, job: Job, outcome: Outcome) -> JobReturn:
        """The result for the sweeper: completed in any case, else it would stop at the first failure."""
        if outcome.reason:
            failed_jobs.append(replace(outcome, number=job.number, command=job.command))
        returned = JobReturn(overrides=list(job.config.hydra.overrides.task), cfg=job.config)
        returned.status, returned.return_value = JobStatus.COMPLETED, outcome.objective
        return returned


class JoblibLauncher(SideBySide):
    """One process for each place, forked from one server, so that a process that dies takes no other with it."""

    package, extra = "joblib", "joblib"

    def __init__(self, *, n_jobs: int | None, jobs_per_gpu: int) -> None:
        self.n_jobs, self.jobs_per_gpu = n_jobs, jobs_per_gpu

    def open(self, num_jobs: int, folder: Path) -> None:
        self.shares = shares_here(num_jobs, n_jobs=self.n_jobs, jobs_per_gpu=self.jobs_per_gpu)
        start_fork_server(self.shares[0])
        # Each process has its own group: Ctrl-C reaches only the launcher, and `stop` signals each job once.
        executor = partial(ProcessPoolExecutor, 1, mp_context=ForkContext(), initializer=os.setpgrp)
        self._executors = defaultdict[int, ProcessPoolExecutor](executor)  # by place

    def start(self, jobs: Sequence[tuple[int, Job]]) -> list[Handle]:
        return [self._start(place, job) for place, job in jobs]

    def _start(self, place: int, job: Job) -> Handle:
        from joblib import wrap_non_picklable_objects  # the state of Hydra's singletons holds functions of functions

        packed = wrap_non_picklable_objects(job)
        try:
            return self._executors[place].submit(packed, self.shares[place])
        except BrokenProcessPool:  # the place's process died in its last job
            del self._executors[place]
            return self._executors[place].submit(packed, self.shares[place])

    def stop(self) -> None:
        processes = [process for executor in self._executors.values() for process in executor._processes.values()]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for process in processes:
            process.join(max(deadline - time.monotonic(), 0))
            process.kill()
        self.close()

    def close(self) -> None:
        for executor in self._executors.values():
            executor.shutdown(cancel_futures=True)


class SubmititLauncher(SideBySide, ABC):
    """Jobs of one submitit executor."""

    package, extra = "submitit", "slurm"

    def prepare(self, folder: Path, shares: Sequence[Share], parameters: Mapping[str, Any], **options: Any) -> None:
        """Make the executor from its options and these parameters of a job; its own files go below this folder."""
        import submitit

        self.shares, self._jobs = shares, list[Any]()
        self._executor = submitit.AutoExecutor(folder / ".submitit" / "%j", **options)
        self._executor.update_parameters(**parameters)

    def start(self, jobs: Sequence[tuple[int, Job]]) -> list[Handle]:
        with self._executor.batch():  # makes one SLURM array
            handles = [self._executor.submit(job, self.shares[place]) for place, job in jobs]
        self._jobs += handles
        return handles

    def stop(self) -> None:
        for job in self._jobs:
            job.cancel(check=False)


class SlurmLauncher(SubmititLauncher):
    """All jobs at once as one array of SLURM jobs, with the settings of `conf/hydra/launcher/submitit_slurm.yaml`."""

    restarts_jobs = True

    def __init__(
        self, *, cpus_per_task: int, timeout_min: int, max_num_timeout: int, parameters: Mapping[str, Any] | None
    ) -> None:
        self.cpus_per_task, self.timeout_min, self.max_num_timeout = cpus_per_task, timeout_min, max_num_timeout
        self.parameters = parameters or {}

    def open(self, num_jobs: int, folder: Path) -> None:
        shares = [Share(threads=self.cpus_per_task)] * num_jobs
        parameters = {"cpus_per_task": self.cpus_per_task, "timeout_min": self.timeout_min, **self.parameters}
        self.prepare(folder, shares, parameters, cluster="slurm", slurm_max_num_timeout=self.max_num_timeout)


class LocalLauncher(SubmititLauncher):
    """Processes of this machine, one for each job, which is stopped after `timeout_min`."""

    def __init__(self, *, n_jobs: int | None, jobs_per_gpu: int, timeout_min: int) -> None:
        self.n_jobs, self.jobs_per_gpu, self.timeout_min = n_jobs, jobs_per_gpu, timeout_min

    def open(self, num_jobs: int, folder: Path) -> None:
        shares = shares_here(num_jobs, n_jobs=self.n_jobs, jobs_per_gpu=self.jobs_per_gpu)
        self.prepare(folder, shares, {"timeout_min": self.timeout_min}, cluster="local")


class RayLauncher(SideBySide):
    """Each job is a Ray task, which waits until the cluster has room for what `conf/hydra/launcher/ray.yaml` says."""

    package, extra = "ray", "ray"
    restarts_jobs = True

    def __init__(self, *, init: Mapping[str, Any], num_cpus: int, num_gpus: float, max_retries: int) -> None:
        self.init, self.num_cpus, self.num_gpus, self.max_retries = init, num_cpus, num_gpus, max_retries

    def open(self, num_jobs: int, folder: Path) -> None:
        import ray

        self._ray = ray
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray reports its usage to its makers
        if not ray.is_initialized():
            ray.init(**self.init)
        self.shares = [Share(threads=self.num_cpus)] * num_jobs
        remote = ray.remote(num_cpus=self.num_cpus, num_gpus=self.num_gpus, max_retries=self.max_retries)
        self._task, self._references = remote(lambda job, share: job(share)), list[Any]()

    def start(self, jobs: Sequence[tuple[int, Job]]) -> list[Handle]:
        references = [self._task.remote(job, self.shares[place]) for place, job in jobs]
        self._references += references
        return [reference.future() for reference in references]

    def stop(self) -> None:
        for reference in self._references:
            self._ray.cancel(reference, force=True)

    def close(self) -> None:
        self._ray.shutdown()
