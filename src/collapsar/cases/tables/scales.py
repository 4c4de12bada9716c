"""How the numbers of a column are scaled for models, and read back: a transform in each direction, fitted once.

`quantile` gives normal scores: a number becomes the normal quantile of its rank, (rank - 1/2) / n, so that any column
looks normal (Blom 1958, Statistical Estimates and Transformed Beta-Variables). Equal numbers share their middle rank,
and all of their ranks lead back to them: a column with many zeros keeps them. A hundredth of a rank to either side
leads back too, so that what was seen in training comes back exactly from float32. scikit-learn's QuantileTransformer
maps the smallest and largest number, zeros among them, to -5.2 and 5.2, and cuts off what lies beyond; here straight
lines go on beyond them, with the column's own standard deviation as the slope, so that nothing is lost.
"""

from typing import Literal, Protocol, runtime_checkable

import numpy as np
from scipy.special import ndtr, ndtri
from sklearn.preprocessing import StandardScaler

from collapsar.errors import UsageError

MARGIN = 0.01  # of a rank; float32 rounds by less up to some 500,000 numbers
NARROWEST = 1e-30  # a spread below it counts as none: other numbers in its units would lie beyond float32
ScaleName = Literal["quantile", "standardise"]


@runtime_checkable
class Scale(Protocol):
    """A transform of numbers, float64 in and out, without NaN."""

    def transform(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers as models see them, about standard normal."""
        ...

    def inverse_transform(self, scaled: np.ndarray) -> np.ndarray:
        """The numbers that these scaled ones stand for."""
        ...


class NormalScores:
    """Normal quantiles of ranks.

    Between two numbers that were seen, ranks lie on a straight line; float32 rounds there by less than a thousandth of
    the distance between the two.

    Args:
        numbers: Those that are ranked, without NaN; at least one.

    Attributes:
        seen: The distinct numbers, sorted.
        lowest: Share of ranks below those of each number's own.
        highest: Share of ranks below their end.
    """

    def __init__(self, numbers: np.ndarray) -> None:
        self.seen, counts = np.unique(numbers, return_counts=True)
        ends = counts.cumsum()
        self.lowest = (ends - counts + 0.5 - MARGIN) / len(numbers)
        self.highest = (ends - 0.5 + MARGIN) / len(numbers)
        self.slope = float(numbers.std()) if has_spread(numbers) else 1.0  # of the lines beyond what was seen

    @property
    def bounds(self) -> tuple[float, float]:
        """The scores between which all ranks lie."""
        return float(ndtri(self.lowest[0])), float(ndtri(self.highest[-1]))

    def transform(self, numbers: np.ndarray) -> np.ndarray:
        after = np.searchsorted(self.seen, numbers).clip(max=len(self.seen) - 1)  # of the first that is not smaller
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
        """Numbers and ranks between which lines are drawn; a number that was seen more than once has two."""
        return np.repeat(self.seen, 2), np.stack([self.lowest, self.highest], axis=1).ravel()


class Standardised:
    """Numbers less their mean, over their standard deviation; where there is none, over 1.

    Args:
        numbers: Those that have mean and standard deviation, without NaN; at least one.
    """

    def __init__(self, numbers: np.ndarray) -> None:
        self.scaler = StandardScaler(with_std=has_spread(numbers)).fit(numbers.reshape(-1, 1))

    def transform(self, numbers: np.ndarray) -> np.ndarray:
        scaled: np.ndarray = self.scaler.transform(numbers.reshape(-1, 1)).ravel()
        return scaled

    def inverse_transform(self, scaled: np.ndarray) -> np.ndarray:
        numbers: np.ndarray = self.scaler.inverse_transform(scaled.reshape(-1, 1)).ravel()
        return numbers


def has_spread(numbers: np.ndarray) -> bool:
    """Whether numbers lie apart, so that their standard deviation can be a unit; of equal ones it is rounding."""
    return bool(np.ptp(numbers) > NARROWEST)


def fit_scale(name: ScaleName, numbers: np.ndarray) -> Scale:
    """The scale of this name, fitted to these numbers.

    Raises:
        UsageError: there is no scale of this name.
    """
    if name not in SCALES:
        raise UsageError(f"data.scale must be one of {', '.join(SCALES)}: got {name}")
    return SCALES[name](numbers.astype(np.float64))


SCALES: dict[ScaleName, type[NormalScores] | type[Standardised]] = {
    "quantile": NormalScores,
    "standardise": Standardised,
}
