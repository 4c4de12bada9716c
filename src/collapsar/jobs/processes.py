"""Jobs in other processes, perhaps on other machines: their share of a machine, their output, and how they end.

Two processes with two threads each on two cores run many times slower than with one thread each, hence the shares.
Here, processes are forked from the server of `multiprocessing`: it imports everything once for all jobs, and starts no
thread, because a fork copies only the thread that forks. A job's outcome holds plain values, because an exception of
another library may not survive the transfer.
"""

import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing import forkserver
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import run_job, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig

from collapsar.foundations.errors import UsageError, check_positive
from collapsar.jobs.failures import Outcome, exit_code, is_expected, one_line
from collapsar.jobs.multirun import LOG
from collapsar.machine.choice import number_in

VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
NO_THREAD = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}  # pyarrow's allocator starts one when it is imported
own: Any = multiprocessing.get_context("forkserver")


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
    return min(bound, number_in("SLURM_CPUS_PER_TASK") or bound)


def visible_gpus() -> list[str]:
    """The GPUs that this process sees, each named as in CUDA_VISIBLE_DEVICES."""
    if VISIBLE_GPUS in os.environ:
        return [name.strip() for name in os.environ[VISIBLE_GPUS].split(",") if name.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    asked = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60)
    if answer.returncode:
        advice = f"set {VISIBLE_GPUS} to those that jobs may use, or to nothing for none"
        raise UsageError(f"nvidia-smi does not say which GPUs there are ({answer.stdout.strip()}): {advice}")
    return answer.stdout.split()


class ForkContext(type(own)):  # type: ignore[misc]
    """The context of the processes in which jobs run."""

    class Process(own.Process):
        """A process that does not run the caller's script again, which may have no guard against that."""

        @staticmethod
        def _Popen(process: Any) -> Any:  # noqa: N802  the name is that of `multiprocessing`
            main = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                return own.Process._Popen(process)
            finally:
                sys.modules["__main__"] = main


def start_fork_server(share: Share) -> None:
    """Start the server with the threads of this share, if there is none yet; it imports in the background."""
    forkserver.set_forkserver_preload(["collapsar.jobs.frozen"])
    before = dict(os.environ)
    os.environ |= dict.fromkeys(THREADS, str(share.threads)) | NO_THREAD  # read when libraries are loaded
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job of a multirun; called in the process that runs it."""

    number: int  # from 1
    title: str  # its arm and its seed
    config: DictConfig  # with Hydra's own node
    folder: Path
    num_generations: int
    command: str  # that repeats this job alone
    hydra_context: HydraContext
    singletons: Any = field(default_factory=Singleton.get_state)  # the state of Hydra's own
    working_folder: Path = field(default_factory=Path.cwd)  # where the command was typed; relative paths start there
    environment: Mapping[str, str]  # our own variables that were set there
    is_restarted: bool  # whether SLURM or Ray starts the job again if a signal stopped it

    def __call__(self, share: Share) -> Outcome:
        os.environ |= {**self.environment, **share.environment()}  # before any library with threads is imported
        os.chdir(self.working_folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        with output_in(self.folder / LOG):
            sys.stdout.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} process {os.getpid()} on {socket.gethostname()}\n")
            sys.stdout.flush()
            return self._run()

    def checkpoint(self, share: Share) -> Any:
        """Queue the same job again, as submitit asks if SLURM takes the machine away; the run folder holds the rest."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, share)

    def _run(self) -> Outcome:
        from collapsar.config import composition
        from collapsar.jobs import job

        Singleton.set_state(self.singletons)
        setup_globals()
        composition.register()
        try:
            folders: Any = {"job_dir_key": "hydra.sweep.dir", "job_subdir_key": "hydra.sweep.subdir"}
            done = run_job(job.run_job, self.config, hydra_context=self.hydra_context, **folders)
            return Outcome(objective=done.return_value)  # Hydra raises the error of a failed job here
        except (KeyboardInterrupt, SystemExit) as stop:
            if self.is_restarted:
                raise  # the job would count as over if it returned an outcome
            code = stop.code if isinstance(stop, SystemExit) and isinstance(stop.code, int) else 130
            return Outcome(reason="interrupted: the same command continues", exit_code=code)
        except Exception as error:
            traceback.print_exception(error)
            if is_expected(error):
                objective = job.objective_of_breakdown(self.config, self.folder)
                return Outcome(objective=objective, reason=one_line(error), exit_code=exit_code(error))
            text = " ".join(f"{type(error).__name__}: {error}".split())
            return Outcome(reason=f"{text}; the traceback is in {self.folder / LOG}")


@contextmanager
def output_in(log: Path) -> Iterator[None]:
    """Append all that this process would write to the terminal to a file instead."""
    sys.stdout.flush()
    sys.stderr.flush()
    before = [os.dup(1), os.dup(2)]
    with log.open("a") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for stream, kept in zip((1, 2), before, strict=True):
                os.dup2(kept, stream)
                os.close(kept)
