"""Predictors that learn from rows and are scored on real ones."""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from collapsar.cases.tables import measures
from collapsar.cases.tables.measures import (
    TableTask,
    brier_score,
    expected_calibration_error,
    predict,
    score_predictions,
)
from collapsar.foundations.errors import UsageError
from collapsar.judging.downstream import area_under_curve

TASK = TableTask(num_trees=20, inverse_regularisation=1.0, max_iterations=500, num_bins=15, subgroup=None, seed=0)


class Labelled(NamedTuple):
    features: np.ndarray
    classes: np.ndarray


def rows_of(num_rows, *, seed, num_classes=2, distance=2.0):
    """Round clouds about `distance` apart, one for each class."""
    generator = np.random.default_rng(seed)
    classes = np.arange(num_rows) % num_classes
    features = generator.normal(size=(num_rows, 3))
    features[:, 0] += distance * classes
    return Labelled(features=features, classes=classes)


def score(predictor, train, test, *, num_classes=2):
    probabilities = predict(predictor, *train, test=test.features, num_classes=num_classes)
    return score_predictions(probabilities, classes=test.classes, num_bins=15)


@pytest.mark.parametrize("predictor", [TASK.boosting(), TASK.linear()])
def test_rows_of_the_truth_teach_both_predictors(predictor):
    scores = score(predictor, rows_of(400, seed=0), rows_of(400, seed=1))
    assert scores["auc"] == pytest.approx(0.92, abs=0.04)  # Phi(distance / sqrt 2) = .92 of two normal distributions
    assert scores["accuracy"] == pytest.approx(0.84, abs=0.05)


@pytest.mark.parametrize("predictor", [TASK.boosting(), TASK.linear()])
def test_wrong_labels_are_worse_than_chance(predictor):
    train = rows_of(400, seed=0)
    turned = Labelled(features=train.features, classes=1 - train.classes)
    assert score(predictor, turned, rows_of(400, seed=1))["auc"] < 0.2


@pytest.mark.parametrize("predictor", [TASK.boosting(), TASK.linear()])
def test_rows_of_one_class_alone_have_an_auc_of_a_half(predictor):
    train = rows_of(400, seed=0)
    one = Labelled(features=train.features, classes=np.ones_like(train.classes))
    scores = score(predictor, one, rows_of(400, seed=1))
    assert scores["auc"] == 0.5
    assert (scores["f1_class_0"], scores["f1_class_1"]) == (0.0, pytest.approx(2 / 3))
    assert scores["brier"] == 0.5


def test_a_single_row_can_be_learned_from():
    assert score(TASK.boosting(), rows_of(1, seed=0), rows_of(40, seed=1))["auc"] == 0.5


def test_a_class_that_is_missing_is_never_predicted_and_lowers_its_own_f1():
    train, test = rows_of(600, seed=0, num_classes=3, distance=6.0), rows_of(300, seed=1, num_classes=3, distance=6.0)
    kept = train.classes != 2
    scores = score(
        TASK.boosting(),
        Labelled(features=train.features[kept], classes=train.classes[kept]),
        test,
        num_classes=3,
    )
    assert scores["f1_class_2"] == 0.0
    assert scores["f1_class_0"] > 0.95
    assert scores["f1"] == pytest.approx(sum(scores[f"f1_class_{index}"] for index in range(3)) / 3)


def test_the_same_rows_give_the_same_scores():
    train, test = rows_of(200, seed=0), rows_of(100, seed=1)
    assert score(TASK.boosting(), train, test) == score(TASK.boosting(), train, test)


def test_constant_features_are_no_error():
    train = rows_of(100, seed=0)
    collapsed = Labelled(features=np.zeros_like(train.features), classes=train.classes)
    assert score(TASK.linear(), collapsed, rows_of(100, seed=1))["auc"] == 0.5


def test_auc_is_that_of_scikit_learn_and_of_three_classes_its_mean_of_one_against_the_rest():
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(3), size=200)
    classes = generator.integers(3, size=200)
    expected = roc_auc_score(classes, probabilities, multi_class="ovr", average="macro")
    assert area_under_curve(probabilities, classes=classes) == pytest.approx(expected)
    two = np.stack([1 - probabilities[:, 0], probabilities[:, 0]], axis=1)
    assert area_under_curve(two, classes=classes % 2) == pytest.approx(roc_auc_score(classes % 2, probabilities[:, 0]))


def test_auc_where_all_rows_are_of_one_class_is_not_known():
    assert math.isnan(area_under_curve(np.full((4, 2), 0.5), classes=np.zeros(4, dtype=int)))


def test_brier_score_is_that_of_scikit_learn():
    share = np.random.default_rng(0).uniform(size=100)
    classes = np.random.default_rng(1).integers(2, size=100)
    found = brier_score(np.stack([1 - share, share], axis=1), classes=classes)
    assert found == pytest.approx(brier_score_loss(classes, share))


def test_calibration_error_is_how_far_confidence_is_above_accuracy():
    sure = np.tile([0.1, 0.9], (10, 1))
    half_right = np.array([0, 1] * 5)
    assert expected_calibration_error(sure, classes=half_right, num_bins=15) == pytest.approx(0.4)
    nine_right = np.array([1] * 9 + [0])
    assert expected_calibration_error(sure, classes=nine_right, num_bins=15) == pytest.approx(0.0, abs=1e-12)


def test_calibration_errors_of_two_bins_do_not_cancel():
    sure, unsure = np.tile([0.1, 0.9], (10, 1)), np.tile([0.45, 0.55], (10, 1))
    classes = np.array([0, 1] * 5 + [1] * 10)  # .9 of which a half is right, .55 of which all are
    found = expected_calibration_error(np.concatenate([sure, unsure]), classes=classes, num_bins=15)
    assert found == pytest.approx(0.5 * 0.4 + 0.5 * 0.45)


@pytest.mark.parametrize("num_categories", [2, 30, 300])
def test_features_that_no_tree_can_split_on_change_nothing(num_categories, monkeypatch):
    train, test = rows_of(300, seed=0), rows_of(200, seed=1)
    train, test = (
        Labelled(
            features=np.hstack(
                [np.eye(num_categories)[np.arange(len(rows.classes)) ** 2 % num_categories], rows.features]
            ),
            classes=rows.classes,
        )
        for rows in (train, test)
    )
    found = predict(TASK.boosting(), *train, test=test.features, num_classes=2)
    monkeypatch.setattr(measures, "splittable", lambda features, *, min_leaf: np.arange(features.shape[1]))
    assert np.array_equal(found, predict(TASK.boosting(), *train, test=test.features, num_classes=2))


def test_features_of_which_fewer_rows_than_a_leaf_needs_differ_are_left_out():
    features = np.zeros((50, 4))
    features[:19, 0], features[:20, 1], features[:31, 2], features[:, 3] = 1.0, 1.0, 1.0, np.arange(50)
    assert measures.splittable(features, min_leaf=20).tolist() == [1, 3]
    assert measures.splittable(features[:, :1], min_leaf=20).tolist() == [0]


def test_no_trees_are_refused():
    with pytest.raises(UsageError, match="num_trees must be above 0: got 0"):
        TableTask(num_trees=0, inverse_regularisation=1.0, max_iterations=1, num_bins=1, subgroup=None, seed=0)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_the_boosting_does_not_take_is_refused(seed):
    with pytest.raises(UsageError, match=f"task.seed must lie between 0 and 4294967295: got {seed}"):
        replace(TASK, seed=seed)
