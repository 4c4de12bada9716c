"""The command `collapsar`: one experiment, or a Hydra multirun.

A user's mistake gives one line on stderr and exit code 2. Numbers that broke down, a full or broken disk, and a
device's full memory give one line and exit code 1 (`jobs/failures.py`). HYDRA_FULL_ERROR=1 shows the traceback. In a
multirun the other jobs still run.
"""

import os
import sys
from pathlib import Path

import hydra

from collapsar import __version__
from collapsar.config import composition
from collapsar.config.command_line import readable_by_hydra
from collapsar.config.help import help_text
from collapsar.jobs import failures, multirun
from collapsar.jobs.job import run_job, sum_up_dry_run
from collapsar.machine import signals


def main() -> None:
    """Compose, check and run; report a user's mistake in one line."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints a traceback and exits; we write one line
    conf = composition.register()
    if "--version" in sys.argv[1:]:
        sys.stdout.write(f"collapsar {__version__}\n")
        return
    if {"--help", "-h"} & set(sys.argv[1:]):
        sys.stdout.write(help_text(sys.argv[1:]))
        return
    try:
        sys.argv[1:] = readable_by_hydra(sys.argv[1:])
        with signals.catch_signals():
            hydra.main(version_base="1.3", config_path=str(conf), config_name="config")(run_job)()
            sum_up_dry_run(Path("outputs"))
    except Exception as error:
        failures.note(error)
    except (KeyboardInterrupt, signals.Stopped) as error:
        sys.stderr.write("collapsar: interrupted; the same command continues\n")
        sys.exit(error.code if isinstance(error, signals.Stopped) else 130)
    for line in failures.lines(failures.failed_jobs, num_jobs=multirun.num_jobs()):
        sys.stderr.write(f"{line}\n")
    if failures.failed_jobs:
        sys.exit(failures.failed_jobs[0].exit_code)


if __name__ == "__main__":
    main()
