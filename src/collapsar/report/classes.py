"""Heat maps generation x class: which classes shrank, grew or died, beside what neutral drift alone would do."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from collapsar.profile import GONE_FRACTION
from collapsar.records import GenerationRecord
from collapsar.report.chains import Chain
from collapsar.report.drift import is_outside, neutral_band

MAX_CLASSES = 24
FULL_SHADE_DOUBLINGS = 3.0  # a share eight times too large or too small has the full shade


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One class in one generation: its share in percent, and how it is shaded.

    Attributes:
        percent: Share of the class among the samples.
        tone: over, under or dead, against the real share.
        shade: 0 to 100, how far from the real share.
        is_drift: Whether neutral drift explains it.
    """

    percent: float
    tone: str
    shade: int
    is_drift: bool


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """The classes of one chain over its generations; of many classes, the most common ones."""

    generations: list[int]
    rows: list[tuple[int, float, list[Cell]]]
    num_classes: int


def heat_map(chain: Chain) -> HeatMap | None:
    """The heat map of a chain; None where no classes were counted."""
    records = [record for record in chain.records if record.class_shares]
    if not records:
        return None
    real = records[0].class_shares["real"]
    columns = [_cells(record, outside) for record, outside in zip(records, _outside(chain, records), strict=True)]
    shown = sorted(sorted(range(len(real)), key=lambda index: -real[index])[:MAX_CLASSES])
    return HeatMap(
        generations=[record.generation for record in records],
        rows=[(index, 100 * real[index], [column[index] for column in columns]) for index in shown],
        num_classes=len(real),
    )


def _outside(chain: Chain, records: Sequence[GenerationRecord]) -> list[list[bool]]:
    """For each record, whether each class's share lies outside the neutral band."""
    band = neutral_band(
        tuple(records[0].class_shares["real"]),
        num_samples=int(chain.config.get("num_synthetic") or records[0].pool["size"]),
        num_evaluated=records[0].num_evaluated,
        num_generations=records[-1].generation + 1,
    )
    return [is_outside(record.class_shares["synthetic"], band=band, generation=record.generation) for record in records]


def _cells(record: GenerationRecord, outside: Sequence[bool]) -> list[Cell]:
    shares = zip(record.class_shares["real"], record.class_shares["synthetic"], outside, strict=True)
    return [_cell(real, synthetic, is_out) for real, synthetic, is_out in shares]


def _cell(real: float, synthetic: float, is_out: bool) -> Cell:
    if synthetic < GONE_FRACTION * real:
        return Cell(percent=100 * synthetic, tone="dead", shade=100, is_drift=not is_out)
    doublings = math.log2(synthetic / real) if real > 0 and synthetic > 0 else 0.0
    return Cell(
        percent=100 * synthetic,
        tone="over" if doublings > 0 else "under",
        shade=round(100 * min(1.0, abs(doublings) / FULL_SHADE_DOUBLINGS)),
        is_drift=not is_out,
    )
