"""The files of W&B, read by W&B's own reader."""

import json
import os
import subprocess
from functools import cache
from pathlib import Path

from wandb.util import get_core_path

from collapsar.journal.wandb_server import QUIET


def read_wandb_file(path: Path) -> list[dict]:
    """The records of a .wandb file, by the program that `wandb leet inspect` starts."""
    return _read_once(path.resolve())


@cache
def _read_once(path: Path) -> list[dict]:
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", "--run-file", str(path)]
    here = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    done = subprocess.run(
        [*command, str(path.parents[1])], env={**here, **QUIET}, capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]
