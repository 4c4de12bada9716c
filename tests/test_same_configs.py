"""`scripts/same-configs` poses every combination of choices, and sees every difference that settings can have."""

import sys
from importlib import util
from pathlib import Path

import pytest

from collapsar.foundations.settings import config_folder

SCRIPT = Path(__file__).parents[1] / "scripts" / "same_configs.py"
SETTINGS = {"seed": 0, "model": {"_target_": "collapsar.models.vae.vae.VAE", "width": 32}, "cause": {}, "tags": [1, 2]}


@pytest.fixture(scope="module")
def same_configs():
    spec = util.spec_from_file_location("same_configs", SCRIPT)
    module = util.module_from_spec(spec)
    sys.modules["same_configs"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def compare(same_configs):
    """The differences between two sides that compose one combination."""

    def call(before, after):
        sides = ({"data=digits": side and same_configs.flatten(side)} for side in (before, after))
        return list(same_configs.differences(*sides))

    return call


def test_the_same_settings_in_another_order_have_no_difference(compare):
    assert compare(SETTINGS, dict(reversed(SETTINGS.items()))) == []


def test_a_class_of_ours_may_move(compare):
    moved = {"_target_": "collapsar.models.vae.vae.model.VAE", "width": 32}
    assert compare(SETTINGS, SETTINGS | {"model": moved}) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 0.0}, "seed: 0, now 0.0"),
        ({"seed": None}, "seed: 0, now null"),
        ({"cause": {"blur": {"sd": 1}}}, "cause.blur.sd: nothing, now 1"),
        ({"tags": [2, 1]}, "tags: [1, 2], now [2, 1]"),
        ({"model": {"_target_": "elsewhere.VAE", "width": 32}}, 'model._target_: "VAE", now "elsewhere.VAE"'),
    ],
)
def test_any_other_value_is_named(change, named, compare):
    assert f"data=digits: {named}" in compare(SETTINGS, SETTINGS | change)


@pytest.mark.parametrize(
    ("before", "after", "words"), [(SETTINGS, None, "valid, now refused"), (None, SETTINGS, "refused, now valid")]
)
def test_a_combination_that_only_one_side_refuses_is_a_difference(before, after, words, compare):
    assert compare(before, after) == [f"data=digits: {words}"]


def test_what_both_sides_refuse_is_no_difference(compare):
    assert compare(None, None) == []


def test_all_choices_of_conf_are_posed_but_what_runs_and_searches(same_configs):
    posed = {override for combination in same_configs.combinations(config_folder()) for override in combination}
    named = {override.partition("=")[2].strip("[]") for override in posed}
    others = ("hydra", "recipe", "finding")
    groups = [path for path in config_folder().iterdir() if path.is_dir() and path.name not in others]
    assert {path.stem for group in groups for path in group.glob("*.yaml")} <= named
