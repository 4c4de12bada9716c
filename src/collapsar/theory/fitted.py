"""Summaries of an analytic model's fitted parameters: numbers by generation to compare with a law.

Each is a mean over dimensions (one is a median), because under a diagonal Gaussian or a histogram every dimension is a
chain of its own. The keys stand beside the record's metrics, under the prefix `fitted/`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from collapsar.records.record import GenerationRecord


def values_of(record: GenerationRecord) -> dict[str, float]:
    """All values of a generation: its recorded metrics and its model's fitted parameters."""
    return record.metrics | fitted_values(record.fitted, data=record.data) if record.fitted else record.metrics


def fitted_values(fitted: Mapping[str, Any], *, data: str) -> dict[str, float]:
    """The parameters of a Gaussian, of categories or of a linear regression as numbers; empty for other models.

    `data` is the name of the data, as the truth of a regression is known for ours only.
    """
    found: dict[str, Any] = {}
    if "mean" in fitted and ("variance" in fitted or "covariance" in fitted):
        found = _gaussian(fitted)
    elif "probabilities" in fitted:
        found = _categorical(np.asarray(fitted["probabilities"]))
    elif "coefficients" in fitted and data == "linear_regression":
        found = _regression(np.asarray(fitted["coefficients"]))
    return {f"fitted/{key}": float(value) for key, value in found.items() if np.isfinite(value)}


def _gaussian(fitted: Mapping[str, Any]) -> dict[str, Any]:
    """Moments, mean squared distance to the standard normal truth, and log det(covariance) per dimension."""
    mean = np.asarray(fitted["mean"], dtype=float)
    covariance = np.asarray(fitted.get("covariance", ()), dtype=float)
    variance = np.diagonal(covariance) if covariance.size else np.asarray(fitted["variance"], dtype=float)
    sd = np.sqrt(variance)
    with np.errstate(divide="ignore"):  # the logarithm of a variance of 0 is infinite, and gets no entry
        log_det = np.linalg.slogdet(covariance).logabsdet if covariance.size else np.log(variance).sum()
    return {
        "variance": variance.mean(),
        "squared_mean": np.square(mean).mean(),
        "second_moment": (np.square(mean) + variance).mean(),
        "median_variance": np.median(variance),
        "sd": sd.mean(),
        "wasserstein": (np.square(mean) + np.square(sd - 1)).mean(),
        "log_variance": log_det / len(mean),
    }


def _categorical(probabilities: np.ndarray) -> dict[str, Any]:
    """From [dimension, category]: the probability that two draws differ, and the number of categories left."""
    return {
        "heterozygosity": (1 - np.square(probabilities).sum(1)).mean(),
        "alive_categories": (probabilities > 0).sum(1).mean(),
    }


def _regression(coefficients: np.ndarray) -> dict[str, Any]:
    """From [input, output]: the test error beyond the noise, |w - w*|²; the true w* has equal entries and length 1."""
    return {"regression_error": np.square(coefficients - len(coefficients) ** -0.5).sum(0).mean()}
