"""Run jobs side by side on this machine, each in a process of joblib's (loky)."""

import os
import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from collapsar.jobs.shares import (
    THREADS,
    Share,
    count_cores,
    count_slots,
    number_in,
    shares_of,
    visible_gpus,
)
from hydra_plugins.collapsar_launchers.job import Job
from hydra_plugins.collapsar_launchers.side_by_side import Handle, Places, SideBySide

GRACE_SECONDS = 10.0  # for a chain to end after SIGTERM


class JoblibLauncher(SideBySide):
    """One joblib process for each place, which runs one job after another."""

    package, extra = "joblib", "joblib"

    def __init__(self, *, n_jobs: int | None, jobs_per_gpu: int) -> None:
        """Set how many jobs run at once.

        Args:
            n_jobs: Jobs at once; null: `jobs_per_gpu` on each visible GPU, or one on each core if there is no GPU.
            jobs_per_gpu: Jobs that share a GPU.
        """
        self.n_jobs, self.jobs_per_gpu = n_jobs, jobs_per_gpu

    def places(self, num_jobs: int, folder: Path) -> Places:
        return JoblibPlaces(shares_here(num_jobs, n_jobs=self.n_jobs, jobs_per_gpu=self.jobs_per_gpu))


def shares_here(num_jobs: int, *, n_jobs: int | None, jobs_per_gpu: int) -> list[Share]:
    """The shares of this machine's cores and visible GPUs; OMP_NUM_THREADS limits the threads of each job."""
    cores, gpus = count_cores(os.environ), visible_gpus(os.environ)
    num_slots = count_slots(n_jobs, num_jobs=num_jobs, num_cores=cores, gpus=gpus, jobs_per_gpu=jobs_per_gpu)
    return shares_of(num_slots, num_cores=cores, gpus=gpus, most_threads=number_in(os.environ, THREADS[0]))


class JoblibPlaces(Places):
    """One process for each place, so that a process that dies takes no other with it."""

    def __init__(self, shares: Sequence[Share]) -> None:
        self.shares = shares
        self._executors: dict[int, Any] = {}

    def start(self, jobs: Sequence[tuple[int, Job]]) -> list[Handle]:
        return [self._start(place, job) for place, job in jobs]

    def _start(self, place: int, job: Job) -> Handle:
        try:
            return self._executor(place).submit(job, self.shares[place])
        except BrokenProcessPool:  # the place's process died in its last job
            del self._executors[place]
            return self._executor(place).submit(job, self.shares[place])

    def _executor(self, place: int) -> Any:
        from joblib.externals.loky.process_executor import ProcessPoolExecutor

        if place not in self._executors:
            # Each process has its own group: Ctrl-C reaches only the launcher, and `stop` signals each job once.
            self._executors[place] = ProcessPoolExecutor(
                max_workers=1, env=self.shares[place].environment(), initializer=os.setpgrp
            )
        return self._executors[place]

    def stop(self) -> None:
        processes = [process for executor in self._executors.values() for process in executor._processes.values()]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for process in processes:
            process.join(max(deadline - time.monotonic(), 0))
        for executor in self._executors.values():
            executor.shutdown(kill_workers=True)

    def close(self) -> None:
        for executor in self._executors.values():
            executor.shutdown()
