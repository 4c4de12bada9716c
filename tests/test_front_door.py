"""The names that `collapsar` gives to Python: imported when they are used, and the same to a type checker."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import collapsar

LOADED = "import sys, collapsar; print([name for name in sys.modules if name.partition('.')[0] in {names}])"
HEAVY = ("torch", "lightning", "hydra", "numpy", "pandas", "omegaconf", "wandb")


def test_every_name_is_what_its_module_holds():
    for name, home in collapsar.HOMES.items():
        assert getattr(collapsar, name) is getattr(import_module(f"collapsar.{home}"), name)


def test_the_names_are_listed():
    assert set(collapsar.HOMES) <= set(dir(collapsar))
    assert set(collapsar.__all__) == set(collapsar.HOMES)


def test_type_checkers_see_the_same_names_in_the_same_modules():
    stub = ast.parse(Path(collapsar.__file__).with_suffix(".pyi").read_text())
    seen = {
        alias.name: node.module.removeprefix("collapsar.")
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == collapsar.HOMES


def test_the_package_itself_imports_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(names=HEAVY)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'vae'"):
        _ = collapsar.vae
