"""Draw settings, good and bad, over every key of every group, and put each to the command; one line of JSON for each.

    python drawn_settings.py FOLDER SEED NUMBER

Everything is imported once; each command runs in a fork, with bounded memory and time.
"""

import json
import os
import random
import resource
import signal
import sys
import tempfile
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from collapsar import __main__ as program
from collapsar import composition
from collapsar.journal import journal  # noqa: F401  imported before the forks
from collapsar.report import page  # noqa: F401
from collapsar.settings import flatten

MOST_SECONDS, MOST_BYTES = 90, 12 << 30
SHORT = (
    "tracking=none", "num_generations=1", "data.num_train=200", "batch_size=32", "trainer.max_steps=2",
    "evaluation=quick", "evaluation.num_samples=60", "evaluation.metrics=[frechet,classes]", "evaluation.num_batches=0",
    "trainer.accelerator=cpu", "evaluation.accelerator=cpu", "num_threads=1", "judge.budget.num_steps=2",
    "judge.min_accuracy=0.0",
)  # fmt: skip
GROUPS = {
    "model": ("vae", "gan", "vae_patch", "vae_mlp", "vae_residual", "gan_sn_conv", "gan_sn_residual"),
    "regime": None, "bias": None, "correction": None, "selection": None, "alarm": None,
}  # fmt: skip
LISTS = ("lever", "cause")
VALUES = (
    "0", "1", "-1", "2", "0.5", "-0.5", "1.0", "1e-9", "1e9", "1e308", "nan", "inf", "-inf", "null", "true", "false",
    "text", "''", "[]", "[0]", "[1,2]", "[a]", "{}", "{a:1}", "1000000000000",
)  # fmt: skip
UNTOUCHED = ("_target_", "_partial_", "data.root", "cache_folder", "tracking.")  # what leads elsewhere


def choices(group):
    return sorted(path.stem for path in (composition.config_folder() / group).glob("*.yaml"))


def drawn(rng):
    """The overrides of one command."""
    chosen = []
    for group, options in GROUPS.items():
        if rng.random() < 0.5:
            chosen.append(f"{group}={rng.choice(options or choices(group))}")
    lists = {group: rng.sample(choices(group), rng.randint(1, 2)) for group in LISTS if rng.random() < 0.4}
    chosen += [f"{group}=[{','.join(names)}]" for group, names in lists.items()]
    with initialize_config_dir(str(composition.config_folder()), version_base="1.3"):
        keys = sorted(flatten(composition.settings(compose("config", overrides=[*SHORT, *chosen]))))
    keys = [key for key in keys if not any(part in key for part in UNTOUCHED)]
    return chosen + [f"{key}={rng.choice(VALUES)}" for key in rng.sample(keys, rng.randint(0, 3))]


def run_forked(folder, overrides):
    """Exit code and stderr."""
    with tempfile.TemporaryFile("w+") as stderr:
        if (child := os.fork()) == 0:
            os.dup2(stderr.fileno(), 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
            signal.alarm(MOST_SECONDS)
            sys.argv = ["collapsar", *SHORT, *overrides, f"hydra.run.dir={folder}"]
            code = 0
            try:
                program.main()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
            except BaseException as end:
                sys.stderr.write(f"Traceback: {type(end).__name__}: {end}\n")
                code = 99
            sys.stderr.flush()
            os._exit(code or 0)
        _, status = os.waitpid(child, 0)
        stderr.seek(0)
        return os.waitstatus_to_exitcode(status), stderr.read()


def main():
    root, seed, number = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    os.chdir(root)
    torch.set_num_threads(1)
    composition.register()
    rng = random.Random(seed)
    for index in range(number):
        overrides = drawn(rng)
        code, stderr = run_forked(root / f"run_{index}", overrides)
        elsewhere = sorted(path.name for path in root.iterdir() if not path.name.startswith(("run_", ".generation")))
        told = {"overrides": overrides, "code": code, "stderr": stderr[-2000:], "elsewhere": elsewhere}
        sys.stdout.write(f"{json.dumps(told)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
