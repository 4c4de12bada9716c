"""The alarm: rules that check after each generation whether a chain is going wrong, and the action that follows.

Which rules have fired depends only on the records so far, so a continued chain fires the same rules, once each. If a
record holds a metric's real-against-real floor (`recall_floor`), a change counts only if it is large beside it.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

from scipy import stats

from collapsar.foundations.errors import UsageError, check_fraction, check_not_negative, check_positive
from collapsar.foundations.record import GenerationRecord
from collapsar.foundations.words import counted
from collapsar.journal.courses import MIN_POINTS, Direction, trend_p
from collapsar.journal.definitions import lost_levels

Action: TypeAlias = Literal["warn", "notify", "stop"]
Records: TypeAlias = Sequence[GenerationRecord]


@dataclass(frozen=True, kw_only=True)
class Fired:
    """One rule that fired."""

    generation: int  # after which it fired
    rule: str  # its name in the configuration
    text: str  # what it found, with the numbers

    def to_json(self) -> str:
        """As one JSON line."""
        return json.dumps(asdict(self))

    def __str__(self) -> str:
        return f"alarm at generation {self.generation} ({self.rule}): {self.text}"


class Rule(ABC):
    """A condition on a chain, checked after each generation."""

    @abstractmethod
    def check(self, records: Records) -> str | None:
        """What is wrong at the last generation; None if nothing is wrong, or it was not measured."""


class Alarm:
    """Rules by displayed name (None: switched off), and the action when one fires.

    "warn" logs a line; "notify" also sends a W&B alert; "stop" also ends the chain after that generation.
    """

    def __init__(self, *, action: Action, rules: dict[str, Rule | None]) -> None:
        self.action = action
        self.rules = {name: rule for name, rule in rules.items() if rule is not None}

    def fired(self, records: Records) -> list[Fired]:
        """All that has fired in a chain so far, in order; for a chain that is continued."""
        return [found for end in range(1, len(records) + 1) for found in self.fired_by_last(records[:end])]

    def fired_by_last(self, records: Records) -> list[Fired]:
        """What fires at the last generation; nothing at generation 0, from which losses are counted."""
        if len(records) < 2:
            return []
        texts = {name: rule.check(records) for name, rule in self.rules.items()}
        generation = records[-1].generation
        return [Fired(generation=generation, rule=name, text=text) for name, text in texts.items() if text]


@dataclass(frozen=True, kw_only=True)
class SuddenChange(Rule):
    """A metric worsens from one generation to the next by more than a share of its earlier value and of its floor."""

    metric: str  # its key in the records
    direction: Direction  # which way is worse
    share: float
    floor_share: float  # counts if the metric has a floor

    def __post_init__(self) -> None:
        check_positive(share=self.share)
        check_not_negative(floor_share=self.floor_share)

    def check(self, records: Records) -> str | None:
        values = measured(records[-2:], self.metric)
        if len(values) < 2:
            return None
        before, now = values
        worsening = worse_by(before, now, direction=self.direction)
        if worsening <= max(self.share * abs(before), self.floor_share * floor(records[-1], self.metric)):
            return None
        return f"{self.metric} {self.direction} suddenly, from {before:.3g} to {now:.3g}"


@dataclass(frozen=True, kw_only=True)
class BeyondFloor(Rule):
    """A metric crosses its real-against-real floor and a share more; fires when it crosses, not while it stays."""

    metric: str
    direction: Direction
    floor_share: float

    def __post_init__(self) -> None:
        check_positive(floor_share=self.floor_share)

    def check(self, records: Records) -> str | None:
        if not self._is_beyond(records[-1]) or any(map(self._is_beyond, records[-2:-1])):
            return None
        value, level = records[-1].metrics[self.metric], floor(records[-1], self.metric)
        return f"{self.metric} is {value:.3g}, where real data against real data give {level:.3g}"

    def _is_beyond(self, record: GenerationRecord) -> bool:
        if self.metric not in record.metrics or f"{self.metric}_floor" not in record.metrics:
            return False
        level = floor(record, self.metric)
        return worse_by(level, record.metrics[self.metric], direction=self.direction) > self.floor_share * level


@dataclass(frozen=True, kw_only=True)
class Trend(Rule):
    """A metric worsens steadily: Kendall's one-sided rank test over the last generations, and a slope that matters.

    The change over the window, which is its Theil-Sen slope times its length, must exceed a share of the metric's
    floor, if it has one. Fires when the trend begins, not while it goes on.
    """

    metric: str
    direction: Direction
    num_generations: int  # of the window
    significance: float  # p value below which a trend counts
    floor_share: float

    def __post_init__(self) -> None:
        if self.num_generations < MIN_POINTS:
            raise UsageError(f"num_generations of a trend must be at least {MIN_POINTS}: got {self.num_generations}")
        check_fraction(significance=self.significance)
        check_not_negative(floor_share=self.floor_share)

    def check(self, records: Records) -> str | None:
        if not self._is_trend(records) or self._is_trend(records[:-1]):
            return None
        first, *_, last = measured(records[-self.num_generations :], self.metric)
        window = counted(self.num_generations, "generation")
        return f"{self.metric} {self.direction} over {window}, from {first:.3g} to {last:.3g}"

    def _is_trend(self, records: Records) -> bool:
        values = measured(records[-self.num_generations :], self.metric)
        if len(values) < self.num_generations:
            return False
        change = float(stats.theilslopes(values).slope) * (self.num_generations - 1)
        smallest = self.floor_share * floor(records[-1], self.metric)
        return worse_by(0.0, change, direction=self.direction) > smallest and (
            trend_p(values, self.direction) < self.significance
        )


@dataclass(frozen=True, kw_only=True)
class ClassesDropped(Rule):
    """More classes are dropped than ever before in the chain."""

    num_classes: int  # fewest dropped classes that fire, without those that generation 0 lacks

    def __post_init__(self) -> None:
        check_positive(num_classes=self.num_classes)

    def check(self, records: Records) -> str | None:
        *before, now = measured(records, "classes_dropped") or [0.0]
        if not before or "classes_dropped" not in records[-1].metrics:
            return None
        first = before[0]
        if now - first < self.num_classes or now <= max(before):
            return None
        return f"{counted(now, 'class')} dropped" + (f", {first:g} of them at generation 0" if first else "")


class LevelsLost(Rule):
    """A level of a known factor has less than a tenth of its known share, and had more a generation before."""

    def check(self, records: Records) -> str | None:
        before = lost_levels(records[-2]) if len(records) > 1 else []
        new = [name for name in lost_levels(records[-1]) if name not in before]
        shares = records[-1].factor_shares
        told = (
            f"{name} is lost: {shares[name]['synthetic']:.2%} of the samples, {shares[name]['known']:.2%} of the world"
            for name in new
        )
        return "; ".join(told) or None


def measured(records: Records, metric: str) -> list[float]:
    """The values of a metric in the records that hold it."""
    return [float(record.metrics[metric]) for record in records if metric in record.metrics]


def floor(record: GenerationRecord, metric: str) -> float:
    """The size of a metric's real-against-real floor; 0 if the record holds none."""
    return abs(record.metrics.get(f"{metric}_floor", 0.0))


def worse_by(before: float, now: float, *, direction: Direction) -> float:
    """How much worse `now` is than `before`; negative if it is better."""
    return before - now if direction == "falls" else now - before
