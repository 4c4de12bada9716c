"""Training losses of every generation, one after the other, as small drawings that need no script."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from collapsar.errors import printable
from collapsar.records.curve import is_loss
from collapsar.report.sections import panels
from collapsar.study.chains import Chain
from collapsar.study.study import Study

WIDTH, HEIGHT = 520, 84  # of a drawing, in the units of its SVG
MAX_POINTS = 300  # of a curve
LARGEST = 1e30  # a loss beyond cannot be drawn


@dataclass(frozen=True, kw_only=True)
class LossCurve:
    """One loss through a chain: its points in SVG's notation, a line for each generation, and its range."""

    name: str
    lines: list[str]
    lowest: float
    highest: float


@dataclass(frozen=True, kw_only=True)
class Losses:
    """The losses of a chain, and where each of its generations begins, in the units of the drawing."""

    curves: list[LossCurve]
    starts: list[tuple[int, float]]
    pixels: int = WIDTH


def content(study: Study) -> dict[str, Any] | None:
    """The chains that stored losses."""
    found = panels(study, losses)
    return found and found | {"width": WIDTH, "height": HEIGHT}


def losses(chain: Chain) -> Losses | None:
    """All losses of a chain's generations; None if it stored none, as analytic models do."""
    read = {record.generation: _read(chain, record.generation) for record in chain.records}
    readings = {generation: curve for generation, curve in read.items() if curve}
    if not readings:
        return None
    steps = [max(reading["step"] for reading in curve) for curve in readings.values()]
    ends = np.cumsum(steps) * (WIDTH / sum(steps))
    starts = list(zip(readings, [0.0, *(round(float(end), 1) for end in ends[:-1])], strict=True))
    names = dict.fromkeys(name for curve in readings.values() for reading in curve for name in reading)
    lists, begins = list(readings.values()), [start for _, start in starts]
    curves = [_curve(name, lists, starts=begins, scale=WIDTH / sum(steps)) for name in names if is_loss(name)]
    return Losses(curves=curves, starts=starts)


def _curve(
    name: str, generations: Sequence[Sequence[dict[str, float]]], *, starts: Sequence[float], scale: float
) -> LossCurve:
    """One loss, its readings thinned by means of neighbours; what lies above the range is drawn at its edge."""
    most = max(2, MAX_POINTS // len(generations))
    curves = [_thinned([(one["step"], one[name]) for one in curve if name in one], most) for curve in generations]
    # the first readings of a new model would flatten all others
    values = [value for points in curves for _, value in (points[1:] or points)]
    lowest, highest = min(values), max(values)
    span = (highest - lowest) or 1.0

    def point(start: float, step: float, value: float) -> str:
        height = HEIGHT * min(max((highest - value) / span, 0.0), 1.0)
        return f"{start + step * scale:.1f},{height:.1f}"

    lines = [
        " ".join(point(start, *one) for one in points) for start, points in zip(starts, curves, strict=True) if points
    ]
    return LossCurve(name=printable(name), lines=lines, lowest=lowest, highest=highest)


def _thinned(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """Means of neighbouring points, at most so many."""
    size = max(1, math.ceil(len(points) / most))
    groups = [points[first : first + size] for first in range(0, len(points), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def _read(chain: Chain, generation: int) -> list[dict[str, float]]:
    """The readings of a generation's losses; empty if none were stored or the file is damaged."""
    try:
        curve = json.loads((chain.folder / f"generation_{generation:03d}" / "curve.json").read_text("utf-8"))
    except (OSError, ValueError):
        return []
    return [reading for reading in curve if _is_reading(reading)] if isinstance(curve, list) else []


def _is_reading(reading: Any) -> bool:
    """Whether it holds a step and finite numbers; the file may come from somebody else."""
    return (
        isinstance(reading, dict)
        and all(isinstance(value, int | float) and abs(value) < LARGEST for value in reading.values())
        and reading.get("step", 0) > 0
    )
