"""The real side is prepared once for chains that share it, and their records do not tell."""

from dataclasses import replace

import pytest
import torch

from collapsar.data.real_data import StickSplit
from collapsar.foundations.samples import Samples
from collapsar.judging import evaluation as evaluation_module
from collapsar.judging.evaluation import Evaluation, describe
from tiny_chains import recorded


@pytest.fixture
def prepared(monkeypatch) -> list[Evaluation]:
    """The settings of each evaluator that is prepared from here on."""
    settings, prepare = [], Evaluation.prepare
    monkeypatch.setattr(Evaluation, "prepare", lambda self, *real: settings.append(self) or prepare(self, *real))
    monkeypatch.setattr(evaluation_module, "_last", [])
    return settings


def test_chains_of_a_study_prepare_the_real_side_once_and_record_what_they_would_alone(
    tmp_path, run_chain, prepared, monkeypatch
):
    chains = {"first": ("seed=0",), "seed": ("seed=1",), "cause": ("seed=1", "cause=label_noise")}
    for name, overrides in chains.items():
        run_chain(tmp_path / name, *overrides)
    assert len(prepared) == 1
    for name, overrides in chains.items():
        monkeypatch.setattr(evaluation_module, "_last", [])
        run_chain(tmp_path / "alone" / name, *overrides)
        assert recorded(tmp_path / name) == recorded(tmp_path / "alone" / name)


@pytest.mark.parametrize(
    "other",
    ["data.num_train=210", "stick@evaluation.spaces.classifier=trained", "evaluation.num_neighbours=3"],
)
def test_another_split_stick_or_setting_prepares_anew(tmp_path, run_chain, prepared, other):
    trained = ("evaluation.spaces.classifier.budget.num_steps=5", "evaluation.spaces.classifier.min_accuracy=0.0")
    run_chain(tmp_path / "first", "num_generations=1")
    run_chain(tmp_path / "other", "num_generations=1", other, *(trained if "stick" in other else ()))
    assert len(prepared) == 2
    assert len(evaluation_module._last) == 1


def test_an_evaluator_depends_on_threads_and_on_all_real_sets_but_the_reserve(digits, monkeypatch):
    split = StickSplit(official=digits.train, unseen_indices=torch.arange(50))
    whole = replace(digits, stick_split=split)
    part, relabelled = digits.train[torch.arange(90)], Samples(digits.train.values, digits.train.labels.flip(0))
    others = [
        replace(whole, train=part),
        replace(whole, train=relabelled),
        replace(whole, test=part),
        replace(whole, stick_split=None),
        replace(whole, stick_split=replace(split, unseen_indices=torch.arange(1, 51))),
        replace(whole, train=part, stick_split=replace(split, official=relabelled)),
        replace(whole, num_classes=11),
    ]
    assert len({describe(real) for real in (whole, *others)}) == 1 + len(others)
    before = describe(whole)
    assert describe(replace(whole, reserve=part)) == before
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert describe(whole) != before


def test_a_warning_of_few_samples_is_given_to_every_chain(digits, run_chain, tmp_path, prepared, caplog):
    for name in ("first", "second"):
        run_chain(tmp_path / name, "num_generations=1")
        assert "samples are few for" in caplog.text
        caplog.clear()
    assert len(prepared) == 1
