"""Phase maps: for a sweep over two settings, final recall and FID of each combination."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from collapsar.study.summaries import ArmSummary

METRICS = ("recall", "fid")


@dataclass(frozen=True, kw_only=True)
class PhaseMap:
    """The final value of a metric over the grid of two settings.

    Attributes:
        metric: Metric key.
        row_setting: The setting that changes from row to row.
        column_setting: The setting that changes from column to column.
        columns: Values of the column setting.
        rows: For each value of the row setting, the mean final value in each column and its shade, 0 to 100 from the
            lowest to the highest of the map; None if there is no such arm.
    """

    metric: str
    row_setting: str
    column_setting: str
    columns: list[Any]
    rows: list[tuple[Any, list[tuple[float, int] | None]]]


def phase_maps(summaries: Sequence[ArmSummary]) -> list[PhaseMap]:
    """Maps of final recall and FID if the arms differ in exactly two choices of two or more values; else none."""
    settings = list(summaries[0].arm.choices) if summaries else []
    if len(settings) != 2:
        return []
    rows, columns = (_values(summaries, setting) for setting in settings)
    if min(len(rows), len(columns)) < 2:
        return []
    return [
        _phase_map(metric, settings, rows, columns, summaries)
        for metric in METRICS
        if any(metric in summary.last for summary in summaries)
    ]


def _values(summaries: Sequence[ArmSummary], setting: str) -> list[Any]:
    """The values of a setting: numbers in order, others as they come."""
    values = list(dict.fromkeys(summary.arm.choices[setting] for summary in summaries))
    is_number = all(isinstance(value, int | float) for value in values)
    return sorted(values) if is_number else values


def _phase_map(
    metric: str, settings: Sequence[str], rows: Sequence[Any], columns: Sequence[Any], summaries: Sequence[ArmSummary]
) -> PhaseMap:
    found = {
        tuple(summary.arm.choices.values()): summary.last[metric].mean
        for summary in summaries
        if metric in summary.last
    }
    low, high = min(found.values()), max(found.values())

    def cell(row: Any, column: Any) -> tuple[float, int] | None:
        value = found.get((row, column))
        return None if value is None else (value, round(100 * (value - low) / (high - low)) if high > low else 50)

    return PhaseMap(
        metric=metric,
        row_setting=settings[0],
        column_setting=settings[1],
        columns=list(columns),
        rows=[(row, [cell(row, column) for column in columns]) for row in rows],
    )
