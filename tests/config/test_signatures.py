"""What is read from source is what Python says of the imported constructor."""

import re
import subprocess
import sys

import pytest

from collapsar.config.constructors import annotated_types, find_target, parameters_of
from collapsar.config.signatures import read_signature
from collapsar.records.settings import config_folder

TARGETS = sorted(
    {
        target
        for path in config_folder().rglob("*.yaml")
        for target in re.findall(r"_target_: ((?:collapsar|lightning)\.[\w.]+)", path.read_text(encoding="utf-8"))
    }
)
READ = [target for target in TARGETS if read_signature(target)]


def test_nearly_every_part_of_conf_can_be_read_and_the_others_take_no_arguments():
    assert len(READ) > 70
    for target in set(TARGETS) - set(READ):
        assert not parameters_of(find_target("part", target))


@pytest.mark.parametrize("target", READ)
def test_a_constructor_is_read_as_python_sees_it(target):
    constructor = find_target("part", target)
    expected, types, signature = parameters_of(constructor), annotated_types(constructor), read_signature(target)
    assert set(signature.parameters) == set(expected)
    for name, parameter in signature.parameters.items():
        assert (parameter.default is parameter.empty) == (expected[name].default is parameter.empty)
    assert {name: types[name] for name in signature.types} == signature.types


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
