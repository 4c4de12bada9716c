"""Jobs in SLURM's queue, or in processes of this machine that run as under SLURM (submitit)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from collapsar.jobs.shares import Share
from hydra_plugins.collapsar_launchers.job import Job
from hydra_plugins.collapsar_launchers.joblib_launcher import shares_here
from hydra_plugins.collapsar_launchers.side_by_side import Handle, Places, SideBySide

FOLDER = ".submitit"  # submitit's own files, in the folder of the study


class SlurmLauncher(SideBySide):
    """All jobs at once as one array of SLURM jobs."""

    package, extra = "submitit", "slurm"
    restarts_jobs = True

    def __init__(
        self, *, cpus_per_task: int, timeout_min: int, max_num_timeout: int, parameters: Mapping[str, Any] | None
    ) -> None:
        """Set what each job asks of SLURM.

        Args:
            cpus_per_task: Cores, and so threads, of a job.
            timeout_min: Minutes after which SLURM stops a job, which is then queued again.
            max_num_timeout: How often a job that ran out of time is queued again; a preempted job always is.
            parameters: Other parameters of submitit: `gpus_per_node`, `mem_gb`, `slurm_partition`, ...
        """
        self.cpus_per_task, self.timeout_min, self.max_num_timeout = cpus_per_task, timeout_min, max_num_timeout
        self.parameters = parameters or {}

    def places(self, num_jobs: int, folder: Path) -> Places:
        import submitit

        executor = submitit.AutoExecutor(
            folder / FOLDER / "%j", cluster="slurm", slurm_max_num_timeout=self.max_num_timeout
        )
        executor.update_parameters(cpus_per_task=self.cpus_per_task, timeout_min=self.timeout_min, **self.parameters)
        return SubmititPlaces(executor, [Share(threads=self.cpus_per_task)] * num_jobs)


class LocalLauncher(SideBySide):
    """Processes of this machine, one for each job."""

    package, extra = "submitit", "slurm"

    def __init__(self, *, n_jobs: int | None, jobs_per_gpu: int, timeout_min: int) -> None:
        """Set how many jobs run at once.

        Args:
            n_jobs: Jobs at once; null: `jobs_per_gpu` on each visible GPU, or one on each core if there is no GPU.
            jobs_per_gpu: Jobs that share a GPU.
            timeout_min: Minutes after which a job is stopped.
        """
        self.n_jobs, self.jobs_per_gpu, self.timeout_min = n_jobs, jobs_per_gpu, timeout_min

    def places(self, num_jobs: int, folder: Path) -> Places:
        import submitit

        executor = submitit.AutoExecutor(folder / FOLDER / "%j", cluster="local")
        executor.update_parameters(timeout_min=self.timeout_min)
        shares = shares_here(num_jobs, n_jobs=self.n_jobs, jobs_per_gpu=self.jobs_per_gpu)
        return SubmititPlaces(executor, shares)


class SubmititPlaces(Places):
    """Jobs of one submitit executor."""

    def __init__(self, executor: Any, shares: Sequence[Share]) -> None:
        self.shares = shares
        self._executor, self._jobs = executor, list[Any]()

    def start(self, jobs: Sequence[tuple[int, Job]]) -> list[Handle]:
        with self._executor.batch():  # makes one SLURM array
            handles = [self._executor.submit(job, self.shares[place]) for place, job in jobs]
        self._jobs += handles
        return handles

    def stop(self) -> None:
        for job in self._jobs:
            job.cancel(check=False)

    def close(self) -> None:
        self._jobs.clear()
