"""Training losses of every generation, one after the other, as small drawings that need no script."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from collapsar.foundations.errors import printable
from collapsar.foundations.record import is_loss
from collapsar.report.sections import panels
from collapsar.study.chains import Chain
from collapsar.study.study import Study

WIDTH, HEIGHT = 520, 84  # of a drawing, in the units of its SVG
MAX_POINTS = 300  # of a curve
LARGEST = 1e30  # a loss beyond cannot be drawn


@dataclass(frozen=True, kw_only=True)
class Losses:
    """The losses of a chain, and where each of its generations begins, in the units of the drawing."""

    curves: list[dict[str, Any]]  # `name`, `lines` (points of each generation, as SVG has them), `lowest`, `highest`
    starts: list[tuple[int, float]]
    pixels: int = WIDTH


def content(study: Study) -> dict[str, Any] | None:
    """The chains that stored losses."""
    found = panels(study, losses)
    return found and found | {"width": WIDTH, "height": HEIGHT}


def losses(chain: Chain) -> Losses | None:
    """All losses of a chain's generations; None if it stored none, as analytic models do."""
    read = {record.generation: _read(chain, record.generation) for record in chain.records}
    if not (readings := {generation: curve for generation, curve in read.items() if curve}):
        return None
    steps = [max(reading["step"] for reading in curve) for curve in readings.values()]
    scale = WIDTH / sum(steps)
    starts = [0.0, *(round(float(end), 1) for end in (np.cumsum(steps) * scale)[:-1])]
    names = dict.fromkeys(name for curve in readings.values() for reading in curve for name in reading)
    lists = list(readings.values())
    return Losses(
        curves=[_curve(name, lists, starts=starts, scale=scale) for name in names if is_loss(name)],
        starts=list(zip(readings, starts, strict=True)),
    )


def _curve(
    name: str, generations: Sequence[Sequence[dict[str, float]]], *, starts: Sequence[float], scale: float
) -> dict[str, Any]:
    """One loss, its readings thinned by means of neighbours; what lies above the range is drawn at its edge."""
    most = max(2, MAX_POINTS // len(generations))
    curves = [_thinned([(one["step"], one[name]) for one in curve if name in one], most) for curve in generations]
    # the first readings of a new model would flatten all others
    values = [value for points in curves for _, value in (points[1:] or points)]
    lowest, highest = min(values), max(values)

    def point(start: float, step: float, value: float) -> str:
        height = HEIGHT * min(max((highest - value) / ((highest - lowest) or 1.0), 0.0), 1.0)
        return f"{start + step * scale:.1f},{height:.1f}"

    lines = [" ".join(point(start, *one) for one in points) for start, points in zip(starts, curves, strict=True)]
    return {"name": printable(name), "lines": [line for line in lines if line], "lowest": lowest, "highest": highest}


def _thinned(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    size = max(1, math.ceil(len(points) / most))
    groups = [points[first : first + size] for first in range(0, len(points), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def _read(chain: Chain, generation: int) -> list[dict[str, float]]:
    """The readings of a generation's losses, with a step and finite numbers; empty without a file that can be read."""
    try:
        curve = json.loads((chain.folder / f"generation_{generation:03d}" / "curve.json").read_text("utf-8"))
    except (OSError, ValueError):
        return []
    readings = [reading for reading in curve if isinstance(reading, dict)] if isinstance(curve, list) else []
    return [
        reading
        for reading in readings
        if all(isinstance(value, int | float) and abs(value) < LARGEST for value in reading.values())
        and reading.get("step", 0) > 0
    ]
