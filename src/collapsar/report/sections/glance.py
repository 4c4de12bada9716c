"""Two small curves beside the answer, drawn without a script: recall and FID, or the first metrics there are."""

from collections.abc import Sequence
from dataclasses import dataclass

from collapsar.judging.metric_lookup import bounds_of, title_of
from collapsar.report.sections.curves import floors, mean_curves
from collapsar.report.wording import number_text
from collapsar.study.arms import Arm
from collapsar.study.study import Study

WIDTH, HEIGHT = 400, 100  # of the box of a curve, in the units of its SVG
LABEL_HEIGHT = 15.0  # labels at the ends of curves stay this far apart
LOOKED_AT_FIRST = ("recall", "fid")
MAX_COLOURED = 6  # of more arms, only those that are pictured have a colour


@dataclass(frozen=True, kw_only=True)
class Line:
    """The mean of one arm: its index, its points in SVG's notation, and its last value with the height of its label.

    Attributes:
        is_pale: Whether the line stands in the background, without a label.
    """

    arm: int
    points: str
    last: str
    label_y: float
    is_pale: bool


@dataclass(frozen=True, kw_only=True)
class Glance:
    """One metric by generation: lines, heights of the floors, and the numbers at the ends of both axes."""

    metric: str
    lines: list[Line]
    floors: list[float]
    lowest: str
    highest: str
    last_generation: int
    description: str


def glances(study: Study, *, leading: Sequence[Arm]) -> list[Glance]:
    """The curves; `leading` arms are drawn on top, and of many arms alone in colour."""
    found = [key for key in LOOKED_AT_FIRST if key in study.main_metrics] or study.main_metrics[:2]
    if not any(arm.horizon for arm in study.arms):
        return []
    curves = mean_curves(study.arms, found)
    return [_glance(study, key, curves[key], leading=leading) for key in found if curves[key]]


def _glance(study: Study, key: str, curves: Sequence[dict], *, leading: Sequence[Arm]) -> Glance:  # type: ignore[type-arg]
    chains = [chain for arm in study.arms for chain in arm.chains]
    floor_values = [floor["value"] for floor in floors(chains, key)]
    lowest, highest = bounds_of(key)
    if not (abs(lowest) < 1e9 and abs(highest) < 1e9):
        values = [value for curve in curves for value in curve["mean"]] + floor_values
        lowest, highest = min(0.0, *values), max(0.0, *values) or 1.0
    last = max(max(curve["generations"]) for curve in curves) or 1

    def height(value: float) -> float:
        return round(HEIGHT * (highest - value) / (highest - lowest), 1)

    indices = {index for index, arm in enumerate(study.arms) if any(arm is other for other in leading)}
    if len(curves) <= MAX_COLOURED:
        indices = {curve["arm"] for curve in curves}
    order = sorted(curves, key=lambda curve: (curve["arm"] in indices, height(curve["mean"][-1])))
    labelled = _apart([height(curve["mean"][-1]) for curve in order if curve["arm"] in indices])
    lines = []
    for curve in order:
        is_pale = curve["arm"] not in indices
        points = zip(curve["generations"], curve["mean"], strict=True)
        lines.append(
            Line(
                arm=curve["arm"],
                points=" ".join(f"{WIDTH * generation / last:.1f},{height(value)}" for generation, value in points),
                last=number_text(curve["mean"][-1]),
                label_y=0.0 if is_pale else labelled.pop(0),
                is_pale=is_pale,
            )
        )
    ends = "; ".join(
        f"{study.arms[curve['arm']].name} from {number_text(curve['mean'][0])} to {number_text(curve['mean'][-1])}"
        for curve in order
        if curve["arm"] in indices
    )
    return Glance(
        metric=key,
        lines=lines,
        floors=[height(value) for value in floor_values],
        lowest=number_text(lowest),
        highest=number_text(highest),
        last_generation=last,
        description=f"{title_of(key)} by generation: {ends}",
    )


def _apart(heights: Sequence[float]) -> list[float]:
    """Heights of labels, from top to bottom, moved so that none overlap and the last stays in the box."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + LABEL_HEIGHT) if placed else height)
    over = max(0.0, placed[-1] - HEIGHT) if placed else 0.0
    return [round(height - over + 4, 1) for height in placed]
