"""The command `collapsar`: one experiment, or a Hydra multirun.

A user's mistake gives one line on stderr and exit code 2. Numbers that broke down, a full or broken disk, and a
device's full memory give one line and exit code 1 (`jobs/failures.py`). HYDRA_FULL_ERROR=1 shows the traceback. In a
multirun the other jobs still run.
"""

import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import fill

import hydra

from collapsar.config import composition
from collapsar.config.command_line import readable_by_hydra
from collapsar.foundations import __version__
from collapsar.jobs import failures, multirun
from collapsar.jobs.job import run_job, sum_up_dry_run
from collapsar.machine import signals

GROUPS = {
    "experiment": "a whole study",
    "data": "what is learned",
    "model": "what learns it",
    "size": "its budget (small for CPU cores, full for a GPU, tiny to try an idea)",
    "regime": "what the next generation is trained on",
    "cause": "what is wrong with the real data",
    "lever": "what may slow collapse",
    "bias": "how drawing departs from the model",
    "correction": "what moves drawn samples",
    "selection": "which samples are kept",
    "evaluation": "what is measured",
    "tracking": "who follows the run",
    "alarm": "what happens when a chain collapses",
}
LATER = ("recipe", "hydra", "finding")
"""Folders of conf that are no groups here: recipes follow from data, size and model, and findings have a command."""
TEXT = """\
collapsar trains each generation of a model on what the last one made, and measures what dies. Settings are KEY=VALUE or
GROUP=NAME; the same command continues what was stopped.

  collapsar data=digits model=gan regime=accumulate    one chain; size=tiny tries it, dry_run=true says how long
  collapsar -m regime=replace,accumulate seed=0,1,2    every combination; hydra/launcher=joblib runs them side by side
  collapsar-score SYNTHETIC REAL                       the metrics of samples of your own
  collapsar-report FOLDER...                           one page, tables and figures of chains that have run
  collapsar-findings NAME...                           published claims: their chains, run and decided
  collapsar-verify                                     chains with known solutions, held against them
  collapsar-bench                                      how fast this machine trains

{groups}

  --cfg job         print all settings, and run nothing
  --config-dir DIR  also take YAML files from a folder of your own
  --hydra-help      options of Hydra, such as other launchers and sweepers

Completion of groups, names and keys: eval "$(collapsar -sc install=bash)", or zsh, or fish
"""


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
    found = {path.name for folder in folders for path in folder.glob("*/") if path.name not in LATER}
    lines = []
    for group in [*GROUPS, *sorted(found - GROUPS.keys())]:
        names = sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})
        what = f"{GROUPS[group]}: " if group in GROUPS else ""
        lines.append(fill(f"  {group:<13} {what}{', '.join(names)}", width=120, subsequent_indent=" " * 16))
    return TEXT.format(groups="\n".join(lines))


if __name__ == "__main__":
    main()
