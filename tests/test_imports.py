"""What answers at once imports nothing heavy: asserted on modules, because seconds depend on the machine."""

import json
import os
import subprocess
import sys

import pytest

from collapsar import __version__

HEAVY = (
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "wandb",
    "pandas",
    "scipy",
    "sklearn",
    "matplotlib",
    "PIL",
)
CALL = """
import json, pathlib, sys
sys.argv = {argv}
code = 0
try:
    from {module} import main
    main()
except SystemExit as stop:
    code = stop.code
pathlib.Path("loaded.json").write_text(json.dumps([code, sorted(sys.modules)]))
"""


def call(module, *arguments, folder, **environment):
    """Exit code, the modules that were loaded, and what was printed, of a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", CALL.format(argv=["command", *arguments], module=module)],
        cwd=folder,
        env=os.environ | {"COLUMNS": "100"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    code, modules = json.loads((folder / "loaded.json").read_text())
    return code, modules, done.stdout + done.stderr


def heavy(modules):
    return [name for name in HEAVY if name in modules]


@pytest.mark.parametrize(
    ("arguments", "code", "printed"),
    [
        (["--help"], 0, "regime        what the next generation is trained on: accumulate"),
        (["--cfg", "job"], 0, "num_generations: 8"),
        (["--info", "defaults"], 0, "experiment_schema"),
        (["--version"], 0, f"collapsar {__version__}\n"),
        (["regime=foo"], 2, "Could not find 'regime/foo'"),
        (["judge=mnits"], 2, "did you mean mnist?"),
        (["modell=vae"], 2, "did you mean model?"),
        (["name=a/b"], 2, "name must be the name of one folder"),
        (["seed=-1"], 2, "seed must be at least 0: got -1"),
        (["data.num_train=1e31"], 2, "data.num_train must be at most 1e+30 in size"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_runs_nothing_imports_nothing_heavy(arguments, code, printed, tmp_path):
    found, modules, text = call("collapsar.__main__", *arguments, folder=tmp_path)
    assert printed in text
    assert found == code
    assert heavy(modules) == []


def test_completion_imports_nothing_heavy(tmp_path):
    typed = "collapsar regime=mi"
    _, modules, text = call(
        "collapsar.__main__",
        "-sc",
        "query=bash",
        folder=tmp_path,
        COMP_LINE=typed,
        COMP_POINT=str(len(typed)),
        HYDRA_COMP_EXECUTABLE="collapsar",
    )
    assert text.split() == ["regime=mix", "regime=mix_cosine", "regime=mix_linear"]
    assert heavy(modules) == []


@pytest.mark.parametrize(
    "module",
    [
        *("collapsar.findings.__main__", "collapsar.report.__main__", "collapsar.verification.__main__"),
        "collapsar.jobs.bench",
    ],
)
def test_help_of_the_other_commands_imports_nothing_heavy(module, tmp_path):
    code, modules, text = call(module, "--help", folder=tmp_path)
    assert code == 0
    assert "usage: collapsar-" in text
    assert heavy(modules) == []
    assert "hydra" not in modules
