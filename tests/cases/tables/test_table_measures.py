"""Measures of tables through the evaluator: keys, floors, planted faults, and names from data."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from collapsar.cases.tables.measures import MOST_PARTS, row_groups, safe_names
from collapsar.cases.tables.numerals import typed
from collapsar.data.real_data import RealData
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from mixed_tables import KINDS, mixed_rows, mixed_table

CONF = Path(__file__).parents[3] / "conf"
SCORES = [
    "column_shapes",
    "boundary_adherence",
    "rows_outside",
    "missing_similarity",
    "categories_dropped",
    *(f"column/{name}/column_shape" for name in KINDS),
    *(f"column/{name}/categories_dropped" for name, kind in KINDS.items() if kind == "category"),
    "column_pairs",
    "correlation_similarity",
    "contingency_similarity",
    "cramers_v_difference",
    *(f"downstream_{name}{of}" for name in ("auc", "f1", "calibration_error", "brier") for of in ("", "_linear")),
    "downstream_accuracy",
    "downstream_f1_class_0",
    "downstream_f1_class_1",
    "group/female/downstream_auc",
    "group/male/downstream_auc",
    "downstream_auc_worst_group",
]
PRIVACY = ["closer_to_training", "nearest_p5_ratio"]


@pytest.fixture(scope="module")
def table():
    return mixed_table(mixed_rows(600))


@pytest.fixture(scope="module")
def samples(table):
    """Turns rows into what a model would have drawn: the rows' classes are not told."""
    return lambda frame: Samples(table.encode(typed(frame, KINDS)))


@pytest.fixture(scope="module")
def real(table):
    rows = typed(mixed_rows(900), KINDS)
    values = table.encode(rows)
    labelled = Samples(values, table.classes(values))
    return RealData(labelled[:600], labelled[600:], num_classes=2, table=table)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    node = OmegaConf.load(CONF / "evaluation" / "standard.yaml")
    node.table = OmegaConf.load(CONF / "table_metrics" / "default.yaml")
    node.table.task.num_trees, node.table.task.subgroup = 20, "sex"
    node.metrics, node.batch_metrics, node.num_batches = ["support", "classes", "downstream"], [], 0
    node.accelerator, node.cache_folder = "cpu", str(tmp_path_factory.mktemp("spaces"))
    return instantiate(node, _convert_="object")


@pytest.fixture(scope="module")
def evaluator(settings, real):
    return settings.prepare(real)


@pytest.fixture(scope="module")
def score(evaluator, samples):
    return lambda frame: evaluator.evaluate(samples(frame), seed=0, generation=0).metrics


@pytest.fixture(scope="module")
def perfect(score):
    return score(mixed_rows(300, shift=0.001))


def of_tables(metrics):
    return {key for key in metrics if not key.endswith("_floor") and not key.startswith("class")} - {
        "precision", "recall", "density", "coverage", "effective_classes", "low_confidence_share",
    }  # fmt: skip


def test_a_table_has_the_listed_keys(perfect):
    assert of_tables(perfect) == {*SCORES, *PRIVACY}


def test_all_but_privacy_have_a_floor(perfect):
    floors = {key.removesuffix("_floor") for key in perfect if key.endswith("_floor")}
    assert {*SCORES} <= floors
    assert not floors & {*PRIVACY}


def test_rows_of_the_truth_score_like_the_floor(perfect):
    for key in ("column_shapes", "column_pairs", "downstream_auc", "downstream_auc_linear", "rows_outside"):
        assert perfect[key] == pytest.approx(perfect[f"{key}_floor"], abs=0.06), key
    assert perfect["downstream_auc_floor"] > 0.9


def test_predictors_do_not_see_the_target(perfect):
    """From age alone, without the noise that the outcome adds, nobody is always right."""
    assert perfect["downstream_accuracy"] < 0.999


def test_rows_say_their_classes_themselves(perfect):
    assert perfect["classes_dropped"] == perfect["classes_dropped_floor"] == 0
    assert "downstream_loss" not in perfect  # of the predictor of vectors, which would see the target


def test_samples_that_are_no_rows_have_no_scores_of_tables(settings, real):
    plain = replace(real, table=None)
    metrics = settings.prepare(plain).evaluate(plain.train, seed=0, generation=0).metrics
    assert not {key for key in metrics if key.startswith(("column", "group")) or key in (*SCORES[:5], *PRIVACY)}


def test_lost_categories_show_by_column(score, perfect):
    lost = score(mixed_rows(300).assign(plan="gold"))
    assert lost["column/plan/categories_dropped"] == lost["categories_dropped"] == 2
    assert lost["column/plan/column_shape"] < perfect["column/plan/column_shape"] - 0.4
    assert lost["column/age/column_shape"] > 0.9


def test_numbers_out_of_range_show(score):
    rows = mixed_rows(300)
    outside = score(rows.assign(age=rows["age"].where(rows.index % 4 > 0, 500.0)))
    assert outside["rows_outside"] == pytest.approx(0.25)
    assert outside["boundary_adherence"] == pytest.approx(1 - 0.25 / 3)


def test_shuffled_outcomes_bring_the_predictors_to_chance_and_leave_columns(score, perfect):
    rows = mixed_rows(300)
    shuffled = score(rows.assign(outcome=np.random.default_rng(0).permutation(rows["outcome"])))
    assert shuffled["downstream_auc"] < 0.75
    assert shuffled["column_shapes"] > 0.95
    assert shuffled["column_pairs"] < perfect["column_pairs"]


def test_one_class_alone_is_measured(score):
    metrics = score(mixed_rows(300).assign(outcome="no"))
    assert metrics["downstream_auc"] == metrics["downstream_auc_linear"] == 0.5
    assert metrics["group/female/downstream_auc"] == 0.5
    assert metrics["classes_dropped"] == 1


def test_a_table_that_collapsed_to_one_row_has_values_that_json_can_hold(score):
    metrics = score(mixed_rows(1).loc[np.zeros(300, dtype=int)])
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert metrics["column_shapes"] < 0.6


def test_copies_of_the_training_set_are_no_privacy(score, perfect):
    copies = score(mixed_rows(300))
    assert copies["nearest_p5_ratio"] == 0.0
    assert copies["closer_to_training"] > perfect["closer_to_training"]


def test_the_next_chain_reads_the_floor_from_disk(settings, real, perfect, monkeypatch):
    monkeypatch.setattr("collapsar.judging.evaluator.measure_floor", None)
    floor = settings.prepare(real).floor
    assert floor["downstream_auc"] == perfect["downstream_auc_floor"]


def test_another_target_has_another_floor(settings, real):
    other = replace(real, table=replace(real.table, target="sex"))
    assert settings.prepare(other).floor["downstream_auc"] != settings.prepare(real).floor["downstream_auc"]


def test_a_subgroup_whose_name_was_read_as_a_number_is_found(settings, real):
    columns = tuple(replace(column, name="3") if column.name == "sex" else column for column in real.table.columns)
    table = replace(real.table, columns=columns)
    replace(settings.table, task=replace(settings.table.task, subgroup=3)).check(table)
    with pytest.raises(UsageError, match=r"must be one of .*'3'.*: got 4; put a name that reads as a number in quotes"):
        replace(settings.table, task=replace(settings.table.task, subgroup=4)).check(table)


def test_a_column_of_numbers_that_are_all_missing_has_no_groups(table):
    column = next(column for column in table.columns if column.name == "income")
    assert row_groups(column, mixed_rows(20)["income"].mask([True] * 20)) == {}


def test_a_subgroup_that_the_table_does_not_have_is_refused(settings, real):
    task = replace(settings.table.task, subgroup="shoe_size")
    with pytest.raises(UsageError, match=r"evaluation.table.task.subgroup must be one of age, .*: got shoe_size"):
        replace(settings, table=replace(settings.table, task=task)).prepare(real)


def test_measures_of_tables_are_asked_for_with_their_predictors(settings):
    with pytest.raises(
        UsageError, match=r"got table_downstream; measures of tables come with table_metrics@evaluation.table"
    ):
        replace(settings, table=None, metrics=["table_downstream"])


def test_unknown_groups_of_tables_are_refused(settings):
    with pytest.raises(UsageError, match=r"table.metrics must be among .*: got colums"):
        replace(settings, table=replace(settings.table, metrics=["colums"]))


# Names from data


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Age (years)", "age_years"),
        ("<script>alert(1)</script>", "script_alert_1_script"),
        ("../../etc/passwd", "etc_passwd"),
        ("a\x1b[31m\nb", "a_31m_b"),
        ("Größe", "grosse"),
        ("年齢", "unnamed"),
        ("x" * 100, "x" * 40),
    ],
)
def test_a_name_in_a_key_is_plain(name, key):
    assert safe_names([name]) == {name: key}


def test_names_that_look_alike_get_numbers():
    assert safe_names(["A b", "a-b", "a_b", "年", "齢"]) == {
        "A b": "a_b", "a-b": "a_b_2", "a_b": "a_b_3", "年": "unnamed", "齢": "unnamed_2",
    }  # fmt: skip


def test_keys_of_names_are_bounded_in_number():
    assert len(safe_names(map(str, range(1000)))) == MOST_PARTS


def test_every_key_is_safe_in_a_path_and_a_page(perfect):
    assert all(re.fullmatch(r"[a-z0-9_/]+", key) for key in perfect)


def test_a_column_of_numbers_has_a_lower_and_an_upper_half(table):
    (age,) = (column for column in table.columns if column.name == "age")
    groups = row_groups(age, mixed_rows(101)["age"])
    assert [int(chosen.sum()) for chosen in groups.values()] == [51, 50]
