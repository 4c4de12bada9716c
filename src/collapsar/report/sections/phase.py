"""Phase maps over two settings that chains differ in, and phase curves over one: final recall and FID.

If a search looked for the value at which chains become good enough, the curve also shows the search's bound and the
value at which each seed's curve crosses it. A seed's curve is linear between the values that were tried.
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from collapsar.report.sections.classes import Cell, HeatMap
from collapsar.report.sections.curves import value_axis
from collapsar.report.wording import MISSING, number_text
from collapsar.study.arms import in_order
from collapsar.study.intervals import Interval, t_interval
from collapsar.study.study import Study
from collapsar.study.summaries import ArmSummary

METRICS = ("recall", "fid")
WIDTH, HEIGHT = 420, 220  # of the box of a curve, in the units of its SVG
SEARCH = "search.json"  # in the folder of a study: setting, objective, and a bound, at_least or at_most


def maps(study: Study) -> dict[str, Any] | None:
    """Maps of final recall and FID if the arms differ in exactly two choices of two or more values."""
    settings = list(study.counted[0].arm.distinctions) if study.counted else []
    if len(settings) != 2:
        return None
    rows, columns = (in_order([one.arm.distinctions[setting] for one in study.counted]) for setting in settings)
    found = []
    for metric in METRICS:
        measured = [summary for summary in study.counted if metric in summary.last]
        if final := {tuple(one.arm.distinctions.values()): one.last[metric].mean for one in measured}:
            found.append((metric, _map(rows, columns, final)))
    if min(len(rows), len(columns)) < 2 or not found:
        return None
    return {"row_setting": settings[0], "column_setting": settings[1], "maps": found}


def _map(rows: Sequence[Any], columns: Sequence[Any], final: dict[tuple[Any, ...], float]) -> HeatMap:
    low, high = min(final.values()), max(final.values())

    def cell(value: float | None) -> Cell:
        if value is None:
            return Cell(text=MISSING)
        shade = round(100 * (value - low) / (high - low)) if high > low else 50
        return Cell(text=number_text(value), tone="over", shade=shade)

    cells: list[Any] = [(row, [], [cell(final.get((row, column))) for column in columns]) for row in rows]
    return HeatMap(heads=("",), columns=columns, rows=cells, num_rows=len(rows))


def curves(study: Study) -> dict[str, Any] | None:
    """Curves of final recall and FID if the arms differ in one number only, with three or more values."""
    differing = list(study.differing_settings)
    if len(differing) != 1 or len(study.counted) < 3:
        return None
    (setting,) = differing
    values = [summary.arm.settings.get(setting) for summary in study.counted]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return None
    summaries = sorted(study.counted, key=lambda summary: summary.arm.settings[setting])
    measured = [metric for metric in METRICS if all(metric in summary.last for summary in summaries)]
    found = [_curve(metric, setting, summaries=summaries, study=study) for metric in measured]
    return {"curves": found} if found else None


def _curve(metric: str, setting: str, *, summaries: Sequence[ArmSummary], study: Study) -> dict[str, Any]:
    """A metric by setting, and where seeds' curves cross the search's `threshold`; `num_without` counts the others."""
    values = [float(one.arm.settings[setting]) for one in summaries]
    points = [(value, one.last[metric]) for value, one in zip(values, summaries, strict=True)]
    files = [folder / SEARCH for folder in {chain.folder.parent for chain in study.chains}]
    search = json.loads(files[0].read_text()) if len(files) == 1 and files[0].exists() else {}  # else several studies
    threshold, found, num_without = None, None, 0
    if (search.get("setting"), search.get("objective")) == (setting, f"final/{metric}"):
        sign, threshold = (-1.0, search["at_most"]) if search["at_least"] is None else (1.0, search["at_least"])
        by_seed: dict[int, list[tuple[float, float]]] = {}
        for value, summary in zip(values, summaries, strict=True):
            for chain in summary.chains:
                if metric in chain.last:
                    by_seed.setdefault(chain.seed, []).append((value, sign * chain.last[metric]))
        crossings = [crossing(heights, level=sign * threshold) for heights in by_seed.values()]
        reached = [value for value in crossings if value is not None]
        found, num_without = t_interval(reached, within=(values[0], values[-1])), len(crossings) - len(reached)
    drawing = draw(metric, points, threshold=threshold, crossing=found)
    known = {"metric": metric, "setting": setting, "points": points, "drawing": drawing}
    return known | {"threshold": threshold, "crossing": found, "num_without": num_without}


def crossing(points: Sequence[tuple[float, float]], *, level: float) -> float | None:
    """Where a piecewise linear curve, of pairs of rising value and height, first reaches a level; None if nowhere."""
    if points and points[0][1] >= level:
        return points[0][0]
    for (before, lower), (after, higher) in pairwise(points):
        if higher >= level:
            return before + (after - before) * (level - lower) / (higher - lower)
    return None


def draw(
    metric: str, points: Sequence[tuple[float, Interval]], *, threshold: float | None, crossing: Interval | None
) -> dict[str, Any]:
    """Lay out a phase curve in its box, from the upper left.

    `line` has the points of the mean in SVG's notation; `marks`, for each value, x, y of the mean, and y of both ends
    of its interval; `level` is y of the threshold, and `reached` x of the mean crossing and of both ends of its
    interval, None without one; `lowest` and `highest` are the metric at the lower and the upper edge.
    """
    first, last = points[0][0], points[-1][0]
    heights = [(interval.mean, *interval.ends) for _, interval in points]
    lowest, highest = value_axis(metric, [*(end for _, *ends in heights for end in ends), threshold or 0.0])

    def across(value: float) -> float:
        return round(WIDTH * (value - first) / (last - first), 1)

    def down(value: float) -> float:
        return round(HEIGHT * (highest - value) / (highest - lowest), 1)

    marks = [(across(value), *map(down, own)) for (value, _), own in zip(points, heights, strict=True)]
    return {
        "line": " ".join(f"{x},{y}" for x, y, *_ in marks),
        "marks": marks,
        "level": None if threshold is None else down(threshold),
        "reached": crossing and tuple(map(across, (crossing.mean, *crossing.ends))),
        "lowest": lowest,
        "highest": highest,
    }
