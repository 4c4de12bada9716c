"""Schedules: numbers that change over the generations, such as how many samples to draw or what fraction stays real.

The value for generation t is used when model t is sampled and the pool of t + 1 is made, so the first value shapes the
pool of generation 1. In a config, a number is a constant and a list gives one value a generation.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import cos, inf, pi
from typing import TypeAlias

from collapsar.foundations.errors import UsageError
from collapsar.theory.formulas import nearest

Number: TypeAlias = int | float  # a config's 1 is an int


class Schedule(ABC):
    """A number for each generation."""

    bounds: tuple[Number, Number]  # the lowest and the highest possible value

    @abstractmethod
    def at(self, generation: int) -> Number:
        """The value for the samples of this generation's model."""

    def count_at(self, generation: int) -> int:
        """The value as a number of samples, rounded to the nearest."""
        return nearest(self.at(generation))


class Constant(Schedule):
    """The same value in every generation."""

    def __init__(self, value: Number) -> None:
        self.value, self.bounds = value, (value, value)

    def at(self, generation: int) -> Number:
        return self.value


class Listed(Schedule):
    """One value a generation; a chain longer than the list is refused."""

    def __init__(self, values: Sequence[Number]) -> None:
        if not values:
            raise UsageError("a schedule's list must hold at least one value: got []")
        self.values, self.bounds = list(values), (min(values), max(values))

    def at(self, generation: int) -> Number:
        if generation >= len(self.values):
            problem = f"the schedule {self.values} ends before generation {generation}"
            raise UsageError(f"{problem}: lower num_generations or list at least {generation + 1} values")
        return self.values[generation]


class Ramp(Schedule, ABC):
    """From `first` to `last` over `num_generations` values, then constant."""

    def __init__(self, *, first: Number, last: Number, num_generations: int) -> None:
        if num_generations < 1:
            raise UsageError(f"a schedule's num_generations must be at least 1: got {num_generations}")
        self.first, self.last, self.num_generations = first, last, num_generations
        self.bounds = min(first, last), max(first, last)

    def at(self, generation: int) -> Number:
        progress = min(generation / (self.num_generations - 1), 1.0) if self.num_generations > 1 else 1.0
        return self.first + self.share(progress) * (self.last - self.first)

    @abstractmethod
    def share(self, progress: float) -> float:
        """Share of the way from `first` to `last`, at a progress from 0 to 1."""


class Linear(Ramp):
    """A ramp of equal steps."""

    def share(self, progress: float) -> float:
        return progress


class Cosine(Ramp):
    """A ramp along half a cosine, flat at both ends."""

    def share(self, progress: float) -> float:
        return (1 - cos(pi * progress)) / 2


Scheduled: TypeAlias = Number | Sequence[Number] | Schedule


def as_schedule(value: Scheduled) -> Schedule:
    """A config's value as a schedule: a number is constant, a list gives one value a generation."""
    if isinstance(value, Schedule):
        return value
    return Constant(value) if isinstance(value, int | float) else Listed(value)


def check_bounds(name: str, schedule: Schedule, *, lowest: Number, highest: Number = inf) -> Schedule:
    """Return the schedule; raise UsageError, with its name, if it can leave [lowest, highest] or be infinite."""
    low, high = schedule.bounds
    if not lowest <= low <= high <= highest or high == inf:
        allowed = f"at least {lowest}" if highest == inf else f"between {lowest} and {highest}"
        raise UsageError(f"{name} must be {allowed} in every generation: got {low if low < lowest else high}")
    return schedule
