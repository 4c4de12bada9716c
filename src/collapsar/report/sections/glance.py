"""Two small curves beside the answer, drawn without a script: recall and FID, or the first metrics there are."""

import math
from collections.abc import Sequence
from typing import Any

from collapsar.judging.metric_lookup import bounds_of, title_of
from collapsar.report.sections.curves import floors, mean_curves
from collapsar.report.wording import number_text
from collapsar.study.arms import Arm
from collapsar.study.study import Study

WIDTH, HEIGHT = 400, 100  # of the box of a curve, in the units of its SVG
LABEL_HEIGHT = 15.0  # labels at the ends of curves stay this far apart
LOOKED_AT_FIRST = ("recall", "fid")
MAX_COLOURED = 6  # of more arms, only those that are pictured have a colour


def glances(study: Study, *, leading: Sequence[Arm]) -> list[dict[str, Any]]:
    """The curves; `leading` arms are drawn on top, and of many arms alone in colour."""
    found = [key for key in LOOKED_AT_FIRST if key in study.main_metrics] or study.main_metrics[:2]
    if not any(arm.horizon for arm in study.arms):
        return []
    curves = mean_curves(study.arms, found)
    return [_glance(study, key, curves[key], leading=leading) for key in found if curves[key]]


def _glance(study: Study, key: str, curves: Sequence[dict[str, Any]], *, leading: Sequence[Arm]) -> dict[str, Any]:
    """One metric: lines, heights of its floors, and the numbers at the ends of both axes.

    A line has `points` in SVG's notation; its `label_y` is None if it stands in the background.
    """
    floor_values = [floor["value"] for floor in floors([chain for arm in study.arms for chain in arm.chains], key)]
    lowest, highest = value_axis(key, [value for curve in curves for value in curve["mean"]] + floor_values)
    last = max(max(curve["generations"]) for curve in curves) or 1

    def height(value: float) -> float:
        return round(HEIGHT * (highest - value) / (highest - lowest), 1)

    def line(curve: dict[str, Any], label_y: float | None) -> dict[str, Any]:
        pairs = zip(curve["generations"], curve["mean"], strict=True)
        points = " ".join(f"{WIDTH * generation / last:.1f},{height(value)}" for generation, value in pairs)
        return {"arm": curve["arm"], "points": points, "last": number_text(curve["mean"][-1]), "label_y": label_y}

    bright = [
        curve
        for curve in curves
        if len(curves) <= MAX_COLOURED or any(study.arms[curve["arm"]] is arm for arm in leading)
    ]
    bright.sort(key=lambda curve: height(curve["mean"][-1]))
    places = _apart([height(curve["mean"][-1]) for curve in bright])
    ends = [
        f"{study.arms[curve['arm']].name} from {number_text(curve['mean'][0])} to {number_text(curve['mean'][-1])}"
        for curve in bright
    ]
    return {
        "metric": key,
        "lines": [
            *(line(curve, None) for curve in curves if curve not in bright),
            *(line(curve, place) for curve, place in zip(bright, places, strict=True)),
        ],
        "floors": [height(value) for value in floor_values],
        "lowest": number_text(lowest),
        "highest": number_text(highest),
        "last_generation": last,
        "description": f"{title_of(key)} by generation: {'; '.join(ends)}",
    }


def value_axis(key: str, values: Sequence[float]) -> tuple[float, float]:
    """The ends of the axis: the metric's bounds or, if it has none, zero and the values."""
    bounds = bounds_of(key)
    return bounds if all(map(math.isfinite, bounds)) else (min(0.0, *values), max(0.0, *values) or 1.0)


def _apart(heights: Sequence[float]) -> list[float]:
    """Heights of labels, from top to bottom, moved so that none overlap and the last stays in the box."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + LABEL_HEIGHT) if placed else height)
    over = max(0.0, placed[-1] - HEIGHT) if placed else 0.0
    return [round(height - over + 4, 1) for height in placed]
