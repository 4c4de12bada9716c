"""Chains of a table, as the command line composes them: scores, who labels rows, pictures, and going on."""

import json

import pytest

from collapsar.config import composition
from collapsar.foundations.settings import binding_settings
from collapsar.report.page import render
from collapsar.study.study import read_study
from tiny_chains import build_and_run, compose_settings, killed_and_whole

BRIEF = (
    "model=gaussian",
    "num_generations=3",
    "evaluation=quick",
    "evaluation.metrics=[support]",
    "evaluation.num_batches=0",
    "evaluation.accelerator=cpu",
    "evaluation.table.task.num_trees=10",
    "tracking=none",
)


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chain") / "patients"
    kept = f"evaluation.cache_folder={tmp_path_factory.mktemp('spaces')}"
    return folder, build_and_run(folder, "data=breast_cancer", *BRIEF, kept)


def test_tables_are_measured_as_tables_without_being_asked_to(patients):
    _, records = patients
    assert {"column_shapes", "column_pairs", "downstream_auc", "closer_to_training"} <= records[0].metrics.keys()
    assert records[0].metrics["downstream_auc_floor"] > 0.95


def test_classes_are_counted_as_the_rows_say_them(patients):
    _, records = patients
    assert records[0].class_shares["real"] == pytest.approx([72 / 114, 42 / 114])
    assert records[0].labels_from == "row"


def test_each_generation_has_its_picture_and_the_page_shows_it(patients):
    folder, records = patients
    for record in records:
        stored = json.loads((folder / f"generation_{record.generation:03d}" / "table.json").read_text())
        assert stored["columns"][-1]["name"] == "diagnosis"
    assert 'id="tables"' in render(read_study([folder]))


def test_a_chain_that_was_killed_goes_on_with_the_same_scores(tmp_path, monkeypatch):
    killed, whole = killed_and_whole(tmp_path, monkeypatch, "data=breast_cancer", *BRIEF)
    assert killed == whole


def test_a_group_of_rows_is_scored_by_name(tmp_path):
    group = "evaluation.table.task.subgroup='mean radius'"
    (record,) = build_and_run(tmp_path / "chain", "data=breast_cancer", *BRIEF, "num_generations=1", group)
    groups = {key for key in record.metrics if key.startswith("group/") and not key.endswith("_floor")}
    assert len(groups) == 2


def test_settings_of_samples_that_are_no_rows_stay_as_they_were():
    settings = binding_settings(composition.settings(compose_settings("data=digits")))
    assert not [key for key in settings if key.startswith("evaluation.table")]
