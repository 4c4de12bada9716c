"""Phase curves: the final value of a metric over the one number in which chains differ.

If a search looked for the value at which chains become good enough, the curve also shows the search's bound and the
value at which each seed's curve crosses it. A seed's curve is linear between the values that were tried.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from collapsar.judging.metric_keys import bounds_of
from collapsar.study.intervals import Interval, t_interval
from collapsar.study.study import Study
from collapsar.study.summaries import ArmSummary

SEARCH = "search.json"  # in the folder of a study
METRICS = ("recall", "fid")
FEWEST_VALUES = 3


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The bound that a search looked for.

    Attributes:
        setting: Dotted key of the number that the search changed.
        objective: The outcome that must reach the bound, such as final/recall.
        at_least: Bound to reach from below; None if from above.
        at_most: Bound to reach from above; None if from below.
    """

    setting: str
    objective: str
    at_least: float | None
    at_most: float | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class PhaseCurve:
    """The final value of a metric over one setting.

    Attributes:
        metric: Metric key.
        setting: Dotted key of the setting.
        points: Values of the setting in order, each with the mean of the metric over seeds.
        threshold: The bound of a search for this metric and setting; None without one.
        crossing: The value at which curves cross the bound, over seeds; None without a threshold.
        num_without: Seeds whose curve does not cross the bound.
    """

    metric: str
    setting: str
    points: list[tuple[float, Interval]]
    threshold: float | None = None
    crossing: Interval | None = None
    num_without: int = 0


def content(study: Study) -> dict[str, Any] | None:
    """Curves of final recall and FID if the arms differ in one number only, with three or more values."""
    differing = list(study.differing_settings)
    if len(differing) != 1 or len(study.counted) < FEWEST_VALUES:
        return None
    (setting,) = differing
    values = [summary.arm.settings.get(setting) for summary in study.counted]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return None
    ordered = sorted(study.counted, key=lambda summary: summary.arm.settings[setting])
    threshold = _read_threshold(study)
    curves = [
        _with_threshold(
            PhaseCurve(
                metric=metric,
                setting=setting,
                points=[(float(one.arm.settings[setting]), one.last[metric]) for one in ordered],
            ),
            ordered,
            threshold,
        )
        for metric in METRICS
        if all(metric in one.last for one in ordered)
    ]
    return {"curves": curves, "draw": draw} if curves else None


def _read_threshold(study: Study) -> Threshold | None:
    """The bound of a study's search; None without a search, or for folders of several studies."""
    found = [folder / SEARCH for folder in {chain.folder.parent for chain in study.chains}]
    return Threshold(**json.loads(found[0].read_text())) if len(found) == 1 and found[0].exists() else None


def _with_threshold(curve: PhaseCurve, summaries: Sequence[ArmSummary], threshold: Threshold | None) -> PhaseCurve:
    """A curve with the bound of a search and its crossings, if the search has this metric and setting."""
    if threshold is None or (threshold.setting, threshold.objective) != (curve.setting, f"final/{curve.metric}"):
        return curve
    if threshold.at_least is not None:
        sign, level = 1.0, threshold.at_least
    else:
        sign, level = -1.0, threshold.at_most or 0.0
    values = [value for value, _ in curve.points]
    by_seed: dict[int, list[tuple[float, float]]] = {}
    for value, summary in zip(values, summaries, strict=True):
        for chain in (one for one in summary.chains if curve.metric in one.last):
            by_seed.setdefault(chain.seed, []).append((value, sign * chain.last[curve.metric]))
    crossings = [crossing(points, level=sign * level) for points in by_seed.values()]
    reached = [found for found in crossings if found is not None]
    return replace(
        curve,
        threshold=level,
        crossing=t_interval(reached, within=(values[0], values[-1])),
        num_without=len(crossings) - len(reached),
    )


def crossing(points: Sequence[tuple[float, float]], *, level: float) -> float | None:
    """Where a piecewise linear curve first reaches a level; None if it does not.

    `points` are pairs of value and height, in increasing order of value.
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
        line: Points of the mean, in SVG's notation.
        marks: For each value of the setting: x, y of the mean, and y of both ends of its interval.
        level: y of the threshold; None without one.
        reached: x of the mean crossing and of both ends of its interval; None without one.
        lowest: Metric value at the lower edge.
        highest: Metric value at the upper edge.
    """

    line: str
    marks: list[tuple[float, float, float, float]]
    level: float | None
    reached: tuple[float, float, float] | None
    lowest: float
    highest: float


def draw(curve: PhaseCurve, *, width: int | float, height: int | float) -> Drawing:
    """Lay out a phase curve in a box of this many pixels."""
    first, last = curve.points[0][0], curve.points[-1][0]
    bounds = [(value, interval.mean, *_ends(interval)) for value, interval in curve.points]
    heights = [end for _, _, *ends in bounds for end in ends] + ([] if curve.threshold is None else [curve.threshold])
    lowest, highest = bounds_of(curve.metric)
    if not highest < float("inf"):
        lowest, highest = min(0.0, *heights), max(0.0, *heights) or 1.0

    def across(value: float) -> float:
        return round(width * (value - first) / (last - first), 1)

    def down(value: float) -> float:
        return round(height * (highest - value) / (highest - lowest), 1)

    marks = [(across(value), down(mean), down(low), down(high)) for value, mean, low, high in bounds]
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
    """Both ends of an interval; for a single seed, its value."""
    return (
        interval.mean if interval.low is None else interval.low,
        interval.mean if interval.high is None else interval.high,
    )
