"""Heat maps, generation by level of a known factor: which levels grew, shrank or died, beside their known shares."""

from dataclasses import dataclass

from collapsar.report.classes import CELL_PIXELS, Cell, shade
from collapsar.study.chains import Chain

MAX_LEVELS = 40


@dataclass(frozen=True, kw_only=True)
class FactorRow:
    """One level through the generations; shares are in percent.

    Attributes:
        level: Its name.
        known: Its exact share in the true distribution.
        read: Its share of real samples as the classifier reads them, which shows the classifier's error.
        cells: Its share of each generation's samples, shaded against `known`.
    """

    level: str
    known: float
    read: float
    cells: list[Cell]


@dataclass(frozen=True, kw_only=True)
class FactorMap:
    """The levels of one chain over its generations, at most the first MAX_LEVELS."""

    generations: list[int]
    rows: list[FactorRow]
    num_levels: int

    @property
    def pixels(self) -> int:
        """Approximate width on the page."""
        return CELL_PIXELS * (len(self.generations) + 4)


def factor_map(chain: Chain) -> FactorMap | None:
    """The map of a chain; None if no factors are known."""
    records = [record for record in chain.records if record.factor_shares]
    if not records:
        return None
    levels = records[0].factor_shares
    rows = [
        FactorRow(
            level=name,
            known=100 * first["known"],
            read=100 * first["real"],
            cells=shade(
                [record.factor_shares[name]["synthetic"] for record in records], real=first["known"], chain=chain
            ),
        )
        for name, first in list(levels.items())[:MAX_LEVELS]
    ]
    return FactorMap(generations=[record.generation for record in records], rows=rows, num_levels=len(levels))
