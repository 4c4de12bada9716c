"""How the numbers of a column are scaled for models: a transform and its inverse, fitted once.

`quantile` gives normal scores, the normal quantile of (rank - 1/2) / n (Blom 1958, Statistical Estimates and
Transformed Beta-Variables). Equal numbers share their middle rank; all of their ranks, and .01 of a rank beyond, map
back to them. So a column keeps its many zeros, and seen numbers come back exactly from float32. Beyond the seen
numbers the scale is linear, with the column's standard deviation as slope, and loses nothing. scikit-learn's
QuantileTransformer maps the smallest and largest number, zeros among them, to -5.2 and 5.2, and cuts off the rest.
"""

from typing import Literal

import numpy as np
from scipy.special import ndtr, ndtri
from sklearn.preprocessing import StandardScaler

from collapsar.errors import UsageError

MARGIN = 0.01  # of a rank; float32 rounds by less up to some 500,000 numbers
NARROWEST = 1e-30  # a smaller spread counts as none: in its units, other numbers would overflow float32
ScaleName = Literal["quantile", "standardise"]


class NormalScores:
    """Normal quantiles of ranks, which are linear between two seen numbers.

    Between them float32 rounds by less than a thousandth of their distance. `seen` are the distinct numbers, sorted;
    `lowest` and `highest` the ranks of each as shares of all, with the margin.
    """

    def __init__(self, numbers: np.ndarray) -> None:
        self.seen, counts = np.unique(numbers, return_counts=True)
        ends = counts.cumsum()
        self.lowest = (ends - counts + 0.5 - MARGIN) / len(numbers)
        self.highest = (ends - 0.5 + MARGIN) / len(numbers)
        self.slope = float(numbers.std()) if has_spread(numbers) else 1.0  # of the lines beyond what was seen

    @property
    def bounds(self) -> tuple[float, float]:
        """The scores of the lowest and the highest rank."""
        return float(ndtri(self.lowest[0])), float(ndtri(self.highest[-1]))

    def transform(self, numbers: np.ndarray) -> np.ndarray:
        after = np.searchsorted(self.seen, numbers).clip(max=len(self.seen) - 1)  # the first that is not smaller
        is_seen = self.seen[after] == numbers
        middles = 0.5 * (self.lowest + self.highest)
        ranks = np.where(is_seen, middles[after], np.interp(numbers, *self._corners()))
        first, last = self.seen[0], self.seen[-1]
        scores = ndtri(ranks)
        low, high = self.bounds
        scores = np.where(numbers < first, low + (numbers - first) / self.slope, scores)
        return np.where(numbers > last, high + (numbers - last) / self.slope, scores)

    def inverse_transform(self, scaled: np.ndarray) -> np.ndarray:
        seen, ranks = self._corners()
        numbers = np.interp(ndtr(scaled), ranks, seen)
        low, high = self.bounds
        return numbers + self.slope * (np.minimum(scaled - low, 0) + np.maximum(scaled - high, 0))

    def _corners(self) -> tuple[np.ndarray, np.ndarray]:
        """The corners of the piecewise linear ranks: each number has its lowest and its highest rank."""
        return np.repeat(self.seen, 2), np.stack([self.lowest, self.highest], axis=1).ravel()


class Standardised:
    """Numbers minus their mean, divided by their standard deviation; by 1 if they have no spread."""

    def __init__(self, numbers: np.ndarray) -> None:
        self.scaler = StandardScaler(with_std=has_spread(numbers)).fit(numbers.reshape(-1, 1))

    def transform(self, numbers: np.ndarray) -> np.ndarray:
        scaled: np.ndarray = self.scaler.transform(numbers.reshape(-1, 1)).ravel()
        return scaled

    def inverse_transform(self, scaled: np.ndarray) -> np.ndarray:
        numbers: np.ndarray = self.scaler.inverse_transform(scaled.reshape(-1, 1)).ravel()
        return numbers


def has_spread(numbers: np.ndarray) -> bool:
    """Whether the standard deviation can serve as a unit; that of equal numbers is only rounding."""
    return bool(np.ptp(numbers) > NARROWEST)


def fit_scale(name: ScaleName, numbers: np.ndarray) -> "Scale":
    """The scale of this name, fitted to these numbers; UsageError if there is none of this name."""
    if name not in SCALES:
        raise UsageError(f"data.scale must be one of {', '.join(SCALES)}: got {name}")
    return SCALES[name](numbers.astype(np.float64))


Scale = NormalScores | Standardised
"""float64 in and out, without NaN: about standard normal numbers, and back."""

SCALES: dict[ScaleName, type[Scale]] = {"quantile": NormalScores, "standardise": Standardised}
