"""Jobs side by side on this machine, each in a process of joblib's (loky)."""

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

GRACE_SECONDS = 10.0  # that a chain has to leave after SIGTERM


class JoblibLauncher(SideBySide):
    """Processes of joblib's, one for each place, that run one job after another."""

    package, extra = "joblib", "joblib"

    def __init__(self, *, n_jobs: int | None, jobs_per_gpu: int) -> None:
        """Notes how many jobs run at once.

        Args:
            n_jobs: Jobs at once; null: `jobs_per_gpu` for each visible GPU, or one for each core where there is none.
            jobs_per_gpu: Jobs that share a GPU.
        """
        self.n_jobs, self.jobs_per_gpu = n_jobs, jobs_per_gpu

    def places(self, num_jobs: int, folder: Path) -> Places:
        return JoblibPlaces(shares_here(num_jobs, n_jobs=self.n_jobs, jobs_per_gpu=self.jobs_per_gpu))


def shares_here(num_jobs: int, *, n_jobs: int | None, jobs_per_gpu: int) -> list[Share]:
    """The shares of jobs on this machine: its cores and visible GPUs; OMP_NUM_THREADS limits the threads of each."""
    cores, gpus = count_cores(os.environ), visible_gpus(os.environ)
    num_slots = count_slots(n_jobs, num_jobs=num_jobs, num_cores=cores, gpus=gpus, jobs_per_gpu=jobs_per_gpu)
    return shares_of(num_slots, num_cores=cores, gpus=gpus, most_threads=number_in(os.environ, THREADS[0]))


class JoblibPlaces(Places):
    """A process of its own for each place: one that dies takes no other with it."""

    def __init__(self, shares: Sequence[Share]) -> None:
        self.shares = shares
        self._executors: dict[int, Any] = {}

    def start(self, jobs: Sequence[tuple[int, Job]]) -> list[Handle]:
        return [self._start(place, job) for place, job in jobs]

    def _start(self, place: int, job: Job) -> Handle:
        try:
            return self._executor(place).submit(job, self.shares[place])
        except BrokenProcessPool:  # its process died in the last job
            del self._executors[place]
            return self._executor(place).submit(job, self.shares[place])

    def _executor(self, place: int) -> Any:
        from joblib.externals.loky.process_executor import ProcessPoolExecutor

        if place not in self._executors:
            # In a process group of its own, so that Ctrl-C in a terminal reaches only us: `stop` tells the jobs, once.
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
