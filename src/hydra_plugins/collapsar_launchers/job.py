"""A job of a multirun that runs in another process, perhaps on another machine, and its outcome.

Its output goes to `job.log` in its run folder, so that lines of parallel jobs never mix. The outcome holds plain
values, because an exception of another library may not survive the transfer.
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
        objective: The value that it returned to a sweeper.
        reason: What was wrong, in one line; empty if nothing was.
        exit_code: The exit code that the command would have had with this job alone.
    """

    objective: Any = None
    reason: str = ""
    exit_code: int = 0


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job of a multirun; called in the process that runs it.

    Attributes:
        number: Its number, from 0.
        title: The overrides that set it apart from the other jobs.
        config: Its composed config, with Hydra's own node.
        num_generations: Generations of its chain.
        command: The command that repeats this job alone.
        hydra_context: Hydra's context of the multirun.
        singletons: The state of Hydra's singletons.
        working_folder: The folder where the command was typed; relative paths start there.
        environment: Our own variables that were set there.
        is_restarted: Whether SLURM or Ray starts the job again if a signal stopped it.
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
        """Run the chain with its share of the machine; all its output goes to its log."""
        os.environ |= {**self.environment, **share.environment()}  # before any library with threads is imported
        os.chdir(self.working_folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        with said_to(self.folder / LOG):
            sys.stdout.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} process {os.getpid()} on {socket.gethostname()}\n")
            sys.stdout.flush()
            return self._run()

    def checkpoint(self, share: Share) -> Any:
        """Queue the same job again, as submitit asks if SLURM takes the machine away; the run folder holds the rest."""
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
                raise  # the job would count as over if it returned an outcome
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
    """The error of a failed job; Hydra raises it when the return value is read."""
    try:
        _ = done.return_value
    except Exception as error:
        return error
    raise AssertionError("the job did not fail")


@contextmanager
def said_to(log: Path) -> Iterator[None]:
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
