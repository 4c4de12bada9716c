"""Heat maps, generation by class: which classes shrank, grew or died, and whether neutral drift alone explains it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from collapsar.journal.findings import GONE_FRACTION
from collapsar.report.drift import neutral_band, outside_drift
from collapsar.study.chains import Chain

MAX_CLASSES = 24
CELL_PIXELS = 40  # a cell with its gap, as in report.css
FULL_SHADE_DOUBLINGS = 3.0  # a share eight times too large or too small has the full shade


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One class in one generation: its share in percent, and how it is shaded.

    Attributes:
        percent: Share of the class among the samples.
        tone: over, under or dead, against the real share.
        shade: Distance from the real share, 0 to 100.
        is_drift: Whether neutral drift explains the share.
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

    @property
    def pixels(self) -> int:
        """Approximate width on the page."""
        return CELL_PIXELS * (len(self.generations) + 2)


def heat_map(chain: Chain) -> HeatMap | None:
    """The heat map of a chain; None if no classes were counted."""
    records = [record for record in chain.records if record.class_shares]
    if not records:
        return None
    real = records[0].class_shares["real"]
    shown = sorted(sorted(range(len(real)), key=lambda index: -real[index])[:MAX_CLASSES])
    synthetic = [record.class_shares["synthetic"] for record in records]
    return HeatMap(
        generations=[record.generation for record in records],
        rows=[
            (index, 100 * real[index], shade([row[index] for row in synthetic], real=real[index], chain=chain))
            for index in shown
        ],
        num_classes=len(real),
    )


def _pool_size(chain: Chain) -> int:
    """The fewest samples that a pool took from the generation before; the first pool's size if none took any."""
    origins = [record.pool.get("origins", {}).get(str(record.generation - 1)) for record in chain.records]
    return min(size for size in origins if size) if any(origins) else int(chain.records[0].pool["size"])


def shade(shares: Sequence[float], *, real: float, chain: Chain) -> list[Cell]:
    """Cells of one class, one for each generation that measured it, shaded against its real share."""
    records = [record for record in chain.records if record.class_shares or record.factor_shares]
    band = neutral_band(
        real,
        num_samples=_pool_size(chain),
        num_evaluated=records[0].num_evaluated,
        num_generations=records[-1].generation + 1,
    )
    outside = outside_drift(shares, band=[band[record.generation] for record in records])
    return [_cell(real, share, is_out) for share, is_out in zip(shares, outside, strict=True)]


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
