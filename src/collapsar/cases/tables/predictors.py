"""Predictors that are trained on synthetic rows and tested on real ones (TSTR).

TSTR is from Esteban, Hyland & Rätsch 2017, section 4.1, https://arxiv.org/abs/1706.02633. A row's target column gives
its class; the predictors do not see that column.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from collapsar.cases.tables.names import Typed
from collapsar.errors import UsageError, check_positive
from collapsar.judging.downstream import area_under_curve


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Rows without their target, and the class of each."""

    features: np.ndarray  # [row, feature], without missing values
    classes: np.ndarray  # indices from 0


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


def predict(predictor: BaseEstimator, train: Labelled, test: Labelled, *, num_classes: int) -> np.ndarray:
    """Class probabilities [test row, class]; a class without training rows has probability 0."""
    present = np.unique(train.classes)
    if len(present) == 1:
        predictor = DummyClassifier(strategy="prior")  # whose AUC is .5
    is_boosting = isinstance(predictor, HistGradientBoostingClassifier)
    used = splittable(train.features, min_leaf=predictor.min_samples_leaf) if is_boosting else slice(None)
    with threadpool_limits(limits=1):  # several threads sum in another order, which changes results
        predicted = predictor.fit(train.features[:, used], train.classes).predict_proba(test.features[:, used])
    probabilities = np.zeros((len(test.classes), num_classes))
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
