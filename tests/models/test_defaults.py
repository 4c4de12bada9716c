"""Constructors and the plan repeat the values of conf as their defaults."""

import inspect

import pytest
from hydra.utils import get_method
from omegaconf import OmegaConf

from collapsar.config.composition import config_folder
from collapsar.models.plan import Plan

BASES = {path.stem: OmegaConf.load(path) for path in sorted((config_folder() / "model").glob("*.yaml"))}
MODELS = {name: content for name, content in BASES.items() if "_target_" in content}
WITH_DEFAULTS = ("vae", "gan", "flow", "table_vae", "table_gan")


def defaults(called):
    parameters = inspect.signature(called).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def configured(content):
    own = OmegaConf.to_container(content, resolve=False)
    return {key: tuple(value) if isinstance(value, list) else value for key, value in own.items() if key[0] != "_"}


@pytest.mark.parametrize("name", MODELS)
def test_the_defaults_of_a_constructor_are_those_of_conf(name):
    found, own = defaults(get_method(MODELS[name]["_target_"])), configured(MODELS[name])
    assert found == {key: own[key] for key in found}


@pytest.mark.parametrize("name", WITH_DEFAULTS)
def test_only_the_shape_of_a_sample_is_required(name):
    assert configured(MODELS[name]).keys() - defaults(get_method(MODELS[name]["_target_"])).keys() == {"sample_shape"}


def test_the_defaults_of_the_plan_are_those_of_conf():
    assert defaults(Plan) == configured(OmegaConf.load(config_folder() / "training" / "default.yaml"))
