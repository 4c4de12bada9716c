"""Phase maps: for a sweep over two settings, final recall and FID of each combination."""

from collections.abc import Sequence
from typing import Any

from collapsar.report.sections.heat import Cell, HeatMap
from collapsar.report.wording import MISSING, number_text
from collapsar.study.study import Study
from collapsar.study.summaries import ArmSummary


def content(study: Study) -> dict[str, Any] | None:
    """Maps of final recall and FID if the arms differ in exactly two choices of two or more values."""
    settings = list(study.counted[0].arm.choices) if study.counted else []
    if len(settings) != 2:
        return None
    rows, columns = (_values(study.counted, setting) for setting in settings)
    finals = {
        metric: {tuple(arm.arm.choices.values()): arm.last[metric].mean for arm in study.counted if metric in arm.last}
        for metric in ("recall", "fid")
    }
    if min(len(rows), len(columns)) < 2 or not any(finals.values()):
        return None
    maps = [(metric, _map(rows, columns, final)) for metric, final in finals.items() if final]
    return {"row_setting": settings[0], "column_setting": settings[1], "maps": maps}


def _values(summaries: Sequence[ArmSummary], setting: str) -> list[Any]:
    """The values of a setting: numbers in order, others as they come."""
    values = list(dict.fromkeys(summary.arm.choices[setting] for summary in summaries))
    return sorted(values) if all(isinstance(value, int | float) for value in values) else values


def _map(rows: Sequence[Any], columns: Sequence[Any], final: dict[tuple[Any, ...], float]) -> HeatMap:
    """Final values, shaded from the lowest to the highest of the map."""
    low, high = min(final.values()), max(final.values())

    def cell(value: float | None) -> Cell:
        if value is None:
            return Cell(text=MISSING)
        shade = round(100 * (value - low) / (high - low)) if high > low else 50
        return Cell(text=number_text(value), tone="over", shade=shade)

    return HeatMap(
        heads=("",),
        columns=columns,
        rows=[(row, [], [cell(final.get((row, column))) for column in columns]) for row in rows],
        num_rows=len(rows),
    )
