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
from hydra.core.utils import run_job, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig

from collapsar.jobs.failures import BREAKDOWN_EXIT_CODE, exit_code, is_expected, one_line
from collapsar.jobs.shares import Share
from collapsar.jobs.watch import LOG


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended."""

    objective: Any = None  # for a sweeper
    reason: str = ""  # why it failed, in one line; empty if it did not
    exit_code: int = BREAKDOWN_EXIT_CODE  # of the command, if it failed


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
    singletons: Any  # the state of Hydra's own
    working_folder: Path  # where the command was typed; relative paths start there
    environment: Mapping[str, str]  # our own variables that were set there
    is_restarted: bool  # whether SLURM or Ray starts the job again if a signal stopped it

    def __call__(self, share: Share) -> Outcome:
        """Run the chain with its share of the machine; all its output goes to its log."""
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
            done = run_job(
                hydra_context=self.hydra_context,
                task_function=job.run_job,
                config=self.config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
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
