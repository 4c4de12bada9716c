"""The share of a machine that each of several jobs gets: CPU threads, and one of the visible GPUs.

A slot runs one job at a time. Two processes with two threads each on two cores run many times slower than with one
thread each, so a slot gets no more threads than cores divided by slots, but at least one.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass

from collapsar.errors import UsageError, check_positive

VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
SLURM_CORES = "SLURM_CPUS_PER_TASK"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Share:
    """A job's share of a machine."""

    threads: int  # on the CPU
    gpu: str | None = None  # the only one that the job sees, by index or UUID; None leaves all that it finds

    def environment(self) -> dict[str, str]:
        """The environment variables that set this share in a process that has not loaded its libraries yet."""
        threads = dict.fromkeys(THREADS, str(self.threads))
        return threads if self.gpu is None else threads | {VISIBLE_GPUS: self.gpu}


def shares_here(num_jobs: int, *, n_jobs: int | None, jobs_per_gpu: int) -> list[Share]:
    """The share of each slot: this machine's cores divided by slots, from 1 to OMP_NUM_THREADS; its GPUs in turn.

    There are `n_jobs` slots (None: `jobs_per_gpu` on each GPU, or one on each core without a GPU), at most one a job.
    """
    check_positive(**{"hydra.launcher.jobs_per_gpu": jobs_per_gpu})
    num_cores, gpus = count_cores(), visible_gpus()
    num_at_once = (len(gpus) * jobs_per_gpu or num_cores) if n_jobs is None else n_jobs
    check_positive(**{"hydra.launcher.n_jobs": num_at_once})
    num_slots = min(num_at_once, num_jobs)
    threads = max(num_cores // num_slots, 1)
    threads = min(threads, number_in(THREADS[0]) or threads)
    return [Share(threads=threads, gpu=gpus[slot % len(gpus)] if gpus else None) for slot in range(num_slots)]


def count_cores() -> int:
    """The cores that this process may use: those it is bound to, or fewer if SLURM gave it fewer."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(bound, number_in(SLURM_CORES) or bound)


def number_in(variable: str) -> int | None:
    """A whole number above 0 from the environment; None if the variable holds none."""
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() and int(text) else None


def visible_gpus() -> list[str]:
    """The GPUs that this process sees, each named as in CUDA_VISIBLE_DEVICES."""
    if VISIBLE_GPUS in os.environ:
        return [name.strip() for name in os.environ[VISIBLE_GPUS].split(",") if name.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    asked = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60)
    if answer.returncode:
        raise UsageError(
            f"nvidia-smi does not say which GPUs there are ({answer.stdout.strip()}): set {VISIBLE_GPUS} to those that "
            "jobs may use, or to nothing for none"
        )
    return answer.stdout.split()
