"""Heat maps generation x level of a known factor: which of them grew, shrank or are lost, beside their known shares."""

from dataclasses import dataclass

from collapsar.report.classes import CELL_PIXELS, Cell, shade
from collapsar.study.chains import Chain

MAX_LEVELS = 40


@dataclass(frozen=True, kw_only=True)
class FactorRow:
    """One level through the generations; shares are in percent.

    Attributes:
        level: Its name.
        known: Its share of the world, exactly.
        read: Its share of real samples as the classifier reads them: how far the classifier errs.
        cells: Its share of each generation's samples, shaded against the known one.
    """

    level: str
    known: float
    read: float
    cells: list[Cell]


@dataclass(frozen=True, kw_only=True)
class FactorMap:
    """The levels of one chain over its generations; of many, the first ones."""

    generations: list[int]
    rows: list[FactorRow]
    num_levels: int

    @property
    def pixels(self) -> int:
        """About its width on the page."""
        return CELL_PIXELS * (len(self.generations) + 4)


def factor_map(chain: Chain) -> FactorMap | None:
    """The map of a chain; None where no factors are known."""
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
