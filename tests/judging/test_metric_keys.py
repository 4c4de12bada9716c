"""The table of metric keys: what it says of a key, whatever its space, class or suffix."""

import math
import subprocess
import sys

import pytest

from collapsar.judging.metric_keys import (
    ANY,
    FAMILIES,
    MAIN,
    METRICS,
    OTHER,
    SHARE,
    WITHOUT_SAMPLES,
    bounds_of,
    family_of,
    find_metric,
    headline,
    metric_keys,
    split_class,
    split_column,
    title_of,
)


@pytest.mark.parametrize(
    ("key", "title"),
    [
        ("fid", "FID"),
        ("pca/recall", "Recall (pca)"),
        ("recall_class_12", "Recall class 12"),
        ("pca/recall_worst_class", "Recall worst class (pca)"),
        ("factor_share_night", "Share of night"),
        ("downstream_f1_where_fog_floor", "Downstream F1 where fog"),
        ("fitted/sd", "Standard deviation"),
        ("my_own_metric", "My own metric"),
    ],
)
def test_a_key_has_a_title(key, title):
    assert title_of(key) == title


@pytest.mark.parametrize(
    ("key", "bounds"),
    [
        ("recall", (0, 1)),
        ("pca/tail_recall_high", (0, 1)),
        ("coverage_class_3", (0, 1)),
        ("fid_low", (0, math.inf)),
        ("kid", ANY),
        ("fid_debiased", ANY),
        ("class_jensen_shannon", (0, math.log(2))),
        ("fitted/log_variance", ANY),
        ("my_own_metric", ANY),
    ],
)
def test_a_key_has_the_bounds_of_its_metric_in_any_space_and_with_any_suffix(key, bounds):
    assert bounds_of(key) == bounds


def test_fitted_parameters_and_metrics_are_told_apart():
    assert find_metric("variance") is None
    assert find_metric("fitted/fid") is None
    assert family_of("variance") == OTHER


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("pca/recall_class_3", ("pca/recall", 3)),
        ("downstream_f1_class_10", ("downstream_f1", 10)),
        ("recall_class_3_floor", None),
        ("recall_worst_class", None),
        ("class_entropy", None),
    ],
)
def test_the_class_of_a_key_is_split_off(key, parts):
    assert split_class(key) == parts


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("column/age/column_shape", ("column_shape", "age")),
        ("column/class_3/column_shape", ("column_shape", "class_3")),
        ("column/age/column_shape_floor", None),
        ("column_shapes", None),
        ("pca/recall", None),
    ],
)
def test_the_column_of_a_key_is_split_off(key, parts):
    assert split_column(key) == parts


def test_a_key_of_a_column_has_the_title_and_the_bounds_of_its_metric():
    assert title_of("column/age/column_shape") == "Column shape (column/age)"
    assert bounds_of("group/male/downstream_auc_floor") == SHARE


def test_main_metrics_are_headlines_and_every_family_is_one_of_the_page():
    assert set(MAIN) <= set(headline())
    assert {key.family for key in metric_keys().values()} == {*FAMILIES} - {OTHER}


def test_shares_are_better_higher_or_lower_where_it_can_be_said():
    assert {key for key in MAIN if metric_keys()[key].better == "lower"} == {"fid", "classes_dropped"}
    assert all(metric_keys()[key].bounds == SHARE for key in ("precision", "recall", "coverage"))


def test_the_table_needs_no_torch():
    code = "import collapsar.judging.metric_keys, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_samples_shares_are_zero_and_the_area_under_the_curve_is_chance():
    shares = ("precision", "recall", "recall_worst_class", "downstream_accuracy", "downstream_f1")
    shares += ("recall_3_neighbours", "recall_10_neighbours", "recall_half_samples")
    assert dict(WITHOUT_SAMPLES) == {**dict.fromkeys(shares, 0.0), "downstream_auc": 0.5}


def test_groups_that_need_classes_or_modes_say_so():
    metric_keys()  # imports the case studies
    needs = {group: metric.needs for group, metric in METRICS.items() if metric.needs}
    of_classes = {"classes", "recall_by_class", "coverage_by_class", "downstream", "table_downstream"}
    of_modes = {"known_modes", "variance_within_modes"}
    assert needs == {**dict.fromkeys(of_classes, "classes"), **dict.fromkeys(of_modes, "known modes")}
