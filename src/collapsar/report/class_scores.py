"""Heat maps, generation by class, of a score that each class has, such as recall: which classes a chain forgets first.

The scores of a table's columns get the same map.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from collapsar.journal.findings import GONE_FRACTION
from collapsar.judging.metric_keys import SHARE
from collapsar.judging.metric_lookup import bounds_of, split_class, split_column
from collapsar.report.classes import CELL_PIXELS, MAX_CLASSES, Cell
from collapsar.study.arms import Arm


@dataclass(frozen=True, kw_only=True)
class ClassScoreMap:
    """One score of one arm by class: means over seeds in percent, shaded by the loss since generation 0.

    Attributes:
        arm: Index of the arm.
        part: What has the score: class or column.
        generations: The columns of the map.
        rows: Each class with its cells, None if the score was not measured. Of many classes, those that end lowest.
        num_classes: All classes that have the score, shown or not.
    """

    arm: int
    part: Literal["class", "column"]
    generations: list[int]
    rows: list[tuple[int | str, list[Cell | None]]]
    num_classes: int

    @property
    def pixels(self) -> int:
        """Approximate width on the page."""
        return CELL_PIXELS * (len(self.generations) + 1)


def class_score_maps(arms: Sequence[Arm]) -> dict[str, list[ClassScoreMap]]:
    """By metric key (without the class), the map of every arm that measured it."""
    maps: dict[str, list[ClassScoreMap]] = {}
    for index, arm in enumerate(arms):
        for metric, keys in _keys_by_metric(arm).items():
            maps.setdefault(metric, []).append(_map(index, arm, keys))
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


def _map(index: int, arm: Arm, keys: Mapping[int | str, str]) -> ClassScoreMap:
    generations = list(range(max(chain.last_generation for chain in arm.counted) + 1))
    scores = {part: _means(arm, key, generations) for part, key in keys.items()}
    lowest = set(sorted(scores, key=lambda part: scores[part][-1] or 0.0)[:MAX_CLASSES])
    is_of_classes = isinstance(next(iter(keys)), int)
    return ClassScoreMap(
        arm=index,
        part="class" if is_of_classes else "column",
        generations=generations,
        rows=[
            (part, [_cell(score, first=scores[part][0]) for score in scores[part]])
            for part in (sorted(keys) if is_of_classes else keys)  # type: ignore[type-var]
            if part in lowest
        ],
        num_classes=len(keys),
    )


def _means(arm: Arm, key: str, generations: Sequence[int]) -> list[float | None]:
    """The mean over seeds in each generation, last values carried on; None if no chain measured it."""
    rows = [[chain.metrics_at(generation).get(key) for chain in arm.counted] for generation in generations]
    measured = [[value for value in row if value is not None] for row in rows]
    return [float(np.mean(values)) if values else None for values in measured]


def _cell(score: float | None, *, first: float | None) -> Cell | None:
    if score is None:
        return None
    kept = min(score / first, 1.0) if first else 1.0
    is_dead = kept < GONE_FRACTION
    tone = "dead" if is_dead else "under"
    return Cell(percent=100 * score, tone=tone, shade=round(100 * (1 - kept)), is_drift=False)
