"""Summaries of an analytic model's fitted parameters: numbers by generation to compare with a law.

Each is a mean over dimensions (one is a median), because under a diagonal Gaussian or a histogram every dimension is a
chain of its own. The keys stand beside the record's metrics, under the prefix `fitted/`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from collapsar.foundations.record import GenerationRecord
from collapsar.theory.recursions import effective_sample_size


def values_of(record: GenerationRecord) -> dict[str, float]:
    """All values of a generation: its recorded metrics and its model's fitted parameters."""
    return record.metrics | fitted_values(record.fitted, data=record.data) if record.fitted else record.metrics


def fitted_values(fitted: Mapping[str, Any], *, data: str) -> dict[str, float]:
    """The parameters of a Gaussian, of categories or of a linear regression as numbers; empty for other models.

    `data` is the name of the data, whose truth is known for ours only: N(0, 1), and a regression's equal entries of
    length 1.
    """
    found: dict[str, Any] = {}
    if "mean" in fitted and ("variance" in fitted or "covariance" in fitted):
        found = _gaussian(fitted)
        if data == "gaussian" and "kernel_sd" not in fitted:
            found |= _sample_sizes(found, num_dimensions=len(fitted["mean"]))
    elif "probabilities" in fitted:
        shares = np.asarray(fitted["probabilities"])  # [dimension, category]
        found["heterozygosity"] = (1 - np.square(shares).sum(1)).mean()  # the probability that two draws differ
        found["alive_categories"] = (shares > 0).sum(1).mean()
        found["entropy"] = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(1).mean()  # in nats
    elif "coefficients" in fitted and data == "linear_regression":
        weights = np.asarray(fitted["coefficients"])  # [input, output]
        errors = np.square(weights - len(weights) ** -0.5).sum(0)  # |w - w*|², the test error beyond the noise
        found["regression_error"] = errors.mean()
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


def _sample_sizes(moments: Mapping[str, Any], *, num_dimensions: int) -> dict[str, Any]:
    """How many samples of N(0, 1) would give a fit as good, in W2² and in its mean alone."""
    with np.errstate(divide="ignore"):  # an exact fit is worth infinitely many, and gets no entry
        found = {"effective_sample_size": effective_sample_size(moments["wasserstein"])}
        if num_dimensions > 2:  # the mean of D squared means, each about normal, inverted without bias: (D-2) / sum mu²
            found["effective_sample_size_of_mean"] = (1 - 2 / num_dimensions) / moments["squared_mean"]
    return found
