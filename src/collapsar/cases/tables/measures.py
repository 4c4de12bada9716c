"""The metrics of tables (`collapsar.judging.suite`): only for samples that are rows, and in the first space only.

Downstream predictors are trained on synthetic rows and tested on real ones (TSTR: Esteban, Hyland & Rätsch 2017,
section 4.1, https://arxiv.org/abs/1706.02633).
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, count

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from collapsar.cases.tables import columns as by_column
from collapsar.cases.tables.names import Typed, find_name
from collapsar.cases.tables.schema import Column, Table
from collapsar.data.real_data import RowFormat
from collapsar.foundations.errors import UsageError, check_positive
from collapsar.foundations.samples import Samples
from collapsar.judging.comparison import Comparison
from collapsar.judging.downstream import area_under_curve
from collapsar.judging.evaluator import ExtraMetrics, Measure

MOST_PARTS = 64  # columns or groups of rows that get their own keys; means are over all
LONGEST_NAME = 40  # characters of a column's name in a key
SUBGROUP = "evaluation.table.task.subgroup"
LINEAR_SCORES = ("auc", "f1", "calibration_error", "brier")  # of logistic regression; boosting has all


@dataclass(frozen=True, kw_only=True)
class TableTask:
    """The predictors that are trained on rows; `conf/table_metrics/default.yaml` explains each setting."""

    num_trees: int
    inverse_regularisation: float
    max_iterations: int
    num_bins: int
    subgroup: Typed | None
    seed: int  # of the boosting; the same for every generation, so that scores differ by the rows alone

    def __post_init__(self) -> None:
        check_positive(num_trees=self.num_trees, inverse_regularisation=self.inverse_regularisation)
        check_positive(max_iterations=self.max_iterations, num_bins=self.num_bins)
        if not 0 <= self.seed < 2**32:  # as scikit-learn has it
            raise UsageError(f"evaluation.table.task.seed must lie between 0 and {2**32 - 1}: got {self.seed}")

    def boosting(self) -> BaseEstimator:
        """Gradient boosting on histograms (Ke et al. 2017, LightGBM)."""
        return HistGradientBoostingClassifier(max_iter=self.num_trees, early_stopping=False, random_state=self.seed)

    def linear(self) -> BaseEstimator:
        regression = LogisticRegression(C=self.inverse_regularisation, max_iter=self.max_iterations)
        return make_pipeline(StandardScaler(), regression)


def columns(comparison: Comparison) -> dict[str, float]:
    """column_shapes, boundary_adherence, rows_outside, missing_similarity, categories_dropped; column/NAME/...."""
    table = comparison.real.table
    if not isinstance(table, Table):
        return {}
    real, rows = comparison.real.rows, comparison.rows
    sides = {each: {"real": real[each.name], "synthetic": rows[each.name]} for each in table.columns}
    shapes = {each.name: by_column.column_shape(each, **both) for each, both in sides.items()}
    categories = {each: both for each, both in sides.items() if not each.is_number}
    dropped = {each.name: by_column.num_categories_dropped(each, **both) for each, both in categories.items()}
    adherence = [by_column.boundary_adherence(each, rows[each.name]) for each in table.columns if each.is_number]
    missing = [by_column.missing_similarity(**both) for each, both in sides.items() if each.may_be_missing]
    keys = safe_names(shapes)
    return {
        "column_shapes": by_column.mean_of(np.array([*shapes.values()])),
        "boundary_adherence": by_column.mean_of(np.array(adherence)),
        "rows_outside": by_column.share_outside(table.columns, rows),
        "missing_similarity": by_column.mean_of(np.array(missing)),
        **({"categories_dropped": float(sum(dropped.values()))} if dropped else {}),
        **{f"column/{key}/column_shape": shapes[name] for name, key in keys.items()},
        **{f"column/{key}/categories_dropped": float(dropped[name]) for name, key in keys.items() if name in dropped},
    }


def pairs(comparison: Comparison) -> dict[str, float]:
    """column_pairs, correlation_similarity, contingency_similarity and cramers_v_difference."""
    table = comparison.real.table
    if not isinstance(table, Table):
        return {}
    return by_column.pair_scores(table.columns, real=comparison.real.rows, synthetic=comparison.rows)


def downstream(comparison: Comparison, *, task: TableTask) -> dict[str, float]:
    """downstream_auc, .._f1, .._calibration_error and .._brier of boosting; with _linear, of logistic regression.

    Boosting alone gives downstream_accuracy, downstream_f1_class_0.., group/NAME/downstream_auc and
    downstream_auc_worst_group.
    """
    table = comparison.real.table
    if not isinstance(table, Table) or not table.class_names:
        return {}
    rows = labelled(table, comparison.samples)
    features, classes = labelled(table, comparison.real.held_out)
    boosted, linear = (
        predict(predictor, *rows, test=features, num_classes=len(table.class_names))
        for predictor in (task.boosting(), task.linear())
    )
    scores_of = partial(score_predictions, classes=classes, num_bins=task.num_bins)
    values = {f"downstream_{name}": score for name, score in scores_of(boosted).items()}
    if task.subgroup is not None:
        by_name = {column.name: column for column in table.columns}
        column = by_name[find_name(SUBGROUP, task.subgroup, by_name)]
        groups = row_groups(column, comparison.real.rows[column.name])
        chosen = {f"group/{key}/downstream_auc": groups[name] for name, key in safe_names(groups).items()}
        areas = {key: area_under_curve(boosted[rows], classes=classes[rows]) for key, rows in chosen.items()}
        known = [area for area in areas.values() if np.isfinite(area)]
        values |= areas | ({"downstream_auc_worst_group": min(known)} if known else {})
    linear_scores = scores_of(linear)
    return values | {f"downstream_{name}_linear": linear_scores[name] for name in LINEAR_SCORES}


def labelled(table: Table, samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Features [row, feature] and classes for predictors: a row's target gives its class and is not a feature."""
    values = samples.values.cpu()
    classes = table.classes(values)
    assert classes is not None, "there are class names"
    return np.delete(values.double().numpy(), table.target_column.block, axis=1), classes.numpy()


def row_groups(column: Column, values: pd.Series) -> dict[str, np.ndarray]:
    """The rows of each category, or of the lower and the upper half of numbers; no groups if all are missing."""
    if not column.is_number:
        return {name: (values == name).to_numpy(dtype=bool) for name in column.categories}
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isnan(numbers).all():
        return {}
    middle = float(np.nanmedian(numbers))
    return {f"at most {middle:g}": numbers <= middle, f"above {middle:g}": numbers > middle}


def safe_names(names: Iterable[str]) -> dict[str, str]:
    """Distinct keys for the first names; of a to z, 0 to 9 and _ only, so that none can end a line, a path or a tag."""
    keys: dict[str, str] = {}
    for name in list(names)[:MOST_PARTS]:
        plain = unicodedata.normalize("NFKD", name).casefold()
        without_accents = re.sub(r"[\u0300-\u036f]", "", plain)
        stem = re.sub(r"[^a-z0-9]+", "_", without_accents).strip("_")[:LONGEST_NAME] or "unnamed"
        candidates = chain([stem], (f"{stem}_{number}" for number in count(2)))
        keys[name] = next(key for key in candidates if key not in keys.values())
    return keys


def predict(
    predictor: BaseEstimator, features: np.ndarray, classes: np.ndarray, *, test: np.ndarray, num_classes: int
) -> np.ndarray:
    """Class probabilities [test row, class] of test features; a class without training rows has probability 0."""
    present = np.unique(classes)
    if len(present) == 1:
        predictor = DummyClassifier(strategy="prior")  # whose AUC is .5
    is_boosting = isinstance(predictor, HistGradientBoostingClassifier)
    used = splittable(features, min_leaf=predictor.min_samples_leaf) if is_boosting else slice(None)
    with threadpool_limits(limits=1):  # several threads sum in another order, which changes results
        predicted = predictor.fit(features[:, used], classes).predict_proba(test[:, used])
    probabilities = np.zeros((len(test), num_classes))
    probabilities[:, present] = predicted
    return probabilities


def splittable(features: np.ndarray, *, min_leaf: int) -> np.ndarray:
    """Indices of the features that a tree may split on; at least one.

    Features of 0 and 1 are left out if one side has fewer rows than a leaf needs, as for a rare category. No tree uses
    them, but each would cost a histogram at every node.
    """
    is_binary = ((features == 0.0) | (features == 1.0)).all(axis=0)
    num_ones = features.sum(axis=0)
    fewer = np.minimum(num_ones, len(features) - num_ones)
    found = np.flatnonzero(~is_binary | (fewer >= min_leaf))
    return found if len(found) else np.arange(1)


def score_predictions(probabilities: np.ndarray, *, classes: np.ndarray, num_bins: int) -> dict[str, float]:
    """Scores of probabilities [row, class] against the true classes of at least one row.

    `auc` is of each class against the rest, averaged over the classes that occur; .5 is chance. `f1` is the mean over
    the classes that occur among rows or predictions.
    """
    predicted, num_classes = probabilities.argmax(axis=1), probabilities.shape[1]
    class_f1 = f1_score(classes, predicted, labels=np.arange(num_classes), average=None, zero_division=0.0)
    occurs = np.bincount(np.concatenate([classes, predicted]), minlength=num_classes) > 0
    return {
        "auc": area_under_curve(probabilities, classes=classes),
        "f1": float(class_f1[occurs].mean()),
        "calibration_error": expected_calibration_error(probabilities, classes=classes, num_bins=num_bins),
        "brier": brier_score(probabilities, classes=classes),
        "accuracy": float((predicted == classes).mean()),
        **{f"f1_class_{index}": value for index, value in enumerate(class_f1.tolist())},
    }


def expected_calibration_error(probabilities: np.ndarray, *, classes: np.ndarray, num_bins: int) -> float:
    """Mean |confidence - accuracy| over bins of confidence, weighted by their rows (Guo et al. 2017, eq. 3)."""
    confidence, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == classes
    bins = np.ceil(confidence * num_bins).astype(int)  # bin m holds confidences in ((m - 1) / M, m / M]
    gaps = np.bincount(bins, weights=confidence - is_right, minlength=num_bins + 1)
    return float(np.abs(gaps).sum() / len(classes))


def brier_score(probabilities: np.ndarray, *, classes: np.ndarray) -> float:
    """Half the mean squared distance of probabilities from the true class (Brier 1950: all of it), in [0, 1]."""
    truth = np.eye(probabilities.shape[1])[classes]
    return 0.5 * float(((probabilities - truth) ** 2).sum(axis=1).mean())


@dataclass(frozen=True, kw_only=True)
class TableMetrics(ExtraMetrics):
    """Extra metrics of tables: groups added to those of the evaluation if samples are rows of a table."""

    metrics: Sequence[str]
    task: TableTask

    def groups(self) -> Mapping[str, Measure]:
        return {"table_columns": columns, "table_pairs": pairs, "table_downstream": partial(downstream, task=self.task)}

    def check(self, table: RowFormat) -> None:
        assert isinstance(table, Table), "rows of a table"
        if self.task.subgroup is not None:
            find_name(SUBGROUP, self.task.subgroup, (column.name for column in table.columns))
