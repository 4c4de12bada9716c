"""Draw settings, good and bad, over every key of every group, and put each to the command; one line of JSON for each.

    python drawn_settings.py FOLDER SEED NUMBER

Everything is imported once; each command runs in a fork, in a folder of its own, with bounded memory and time. Keys
that were drawn least come first, so that a long row of draws reaches them all.
"""

import gc
import json
import os
import random
import resource
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from rich.console import Console

from collapsar import __main__ as program
from collapsar.config import composition
from collapsar.data.real_data import Source
from collapsar.foundations.settings import flatten
from collapsar.report import page  # noqa: F401  imported before the forks

MOST_SECONDS, MOST_BYTES = 90, 12 << 30
SHORT = (
    "tracking=none", "num_generations=1", "batch_size=32", "trainer.max_steps=2", "evaluation.num_samples=60",
    "evaluation.metrics=[frechet,classes]", "evaluation.num_batches=0", "trainer.accelerator=cpu",
    "evaluation.accelerator=cpu", "num_threads=1", "share_generation_0=false",
)  # fmt: skip
OF_IMAGES = ("data.num_train=200", "judge.budget.num_steps=2", "judge.min_accuracy=0.0")
OF_VECTORS = ("data.num_train=100", "data.num_test=100", "data.num_reserve=100")
OF_FACTORS = (*OF_VECTORS, "judge.budget.num_steps=2", "judge.min_accuracy=0.0")
OF_TABLES = ("data.num_train=100", "evaluation.table.task.num_trees=2")
DIGITS = "digits"
VECTORS = ("gaussian", "ring", "grid", "categorical", "linear_regression")
NETWORKS = (
    "vae",
    "gan",
    "vae_conv",
    "gan_conv",
    "vae_mlp",
    "vae_patch",
    "vae_residual",
    "gan_sn_conv",
    "gan_sn_residual",
)
TABLES = ("breast_cancer",)
OF_ROWS = ("table_vae", "table_gan", "flow", "kde", "gaussian")  # models
FACTORS = ("scenes", "stacked_mnist")  # the second only where MNIST lies already
GROUPS = ("regime", "bias", "correction", "selection", "alarm", "evaluation")
LISTS = ("lever", "cause")
VALUES = (
    "0", "1", "-1", "2", "0.5", "-0.5", "1.0", "1e-9", "1e9", "1e308", "nan", "inf", "-inf", "null", "true", "false",
    "text", "''", "'1'", "[]", "[0]", "[1,2]", "[a]", "[null]", "[0.5,nan]", "{}", "{a:1}", "1000000000000",
    "100000000000000000000000", "'a b'", "'é☃'",
    "..", "'../elsewhere'", "'a/b'", "'a\nb'", "'a\x1b[31mb'", "'<b>a</b>'",
    f"'{'a' * 300}'",
)  # fmt: skip
NUMBERS = ("0", "1", "2", "3", "0.5", "0.9", "1e-9", "-1", "1.0", "1e9", "1e308", "nan", "true", "1000000000000")
UNTOUCHED = ("_target_", "_partial_", "tracking.")  # what leads elsewhere
OUTSIDE = ("/dev/", "/proc/self/")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def choices(group):
    return sorted(path.stem for path in (composition.config_folder() / group).glob("*.yaml"))


def drawn(rng, counts):
    """The overrides of one command, and what stood at the keys that it sets one by one."""
    data = drawn_source(rng)
    fitting, small = fitting_models(data)
    chosen = [f"data={data}", *small]
    chosen.append(f"model={rng.choice(fitting if rng.random() < 0.9 else choices('model'))}")
    chosen += [f"{group}={rng.choice(choices(group))}" for group in GROUPS if rng.random() < 0.2]
    lists = {group: rng.sample(choices(group), rng.randint(1, 2)) for group in LISTS if rng.random() < 0.2}
    chosen += [f"{group}=[{','.join(names)}]" for group, names in lists.items()]
    try:
        before = flatten(composition.settings(composed([*SHORT, *chosen])))  # in the command's order: merged once
    except Exception:  # a choice that cannot be composed is for the command to refuse
        return [*SHORT, *chosen], {}
    keys = [key for key in before if not any(part in key for part in UNTOUCHED)]
    keys.sort(key=lambda key: (counts[key], rng.random()))
    keys = keys[: rng.randint(1, 2)]
    counts.update(keys)
    values = {key: rng.choice(NUMBERS if is_number(before[key]) and rng.random() < 0.7 else VALUES) for key in keys}
    return [*SHORT, *chosen, *(f"{key}={value}" for key, value in values.items())], {key: before[key] for key in keys}


def drawn_source(rng):
    """Digits most often."""
    has_mnist = (Path(os.environ.get("COLLAPSAR_DATA", "")) / "MNIST").is_dir()
    kind = rng.choices(((DIGITS,), VECTORS, TABLES, FACTORS if has_mnist else FACTORS[:1]), weights=(4, 2, 1, 1))[0]
    return rng.choice(kind)


def fitting_models(data):
    """Models that are made for a source, and the overrides that make it small."""
    if data in VECTORS:
        return (data if data in choices("model") else "kde",), OF_VECTORS
    if data in TABLES:
        return OF_ROWS, OF_TABLES
    return NETWORKS, OF_FACTORS if data in FACTORS else OF_IMAGES


def is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def run_forked(folder, overrides):
    """Exit code, stderr, whether data were read, and what was written elsewhere than in the folder."""
    with tempfile.TemporaryFile("w+") as stderr, tempfile.TemporaryFile("w+") as told:
        if (child := os.fork()) == 0:
            os.dup2(stderr.fileno(), 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
            signal.alarm(MOST_SECONDS)
            os.chdir(folder)
            seen = {"read": False, "elsewhere": watch_writes(folder)}
            note_reading(seen)
            sys.argv = ["collapsar", *overrides]
            code = 0
            try:
                program.main()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
            except BaseException as end:
                sys.stderr.write(f"Traceback: {type(end).__name__}: {end}\n")
                code = 99
            sys.stderr.flush()
            told.write(json.dumps(seen))
            told.flush()
            os._exit(code or 0)
        _, status = os.waitpid(child, 0)
        stderr.seek(0)
        told.seek(0)
        seen = json.loads(told.read() or "{}")
        return {"code": os.waitstatus_to_exitcode(status), "stderr": stderr.read()[-3000:], **seen}


def note_reading(seen):
    """Note whether data were loaded."""
    load = Source.load

    def noted(source):
        seen["read"] = True
        return load(source)

    Source.load = noted


def watch_writes(folder):
    """A list that grows by each path outside the folder, and the folder for temporary files, that is written."""
    elsewhere, allowed = [], (str(folder), tempfile.gettempdir(), os.environ["XDG_CACHE_HOME"], *OUTSIDE)

    def watch(event, arguments):
        if event in ("os.mkdir", "os.rename", "os.remove", "os.symlink", "os.link"):
            paths = [path for path in arguments[:2] if isinstance(path, str | bytes | os.PathLike)]
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
            paths = [path for path in arguments[:1] if isinstance(path, str | bytes | os.PathLike)]
        else:
            return
        full = [os.path.abspath(os.fsdecode(path)) for path in paths]  # noqa: PTH100  it looks nothing up on the disk
        elsewhere.extend(path for path in full if not path.startswith(allowed))

    sys.addaudithook(watch)
    return elsewhere


def recorded(folder):
    """The one record of a chain, as text; None without one."""
    found = list(folder.glob("outputs/*/*/records.jsonl"))
    return found[0].read_text(encoding="utf-8") if found else None


def composed(overrides):
    with initialize_config_dir(str(composition.config_folder()), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def import_everything(folder, command=()):
    """Run a chain here, so that the forks find all modules imported, and what a command chooses merged."""
    sys.path.append(str(Path(__file__).parents[1]))
    from composed_once import compose_once

    compose_once(pytest.MonkeyPatch())
    composition.register()
    config = composed(["data=digits", "selection=most_confident", *OF_IMAGES, *SHORT])
    composed(command)
    settings = composition.settings(config)
    composition.build(config).run(folder, chain="", config=settings, console=Console(quiet=True))
    gc.freeze()  # a fork that collects garbage would copy every page of these objects


def main():
    root, seed, number = Path(sys.argv[1]).resolve(), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    import_everything(root / "first")
    rng, counts = random.Random(seed), Counter()
    for index in range(number):
        overrides, before = drawn(rng, counts)
        folder = root / f"run_{index}"
        folder.mkdir()
        told = {"overrides": overrides, "before": before, **run_forked(folder, overrides), "record": recorded(folder)}
        sys.stdout.write(f"{json.dumps(told)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
