"""Scores that each class has, such as recall, or each column of a table: which of them a chain forgets first."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from collapsar.journal.findings import GONE_FRACTION
from collapsar.judging.metric_keys import SHARE, bounds_of, split_class, split_column
from collapsar.report.sections.heat import Cell, HeatMap
from collapsar.report.wording import MISSING
from collapsar.study.arms import Arm
from collapsar.study.study import Study


def content(study: Study) -> dict[str, Any] | None:
    """The heat maps of each metric."""
    maps = score_maps(study.arms)
    every = [found for of_metric in maps.values() for _, found in of_metric]
    if not every:
        return None
    title = f"Scores by {' and '.join(sorted({found.heads[0] for found in every}))}"
    return {"title": title, "maps_by_metric": maps, "panel_pixels": max(found.pixels for found in every)}


def score_maps(arms: Sequence[Arm]) -> dict[str, list[tuple[int, HeatMap]]]:
    """By metric key (without the class), the map of every arm that measured it, with the arm's index.

    Cells are means over seeds in percent, shaded by the loss since generation 0. Of many classes, those that end lowest
    are shown.
    """
    maps: dict[str, list[tuple[int, HeatMap]]] = {}
    for index, arm in enumerate(arms):
        for metric, keys in _keys_by_metric(arm).items():
            maps.setdefault(metric, []).append((index, _map(arm, keys)))
    return maps


def _keys_by_metric(arm: Arm) -> dict[str, dict[int | str, str]]:
    """By metric, the record key of each class, or of each column if the metric is a share."""
    found: dict[str, dict[int | str, str]] = {}
    for key in dict.fromkeys(key for chain in arm.counted if chain.records for key in chain.records[-1].metrics):
        of_part = split_class(key) or (split_column(key) if bounds_of(key) == SHARE else None)
        if of_part:
            metric, part = of_part
            found.setdefault(metric, {})[part] = key
    return found


def _map(arm: Arm, keys: Mapping[int | str, str]) -> HeatMap:
    generations = list(range(max(chain.last_generation for chain in arm.counted) + 1))
    scores = {part: [_mean(arm, key, generation) for generation in generations] for part, key in keys.items()}
    lowest = set(sorted(scores, key=lambda part: scores[part][-1] or 0.0)[:24])
    is_of_classes = isinstance(next(iter(keys)), int)
    return HeatMap(
        heads=("class" if is_of_classes else "column",),
        columns=generations,
        rows=[
            (part, [], [_cell(score, first=scores[part][0]) for score in scores[part]])
            for part in (sorted(keys) if is_of_classes else keys)  # type: ignore[type-var]
            if part in lowest
        ],
        num_rows=len(keys),
    )


def _mean(arm: Arm, key: str, generation: int) -> float | None:
    """The mean over seeds, last values carried on; None if no chain measured it."""
    values = [value for chain in arm.counted if (value := chain.metrics_at(generation).get(key)) is not None]
    return float(np.mean(values)) if values else None


def _cell(score: float | None, *, first: float | None) -> Cell:
    if score is None:
        return Cell(text=MISSING)
    kept = min(score / first, 1.0) if first else 1.0
    tone = "dead" if kept < GONE_FRACTION else "under"
    return Cell(text=f"{100 * score:.0f}", tone=tone, shade=round(100 * (1 - kept)))
