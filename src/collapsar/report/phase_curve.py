"""Phase curves: for chains that differ in one number, what they came to at each of its values.

Where a search looked for the value at which chains become good enough, the curve shows what it looked for, and the
value at which each seed's own curve, linear between the values that were tried, gets there.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from collapsar.judging.metric_keys import bounds_of
from collapsar.study.arms import Arm, differing_settings
from collapsar.study.intervals import Interval, t_interval
from collapsar.study.summaries import ArmSummary

SEARCH = "search.json"  # in the folder of a study
METRICS = ("recall", "fid")
FEWEST_VALUES = 3
FINAL = "final/"


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """What a search looked for.

    Attributes:
        setting: Dotted key of the number that it changed.
        objective: What it looked at, such as final/recall.
        at_least: What that must reach from below; None if from above.
        at_most: What it must reach from above; None if from below.
    """

    setting: str
    objective: str
    at_least: float | None
    at_most: float | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def value(self) -> float:
        """The bound, whichever it is."""
        return self.at_least if self.at_least is not None else (self.at_most or 0.0)


@dataclass(frozen=True, kw_only=True)
class PhaseCurve:
    """A metric at the end of chains, over one setting.

    Attributes:
        metric: Metric key.
        setting: Dotted key of what changes.
        points: Its values in order, each with the mean of the metric over seeds.
        threshold: The bound that a search looked for; None where none did, or at something else.
        crossing: Over seeds, the value at which each gets there; None without a threshold.
        num_without: Seeds that do not get there at any value.
    """

    metric: str
    setting: str
    points: list[tuple[float, Interval]]
    threshold: float | None = None
    crossing: Interval | None = None
    num_without: int = 0


def read_threshold(folders: Sequence[Path]) -> Threshold | None:
    """What the search of a study looked for; None where there was none, or folders of several studies."""
    found = [folder / SEARCH for folder in dict.fromkeys(folders)]
    return Threshold(**json.loads(found[0].read_text())) if len(found) == 1 and found[0].exists() else None


def phase_curves(
    arms: Sequence[Arm], summaries: Sequence[ArmSummary], *, threshold: Threshold | None
) -> list[PhaseCurve]:
    """Curves of final recall and FID if the arms differ in one number only, of three or more values; else none."""
    differing = list(differing_settings(arms))
    if len(differing) != 1 or len(summaries) < FEWEST_VALUES:
        return []
    (setting,) = differing
    values = [summary.arm.settings.get(setting) for summary in summaries]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return []
    ordered = sorted(summaries, key=lambda summary: summary.arm.settings[setting])
    curves = [
        PhaseCurve(
            metric=metric,
            setting=setting,
            points=[(float(one.arm.settings[setting]), one.last[metric]) for one in ordered],
        )
        for metric in METRICS
        if all(metric in one.last for one in ordered)
    ]
    return [_with_threshold(curve, ordered, threshold=threshold) for curve in curves]


def _with_threshold(curve: PhaseCurve, summaries: Sequence[ArmSummary], *, threshold: Threshold | None) -> PhaseCurve:
    """A curve with what a search looked for, if it looked at this metric and setting."""
    if threshold is None or (threshold.setting, threshold.objective) != (curve.setting, FINAL + curve.metric):
        return curve
    sign = 1.0 if threshold.at_least is not None else -1.0
    by_seed: dict[int, list[tuple[float, float]]] = {}
    for (value, _), summary in zip(curve.points, summaries, strict=True):
        for chain in (one for one in summary.chains if curve.metric in one.last):
            by_seed.setdefault(chain.chain.seed, []).append((value, sign * chain.last[curve.metric]))
    crossings = [crossing(points, level=sign * threshold.value) for points in by_seed.values()]
    values = [value for value, _ in curve.points]
    reached = [found for found in crossings if found is not None]
    return PhaseCurve(
        metric=curve.metric,
        setting=curve.setting,
        points=curve.points,
        threshold=threshold.value,
        crossing=t_interval(reached, within=(values[0], values[-1])),
        num_without=len(crossings) - len(reached),
    )


def crossing(points: Sequence[tuple[float, float]], *, level: float) -> float | None:
    """Where a curve that is linear between its points first reaches a level; None where it does not.

    Args:
        points: Values in increasing order, with the height of the curve at each.
        level: The height.
    """
    if points and points[0][1] >= level:
        return points[0][0]
    for (before, lower), (after, higher) in pairwise(points):
        if higher >= level:
            return before + (after - before) * (level - lower) / (higher - lower)
    return None


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A phase curve in pixels, from the upper left.

    Attributes:
        line: Points of the mean, as SVG has them.
        marks: For each value: where it lies, the mean, and both ends of its interval.
        level: Height of the threshold; None without one.
        reached: Where the crossing and its interval lie; None without one.
        lowest: What the lower edge stands for.
        highest: What the upper edge stands for.
    """

    line: str
    marks: list[tuple[float, float, float, float]]
    level: float | None
    reached: tuple[float, float, float] | None
    lowest: float
    highest: float


def draw(curve: PhaseCurve, *, width: int | float, height: int | float) -> Drawing:
    """A phase curve in a box of this many pixels."""
    first, last = curve.points[0][0], curve.points[-1][0]
    bounds = [(value, *_ends(interval)) for value, interval in curve.points]
    heights = [end for _, *ends in bounds for end in ends] + ([] if curve.threshold is None else [curve.threshold])
    lowest, highest = bounds_of(curve.metric)
    if not highest < float("inf"):
        lowest, highest = min(0.0, *heights), max(0.0, *heights) or 1.0

    def across(value: float) -> float:
        return round(width * (value - first) / (last - first), 1)

    def down(value: float) -> float:
        return round(height * (highest - value) / (highest - lowest), 1)

    marks = [
        (across(value), down(interval.mean), down(low), down(high))
        for (value, interval), (_, low, high) in zip(curve.points, bounds, strict=True)
    ]
    reached = None
    if curve.crossing is not None:
        low, high = _ends(curve.crossing)
        reached = across(curve.crossing.mean), across(low), across(high)
    return Drawing(
        line=" ".join(f"{x},{y}" for x, y, _, _ in marks),
        marks=marks,
        level=None if curve.threshold is None else down(curve.threshold),
        reached=reached,
        lowest=lowest,
        highest=highest,
    )


def _ends(interval: Interval) -> tuple[float, float]:
    """Both ends of an interval; of a single seed, its value."""
    return (
        interval.mean if interval.low is None else interval.low,
        interval.mean if interval.high is None else interval.high,
    )
