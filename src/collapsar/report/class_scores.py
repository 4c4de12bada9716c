"""Heat maps generation x class of a score that each class has, such as recall: which classes a chain forgets first."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from collapsar.journal.findings import GONE_FRACTION
from collapsar.metric_keys import split_class
from collapsar.report.arms import Arm
from collapsar.report.classes import CELL_PIXELS, MAX_CLASSES, Cell


@dataclass(frozen=True, kw_only=True)
class ClassScoreMap:
    """One score of one arm by class, a mean over seeds in percent, shaded by how much generation 0 has lost.

    Attributes:
        arm: The arm's index.
        generations: The columns.
        rows: Class and cells; None where a score was not measured. Of many classes, those that end lowest.
        num_classes: Classes that have the score.
    """

    arm: int
    generations: list[int]
    rows: list[tuple[int, list[Cell | None]]]
    num_classes: int

    @property
    def pixels(self) -> int:
        """About its width on the page."""
        return CELL_PIXELS * (len(self.generations) + 1)


def class_score_maps(arms: Sequence[Arm]) -> dict[str, list[ClassScoreMap]]:
    """By metric key, without its class, the map of every arm that measured it."""
    maps: dict[str, list[ClassScoreMap]] = {}
    for index, arm in enumerate(arms):
        for metric, classes in _classes_by_metric(arm).items():
            maps.setdefault(metric, []).append(_map(index, arm, metric, classes))
    return maps


def _classes_by_metric(arm: Arm) -> dict[str, list[int]]:
    keys = dict.fromkeys(key for chain in arm.complete for key in chain.records[-1].metrics)
    found: dict[str, list[int]] = {}
    for metric, index in filter(None, map(split_class, keys)):
        found.setdefault(metric, []).append(index)
    return found


def _map(index: int, arm: Arm, metric: str, classes: Sequence[int]) -> ClassScoreMap:
    generations = [record.generation for record in arm.complete[0].records]
    scores = {number: _means(arm, f"{metric}_class_{number}", generations) for number in classes}
    shown = sorted(sorted(classes, key=lambda number: scores[number][-1] or 0.0)[:MAX_CLASSES])
    return ClassScoreMap(
        arm=index,
        generations=generations,
        rows=[(number, [_cell(score, first=scores[number][0]) for score in scores[number]]) for number in shown],
        num_classes=len(classes),
    )


def _means(arm: Arm, key: str, generations: Sequence[int]) -> list[float | None]:
    """The mean over seeds in each generation; None where no chain measured it."""
    found: dict[int, list[float]] = {generation: [] for generation in generations}
    for record in (record for chain in arm.complete for record in chain.records):
        if record.generation in found and key in record.metrics:
            found[record.generation].append(record.metrics[key])
    return [float(np.mean(values)) if values else None for values in found.values()]


def _cell(score: float | None, *, first: float | None) -> Cell | None:
    if score is None:
        return None
    kept = min(score / first, 1.0) if first else 1.0
    is_dead = kept < GONE_FRACTION
    tone = "dead" if is_dead else "under"
    return Cell(percent=100 * score, tone=tone, shade=round(100 * (1 - kept)), is_drift=False)
