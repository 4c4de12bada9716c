"""Bisection: the smallest value of a setting at which chains are good enough, if larger values make them better."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from collapsar.errors import UsageError

Measure = Callable[[Sequence[float]], Sequence[float]]
"""From values of the setting to the objective at each, averaged over seeds."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What counts as good enough; exactly one bound is not None.

    Attributes:
        at_least: The smallest objective that is good enough.
        at_most: The largest objective that is good enough.
    """

    at_least: float | None
    at_most: float | None

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise UsageError(
                "hydra.sweeper needs one of at_least and at_most, which the objective must reach: "
                f"got at_least={self.at_least} and at_most={self.at_most}"
            )

    def is_met(self, objective: float) -> bool:
        """Whether a chain with this objective is good enough."""
        return objective >= self.at_least if self.at_least is not None else objective <= (self.at_most or 0.0)


@dataclass(frozen=True, kw_only=True)
class Bracket:
    """The two values of the setting between which chains become good enough.

    Attributes:
        low: The largest value tried that is not good enough; None if the smallest value is good enough already.
        high: The smallest value tried that is good enough; None if none is.
    """

    low: float | None
    high: float | None


def bisect(measure: Measure, *, low: float, high: float, goal: Goal, num_steps: int) -> Bracket:
    """Try both ends, then halve `num_steps` times the interval in which chains become good enough.

    Raises:
        UsageError: the interval is empty.
    """
    if not low < high:
        raise UsageError(f"hydra.sweeper.low must be below hydra.sweeper.high: got {low} and {high}")
    is_low_met, is_high_met = map(goal.is_met, measure([low, high]))
    if is_low_met:
        return Bracket(low=None, high=low)
    if not is_high_met:
        return Bracket(low=high, high=None)
    for _ in range(num_steps):
        middle = (low + high) / 2
        low, high = (low, middle) if goal.is_met(measure([middle])[0]) else (middle, high)
    return Bracket(low=low, high=high)
