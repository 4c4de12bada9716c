"""The command `collapsar`: one experiment, or a Hydra multirun.

A user's mistake gives one line on stderr and exit code 2. Numbers that broke down, a full or broken disk, and a
device's full memory give one line and exit code 1 (`jobs/failures.py`). HYDRA_FULL_ERROR=1 shows the traceback. In a
multirun the other jobs still run.
"""

import atexit
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from textwrap import fill
from typing import Any

import hydra
import yaml

from collapsar.config import composition
from collapsar.config.command_line import readable_by_hydra
from collapsar.foundations import __version__
from collapsar.jobs import failures, multirun
from collapsar.jobs.job import run_job, sum_up_dry_run
from collapsar.machine import signals


def command() -> None:
    """Run `main`, and leave as the processes of `multiprocessing` do: to free each object takes two seconds more."""
    try:
        main()
        code: Any = 0
    except SystemExit as stop:
        code = stop.code or 0
    if "torch" not in sys.modules or sys.getprofile() or not isinstance(code, int):
        sys.exit(code)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # its reader may have gone
            stream.flush()
    os._exit(code)


def main() -> None:
    """Compose, check and run; report a user's mistake in one line."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints a traceback and exits; we write one line
    conf = composition.register()
    if "--version" in sys.argv[1:]:
        sys.stdout.write(f"collapsar {__version__}\n")
        return
    if {"--help", "-h"} & set(sys.argv[1:]):
        sys.stdout.write(help_text(conf, sys.argv[1:]))
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


def help_text(conf: Path, arguments: Sequence[str] = ()) -> str:
    """The help: each group with its choices, without composing a config; `--config-dir DIR` adds a folder."""
    words = [word for argument in arguments for word in argument.split("=", 1)]
    named = [Path(folder) for option, folder in pairwise(words) if option in ("--config-dir", "-cd")]
    folders = [conf, *named]
    texts, lines = yaml.safe_load((Path(__file__).parent / "help.yaml").read_text()), []
    found = {path.name for folder in folders for path in folder.glob("*/") if path.name not in texts["others"]}
    for group in [*texts["groups"], *sorted(found - texts["groups"].keys())]:
        names = sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})
        what = f"{texts['groups'][group]}: " if group in texts["groups"] else ""
        lines.append(fill(f"  {group:<13} {what}{', '.join(names)}", width=120, subsequent_indent=" " * 16))
    return str(texts["text"]).format(groups="\n".join(lines))


if __name__ == "__main__":
    command()
