"""A budget in epochs grows with the pool; one in steps, as without a choice, does not."""

import pytest

from collapsar.config.composition import build
from collapsar.foundations.errors import UsageError
from tiny_chains import NARROW, TINY, build_and_run, compose_settings, killed_and_whole, recorded

CHAIN = (*TINY, *NARROW["vae"], "model=vae", "tracking=none", "regime=accumulate", "num_generations=3")


def steps(records):
    return [record.training["steps"] for record in records]


def test_a_budget_in_epochs_takes_as_many_steps_for_each_sample_of_any_pool(tmp_path):
    assert steps(build_and_run(tmp_path, *CHAIN, "training.budget=epochs")) == [5, 10, 15]


def test_a_budget_in_epochs_shrinks_with_the_pool(tmp_path):
    overrides = (*CHAIN, "regime=replace", "num_synthetic=100", "training.budget=epochs", "trainer.max_steps=8")
    assert steps(build_and_run(tmp_path, *overrides)) == [8, 4, 4]


def test_a_budget_in_steps_is_the_same_as_none(tmp_path):
    assert steps(build_and_run(tmp_path / "steps", *CHAIN, "training.budget=steps")) == [5, 5, 5]
    build_and_run(tmp_path / "none", *CHAIN)
    own, other = ([line["metrics"] for line in recorded(tmp_path / name)] for name in ("steps", "none"))
    assert own == other


def test_a_killed_chain_continues_with_the_budget_in_epochs(tmp_path, monkeypatch):
    killed, whole = killed_and_whole(tmp_path, monkeypatch, *CHAIN, "training.budget=epochs")
    assert killed == whole


def test_a_budget_without_steps_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"training\.budget=epochs counts trainer\.max_steps"):
        build_and_run(tmp_path, *CHAIN, "training.budget=epochs", "trainer.max_steps=-1", "trainer.max_epochs=1")


def test_a_budget_of_a_model_without_steps_is_refused():
    with pytest.raises(UsageError, match=r"training\.budget acts on models that are trained in steps"):
        build(compose_settings("data=gaussian", "model=gaussian", "training.budget=epochs"))
