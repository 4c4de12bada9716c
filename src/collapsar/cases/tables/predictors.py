"""What synthetic rows are worth to someone who learns to predict from them: train on synthetic, test on real.

TSTR (Esteban, Hyland & Rätsch 2017, section 4.1, https://arxiv.org/abs/1706.02633), with the two predictors that a
table is first tried with: gradient boosting on histograms and logistic regression, as scikit-learn has them. A row says
itself which class it is of: labels are read from its target column, which the predictors do not see.
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

from collapsar.errors import check_positive
from collapsar.judging.downstream import area_under_curve


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Rows without their target, and the class of each.

    Args:
        features: [row, feature], without missing values.
        classes: From 0 on.
    """

    features: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True, kw_only=True)
class PredictionScores:
    """How predicted probabilities meet the true classes of real rows.

    Attributes:
        accuracy: Share of rows classified right.
        auc: Area under the ROC curve, of each class against the rest, a mean over those that occur; .5 is chance.
        f1: The mean of class_f1 over the classes that occur among rows or predictions.
        class_f1: Of each class.
        calibration_error: Expected calibration error in [0, 1].
        brier: Brier score, halved where there are more than two classes too: in [0, 1], 0 is best.
    """

    accuracy: float
    auc: float
    f1: float
    class_f1: tuple[float, ...]
    calibration_error: float
    brier: float


@dataclass(frozen=True, kw_only=True)
class TableTask:
    """The predictors that rows are tried on.

    Args:
        num_trees: Rounds of boosting; the other settings are scikit-learn's.
        inverse_regularisation: C of the logistic regression, whose inputs are standardised.
        max_iterations: Of the logistic regression.
        num_bins: Of confidence, for the calibration error.
        subgroup: A column whose categories are scored one by one (a number's: its lower and upper half); null: none.
        seed: Of the boosting; the same for every generation, so that scores differ by the rows alone.
    """

    num_trees: int
    inverse_regularisation: float
    max_iterations: int
    num_bins: int
    subgroup: str | None
    seed: int

    def __post_init__(self) -> None:
        check_positive(
            num_trees=self.num_trees,
            inverse_regularisation=self.inverse_regularisation,
            max_iterations=self.max_iterations,
            num_bins=self.num_bins,
        )

    def boosting(self) -> BaseEstimator:
        """Gradient boosting on histograms (Ke et al. 2017, LightGBM)."""
        return HistGradientBoostingClassifier(max_iter=self.num_trees, early_stopping=False, random_state=self.seed)

    def linear(self) -> BaseEstimator:
        """Logistic regression on standardised inputs."""
        regression = LogisticRegression(C=self.inverse_regularisation, max_iter=self.max_iterations)
        return make_pipeline(StandardScaler(), regression)


def predict(predictor: BaseEstimator, train: Labelled, test: Labelled, *, num_classes: int) -> np.ndarray:
    """Class probabilities [test row, class] by a predictor trained on these rows.

    A class that no training row is of has probability 0, and rows of one class alone teach that class: their AUC is .5.
    One thread, so that sums have one order.
    """
    present = np.unique(train.classes)
    if len(present) == 1:
        predictor = DummyClassifier(strategy="prior")
    with threadpool_limits(1):
        predicted = predictor.fit(train.features, train.classes).predict_proba(test.features)
    probabilities = np.zeros((len(test), num_classes))
    probabilities[:, present] = predicted
    return probabilities


def score_predictions(probabilities: np.ndarray, *, classes: np.ndarray, num_bins: int) -> PredictionScores:
    """Scores of probabilities [row, class] against the true classes; at least one row."""
    predicted, num_classes = probabilities.argmax(axis=1), probabilities.shape[1]
    class_f1 = f1_score(classes, predicted, labels=np.arange(num_classes), average=None, zero_division=0.0)
    occurs = np.bincount(np.concatenate([classes, predicted]), minlength=num_classes) > 0
    return PredictionScores(
        accuracy=float((predicted == classes).mean()),
        auc=area_under_curve(probabilities, classes=classes),
        f1=float(class_f1[occurs].mean()),
        class_f1=tuple(class_f1.tolist()),
        calibration_error=expected_calibration_error(probabilities, classes=classes, num_bins=num_bins),
        brier=brier_score(probabilities, classes=classes),
    )


def expected_calibration_error(probabilities: np.ndarray, *, classes: np.ndarray, num_bins: int) -> float:
    """How far confidence is from accuracy, a mean over bins of confidence by their rows (Guo et al. 2017, eq. 3)."""
    confidence, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == classes
    bins = np.ceil(confidence * num_bins).astype(int)  # bin m holds confidences in ((m - 1) / M, m / M]
    gaps = np.bincount(bins, weights=confidence - is_right, minlength=num_bins + 1)
    return float(np.abs(gaps).sum() / len(classes))


def brier_score(probabilities: np.ndarray, *, classes: np.ndarray) -> float:
    """Half the squared distance of probabilities to the true class, a mean over rows (Brier 1950 does not halve)."""
    truth = np.eye(probabilities.shape[1])[classes]
    return 0.5 * float(((probabilities - truth) ** 2).sum(axis=1).mean())
