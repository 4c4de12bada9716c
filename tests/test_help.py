"""What `collapsar --help` prints, and that a shell completes what it names."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from collapsar.__main__ import help_text
from collapsar.foundations.settings import config_folder

COMMANDS = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["scripts"]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_named(command):
    assert f"  {command} " in help_text(config_folder())


def test_each_group_stands_with_its_choices_but_recipes_launchers_and_sweepers():
    words = set(help_text(config_folder()).replace(",", " ").replace("=", " ").split())
    groups = {path.name for path in config_folder().glob("*/")} - {"recipe", "hydra", "finding"}
    for group in groups:
        assert {group, *(path.stem for path in (config_folder() / group).glob("*.yaml"))} <= words
    assert words.isdisjoint({"recipe", "submitit_slurm", "bisection"})


def test_it_fits_a_terminal_and_begins_with_two_sentences():
    lines = help_text(config_folder()).splitlines()
    assert max(map(len, lines)) <= 120
    assert " ".join(lines[: lines.index("")]).count(".") == 2


@pytest.mark.parametrize("option", [["--config-dir", "{}"], ["--config-dir={}"]])
def test_choices_of_a_folder_of_ones_own_stand_beside_ours(option, tmp_path):
    (tmp_path / "regime").mkdir()
    (tmp_path / "regime" / "mine.yaml").touch()
    text = help_text(config_folder(), [part.format(tmp_path) for part in option])
    assert "golden_ratio, mine, mix" in text


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_the_command_prints_it(option, collapsar, monkeypatch):
    printed = []
    monkeypatch.setattr(sys.stdout, "write", printed.append)
    assert collapsar(option)[0] == 0
    assert "".join(printed) == help_text(config_folder())


@pytest.fixture
def shell(tmp_path):
    """A call of bash in which `collapsar` is the command of this environment."""
    command = tmp_path / "collapsar"
    command.write_text(f"#!{sys.executable}\nfrom collapsar.__main__ import main\nmain()\n")
    command.chmod(0o755)
    paths = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)}

    def call(script):
        done = subprocess.run(
            ["bash", "-c", script], env=os.environ | paths, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    return call


def test_bash_completes_choices_as_the_help_says(shell):
    (told,) = [line for line in help_text(config_folder()).splitlines() if "sc install=bash" in line]
    told = told[told.index("eval") : told.index(", or")]
    completed = shell(
        f'{told}; COMP_LINE="collapsar size=t" COMP_WORDS=(collapsar size=t) COMP_CWORD=1; '
        'hydra_bash_completion; echo "${COMPREPLY[@]}"'
    )
    assert completed == ["size=tiny"]
