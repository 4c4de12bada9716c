"""A job of a multirun on its way to another process, perhaps on another machine, and what comes back from there.

What the job says goes to `job.log` in its run folder, so that lines of jobs that run side by side never mix. What comes
back is plain values: an exception of another library may not survive the way.
"""

import os
import socket
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig

from collapsar.jobs.shares import Share

LOG = "job.log"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended.

    Attributes:
        objective: What it returned to a sweeper.
        reason: What was wrong, in one line; empty if nothing was.
        exit_code: What the command would have ended with, had it run this job alone.
    """

    objective: Any = None
    reason: str = ""
    exit_code: int = 0


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job of a multirun; called in the process that runs it.

    Attributes:
        number: Which one, from 0.
        title: What sets it apart from the others, as overrides.
        config: Its composed config, with Hydra's own node.
        folder: Its run folder.
        num_generations: Of its chain.
        command: Repeats it by itself.
        hydra_context: Hydra's, of the multirun.
        singletons: Hydra's state.
        working_folder: Where the command was given; relative paths start there.
        environment: Variables of ours that were set there.
        is_restarted: Whether who runs it starts it again where a signal stopped it, as SLURM and Ray do.
    """

    number: int
    title: str
    config: DictConfig
    folder: Path
    num_generations: int
    command: str
    hydra_context: HydraContext
    singletons: Any
    working_folder: Path
    environment: Mapping[str, str]
    is_restarted: bool

    def __call__(self, share: Share) -> Outcome:
        """Run the chain with its share of the machine, all that it says going to its log."""
        os.environ |= {**self.environment, **share.environment()}  # before anything that has threads is imported
        os.chdir(self.working_folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        with said_to(self.folder / LOG):
            sys.stdout.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} process {os.getpid()} on {socket.gethostname()}\n")
            sys.stdout.flush()
            return self._run()

    def checkpoint(self, share: Share) -> Any:
        """What submitit queues again where SLURM takes the machine away: the same, as the run folder holds the rest."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, share)

    def _run(self) -> Outcome:
        from collapsar.__main__ import run_job as run_chain_of_job
        from collapsar.config import composition

        Singleton.set_state(self.singletons)
        setup_globals()
        composition.register()
        try:
            done = run_job(
                hydra_context=self.hydra_context,
                task_function=run_chain_of_job,
                config=self.config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
        except (KeyboardInterrupt, SystemExit) as stop:
            if self.is_restarted:
                raise  # with an outcome it would count as over
            code = stop.code if isinstance(stop, SystemExit) and isinstance(stop.code, int) else 130
            return Outcome(reason="interrupted: the same command continues", exit_code=code)
        if done.status is JobStatus.COMPLETED:
            return Outcome(objective=done.return_value)
        return self._failed(error_of(done))

    def _failed(self, error: Exception) -> Outcome:
        from collapsar.__main__ import (
            BREAKDOWN_EXIT_CODE,
            EXPECTED_ERRORS,
            exit_code,
            objective_of_breakdown,
            one_line,
        )

        traceback.print_exception(error)
        if isinstance(error, EXPECTED_ERRORS):
            worth = objective_of_breakdown(self.config, self.folder)
            return Outcome(objective=worth, reason=one_line(error), exit_code=exit_code(error))
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return Outcome(reason=f"{text}; the traceback is in {self.folder / LOG}", exit_code=BREAKDOWN_EXIT_CODE)


def error_of(done: JobReturn) -> Exception:
    """Why a job failed; Hydra raises it where it is asked for."""
    try:
        _ = done.return_value
    except Exception as error:
        return error
    raise AssertionError("the job did not fail")


@contextmanager
def said_to(log: Path) -> Iterator[None]:
    """Append all that this process writes to the terminal to a file instead."""
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
