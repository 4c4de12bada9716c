"""What binds a chain: one rule for folders and for the report's arms."""

import pytest
import yaml

from collapsar.records.settings import INTRODUCED_AS, binding_settings, digest


def test_free_settings_bind_nothing():
    assert binding_settings({"name": "a", "data": {"root": "b", "num_train": 5}}) == {"data.num_train": 5}


def test_what_is_null_or_empty_binds_nothing_and_zero_and_false_do():
    config = {"a": None, "b": [], "c": {}, "d": {"e": None}, "f": 0, "g": False, "h": 0.0, "i": [None]}
    assert binding_settings(config) == {"f": 0, "g": False, "h": 0.0, "i": [None]}


def test_classes_bind_by_name_in_lists_too():
    config = {
        "model": {"_target_": "collapsar.models.vae.vae.VAE", "width": 3},
        "callbacks": [{"_target_": "a.b.C", "inner": {"_target_": "d.E"}}],
    }
    assert binding_settings(config) == {
        "model._target_": "VAE",
        "model.width": 3,
        "callbacks": [{"_target_": "C", "inner": {"_target_": "E"}}],
    }


@pytest.mark.parametrize("key", INTRODUCED_AS)
def test_a_later_setting_binds_only_where_it_is_not_what_it_was_introduced_as(key):
    assert binding_settings({key: INTRODUCED_AS[key]}) == {}
    assert binding_settings({key: "other"}) == {key: "other"}


def test_a_digest_is_the_same_in_any_order_and_in_every_process():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) == "91801f2e"
    assert digest({"a": 1, "b": [3]}) != digest({"a": 1, "b": [2]})


def test_settings_that_were_read_from_a_file_bind_as_they_did():
    config = {"data": {"_target_": "a.B", "shape": [1, 8, 8]}, "rate": 1e-3, "betas": [0.5, 0.99]}
    assert binding_settings(yaml.safe_load(yaml.safe_dump(config))) == binding_settings(config)
