"""What binds a chain: one rule for folders and for the report's arms."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from collapsar.foundations import settings
from collapsar.foundations.settings import (
    INTRODUCED_AS,
    binding_settings,
    class_name,
    config_folder,
    digest,
    path_of_others,
)

OF_NO_PART = {"Case", "Comparison", "Plan"}  # the second of each is named by no configuration


def test_free_settings_bind_nothing():
    assert binding_settings({"name": "a", "data": {"root": "b", "num_train": 5}}) == {"data.num_train": 5}


def test_what_is_null_or_empty_binds_nothing_and_zero_and_false_do():
    config = {"a": None, "b": [], "c": {}, "d": {"e": None}, "f": 0, "g": False, "h": 0.0, "i": [None]}
    assert binding_settings(config) == {"f": 0, "g": False, "h": 0.0, "i": [None]}


def test_our_classes_bind_by_name_and_others_by_their_path_in_lists_too():
    config = {
        "model": {"_target_": "collapsar.models.vae.vae.VAE", "width": 3},
        "trainer": {"_target_": "lightning.Trainer"},
        "callbacks": [{"_target_": "a.b.C", "inner": {"_target_": "collapsar.d.E"}}],
    }
    assert binding_settings(config) == {
        "model._target_": "VAE",
        "model.width": 3,
        "trainer._target_": "Trainer",
        "callbacks": [{"_target_": "a.b.C", "inner": {"_target_": "E"}}],
    }


@pytest.mark.parametrize("path", ["mine.VAE", "collapsar_mine.VAE", "VAE", "theirs.collapsar.VAE"])
def test_a_class_that_is_named_as_one_of_ours_binds_otherwise(path):
    ours, theirs = ({"model": {"_target_": each, "width": 3}} for each in ("collapsar.models.vae.vae.VAE", path))
    assert (binding_settings(ours) == binding_settings(theirs)) is (path == "VAE")
    assert binding_settings({"model": {"_target_": "collapsar.elsewhere.VAE", "width": 3}}) == binding_settings(ours)


def test_no_two_classes_that_conf_names_have_one_name():
    named = {
        path
        for file in config_folder().rglob("*.yaml")
        for path in re.findall(r"_target_: *([\w.]+)", file.read_text())
    }
    names = [class_name(path) for path in named if path.startswith("collapsar.")]
    assert len(names) > 50
    assert sorted(set(names)) == sorted(names)


def test_no_part_of_ours_has_the_name_of_another_class_of_ours():
    found = {}
    for file in Path(settings.__file__).parent.rglob("*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(file.name)
    assert {name: files for name, files in found.items() if len(files) > 1}.keys() <= OF_NO_PART


@pytest.mark.parametrize(("part", "path"), [(Path, ["pathlib.Path"]), (digest, [])], ids=["theirs", "ours"])
def test_only_what_is_not_ours_has_a_path_in_the_keys_of_caches(part, path):
    assert [each.replace("pathlib._local", "pathlib") for each in path_of_others(part)] == path


@pytest.mark.parametrize("key", INTRODUCED_AS)
def test_a_later_setting_binds_only_where_it_is_not_what_it_was_introduced_as(key):
    assert binding_settings({key: INTRODUCED_AS[key]}) == {}
    assert binding_settings({key: "other"}) == {key: "other"}


def test_a_digest_is_the_same_in_any_order_and_in_every_process():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) == "91801f2e"
    assert digest({"a": 1, "b": [3]}) != digest({"a": 1, "b": [2]})


def test_settings_that_were_read_from_a_file_bind_as_they_did():
    config = {"data": {"_target_": "collapsar.a.B", "shape": [1, 8, 8]}, "rate": 1e-3, "betas": [0.5, 0.99]}
    assert binding_settings(yaml.safe_load(yaml.safe_dump(config))) == binding_settings(config)
