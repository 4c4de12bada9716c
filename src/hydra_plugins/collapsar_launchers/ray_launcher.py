"""Run jobs on an existing Ray cluster, or on one that is started on this machine."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from collapsar.jobs.shares import Share
from hydra_plugins.collapsar_launchers.job import Job
from hydra_plugins.collapsar_launchers.side_by_side import Handle, Places, SideBySide


class RayLauncher(SideBySide):
    """Each job is a Ray task, which waits until the cluster has room for it."""

    package, extra = "ray", "ray"
    restarts_jobs = True

    def __init__(self, *, init: Mapping[str, Any], num_cpus: int, num_gpus: float, max_retries: int) -> None:
        """Set what each job asks of Ray.

        Args:
            init: Arguments of `ray.init`; without an address, Ray takes RAY_ADDRESS, a cluster of this machine's, or
                one that it starts here.
            num_cpus: Cores, and so threads, of a job.
            num_gpus: GPUs of a job; with .25, four jobs share one GPU.
            max_retries: How often a job is started again if its process or machine died.
        """
        self.init, self.num_cpus, self.num_gpus, self.max_retries = init, num_cpus, num_gpus, max_retries

    def places(self, num_jobs: int, folder: Path) -> Places:
        import ray

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray reports its usage to its makers
        if not ray.is_initialized():
            ray.init(**self.init)
        task = ray.remote(num_cpus=self.num_cpus, num_gpus=self.num_gpus, max_retries=self.max_retries)(run_on_ray)
        return RayPlaces(task, [Share(threads=self.num_cpus)] * num_jobs)


def run_on_ray(job: Job, share: Share) -> Any:
    """Run a job in a Ray worker."""
    return job(share)


class RayPlaces(Places):
    """Tasks of a Ray cluster."""

    def __init__(self, task: Any, shares: Sequence[Share]) -> None:
        self.shares = shares
        self._task, self._references = task, list[Any]()

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
