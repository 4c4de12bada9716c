"""What is read from source is what Python says of the imported constructor."""

import re
import subprocess
import sys

import pytest

from collapsar.config.constructors import find_target
from collapsar.config.signatures import ANY, imported_signature, options_of, read_signature
from collapsar.records.settings import config_folder

TARGETS = sorted(
    {
        target
        for path in config_folder().rglob("*.yaml")
        for target in re.findall(r"_target_: ((?:collapsar|lightning)\.[\w.]+)", path.read_text(encoding="utf-8"))
    }
)


@pytest.mark.parametrize("target", TARGETS)
def test_a_constructor_is_read_as_python_sees_it(target):
    expected, signature = imported_signature(find_target("part", target)), read_signature(target)
    assert set(signature.parameters) == set(expected.parameters)
    for name, parameter in signature.parameters.items():
        assert (parameter.default is parameter.empty) == (expected.parameters[name].default is parameter.empty)
    assert {name: expected.types[name] for name in signature.types} == signature.types


def test_an_argument_that_may_stand_in_a_list_is_read_as_one():
    monitor = read_signature("lightning.pytorch.callbacks.EarlyStopping").parameters["monitor"]
    assert monitor.kind is monitor.POSITIONAL_OR_KEYWORD


MINE = """
from dataclasses import dataclass
from torch.nn import Module
from mine_too import Base, Settings

class Passes(Base):
    def __init__(self, *, own: int = 1, **settings): ...

class Inherits(Base): ...

class Layer(Module):
    def __init__(self, width, **settings): ...

class Takes:
    def __init__(self, **settings): ...

@dataclass
class More(Settings):
    second: int

def make(first, *, second=2): ...
"""
MINE_TOO = """
from dataclasses import dataclass

class Base:
    def __init__(self, given: int): ...

@dataclass
class Settings:
    first: int
"""


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("Passes", {"given", "own"}),
        ("Inherits", {"given"}),
        ("Layer", {"width"}),
        ("Takes", {ANY}),
        ("More", {"first", "second"}),
        ("make", {"first", "second"}),
    ],
)
def test_the_arguments_of_a_users_class_are_read_with_those_of_its_bases(name, names, tmp_path, monkeypatch):
    for module, text in (("mine_read", MINE), ("mine_too", MINE_TOO)):
        (tmp_path / f"{module}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert options_of(f"mine_read.{name}") == names
    assert not {"mine_read", "mine_too"} & set(sys.modules)
    assert read_signature(f"mine_read.{name}") is None


def test_reading_imports_no_torch():
    program = (
        "import sys; from collapsar.config.signatures import read_signature;"
        "assert read_signature('collapsar.models.vae.vae.VAE') and read_signature('lightning.Trainer');"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    "target", ["torch.optim.Adam", "collapsar.nowhere.X", "collapsar.models.vae.vae.Nothing", "X", ""]
)
def test_what_is_not_ours_or_not_there_is_left_to_python(target):
    assert read_signature(target) is None
