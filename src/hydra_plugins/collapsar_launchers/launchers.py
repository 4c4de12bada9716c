"""Where jobs run: in processes of this machine (joblib, submitit), in SLURM's queue (submitit), or on a Ray cluster."""

import os
import time
from abc import ABC
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

from collapsar.jobs import fork_server
from collapsar.jobs.elsewhere import Job
from collapsar.jobs.shares import Share, shares_here
from hydra_plugins.collapsar_launchers.side_by_side import Handle, SideBySide

GRACE_SECONDS = 10.0  # for a chain to end after SIGTERM


class JoblibLauncher(SideBySide):
    """One process for each place, so that a process that dies takes no other with it.

    The processes are forks of one server (`collapsar.jobs.fork_server`).
    """

    package, extra = "joblib", "joblib"

    def __init__(self, *, n_jobs: int | None, jobs_per_gpu: int) -> None:
        self.n_jobs, self.jobs_per_gpu = n_jobs, jobs_per_gpu

    def open(self, num_jobs: int, folder: Path) -> None:
        self.shares = shares_here(num_jobs, n_jobs=self.n_jobs, jobs_per_gpu=self.jobs_per_gpu)
        fork_server.start(self.shares[0])
        # Each process has its own group: Ctrl-C reaches only the launcher, and `stop` signals each job once.
        executor = partial(ProcessPoolExecutor, 1, mp_context=fork_server.Context(), initializer=os.setpgrp)
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
        import ray

        for reference in self._references:
            ray.cancel(reference, force=True)

    def close(self) -> None:
        import ray

        ray.shutdown()
