"""What `collapsar --help` prints: the commands, and the groups with their choices, without composing a config."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import fill

from collapsar.records.settings import config_folder

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


def help_text(arguments: Sequence[str] = ()) -> str:
    """The help: each group with its choices, to which the folder of `--config-dir DIR` or `--config-dir=DIR` adds."""
    words = [word for argument in arguments for word in argument.split("=", 1)]
    named = [Path(folder) for option, folder in pairwise(words) if option in ("--config-dir", "-cd")]
    folders = [config_folder(), *named]
    found = {path.name for folder in folders for path in folder.glob("*/") if path.name not in LATER}
    lines = []
    for group in [*GROUPS, *sorted(found - GROUPS.keys())]:
        names = sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})
        what = f"{GROUPS[group]}: " if group in GROUPS else ""
        lines.append(fill(f"  {group:<13} {what}{', '.join(names)}", width=120, subsequent_indent=" " * 16))
    return TEXT.format(groups="\n".join(lines))
