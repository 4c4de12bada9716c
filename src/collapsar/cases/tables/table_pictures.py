"""Pictures of a table through the generations: histograms of columns, associations, and generated rows.

They are read from the `table.json` that a chain stores for each generation; chains of other samples have none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from collapsar.foundations.words import listed
from collapsar.report.sections import panels
from collapsar.study.chains import Chain, row_picture
from collapsar.study.study import Study

CELL_WIDTH, CELL_HEIGHT = 132, 44  # pixels of a histogram
MOST_COLUMNS = 24  # those whose histogram moved most
COLUMNS_AT_ONCE = 8  # the others are folded
MOST_ASSOCIATED = 16  # of a heat map: those whose associations changed most
SHADES = 10


@dataclass(frozen=True, kw_only=True)
class ColumnPicture:
    """The histograms of a column, in one scale."""

    name: str
    values: str  # its categories, or the two ends of the histogram of numbers
    highest: float  # share in all histograms
    bars: list[tuple[list[float], float]]  # of real rows, then of each generation: shares, missing values in percent
    moved: float  # total variation distance of the last histogram from the real one, in percent


Shade = tuple[str, float, str]  # cells of one colour: `over` above 0 or `under`, its strength in [0, 1], their path


@dataclass(frozen=True, kw_only=True)
class TablePicture:
    """All pictures of one chain."""

    generations: list[int]  # the first, the middle and the last one
    columns: list[ColumnPicture]  # those whose histogram moved most, furthest first
    names: list[str]  # of the association maps: columns whose associations changed most
    maps: dict[str, list[Shade]]  # associations by title, in cells of width 1: real, last generation, difference
    sheets: list[tuple[int, list[list[tuple[str, bool]]]]]  # generation, its first rows as texts, whether invalid
    header: list[str]  # names of all columns

    @property
    def pixels(self) -> int:
        """Approximate width on the page."""
        return 150 + (CELL_WIDTH + 12) * (1 + len(self.generations))


def content(study: Study) -> dict[str, Any] | None:
    """Pictures of each arm's chains; None if no chain is of a table."""
    pictures = panels(study, table_picture)
    return pictures and pictures | {"cell": (CELL_WIDTH, CELL_HEIGHT), "columns_at_once": COLUMNS_AT_ONCE}


def table_picture(chain: Chain) -> TablePicture | None:
    """The pictures of a chain; None if it stored none of a table, or what it stored cannot be read."""
    found = {record.generation: row_picture(chain, record.generation) for record in chain.records}
    known = sorted(generation for generation, content in found.items() if content is not None)
    if not known:
        return None
    shown = sorted({known[0], known[len(known) // 2], known[-1]})
    try:
        return _draw(shown, [found[generation] for generation in shown])
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):  # another program may have written it
        return None


def _draw(generations: list[int], pictures: Sequence[Any]) -> TablePicture:
    columns = [_column(stored) for stored in zip(*(picture["columns"] for picture in pictures), strict=False)]
    furthest = sorted(columns, key=lambda column: -column.moved)[:MOST_COLUMNS]
    real, last = (np.array(pictures[-1]["association"][side], dtype=np.float64) for side in ("real", "synthetic"))
    real, last = (matrix[: len(columns), : len(columns)].clip(-1.0, 1.0) for matrix in (real, last))
    changes = np.nan_to_num(np.abs(last - real)).sum(axis=0)
    shown = np.sort(np.argsort(-changes, kind="stable")[:MOST_ASSOCIATED])
    cells = np.ix_(shown, shown)
    return TablePicture(
        generations=generations,
        columns=furthest,
        names=[columns[place].name for place in shown],
        maps={
            "Real rows": _shades(real[cells]),
            f"Generation {generations[-1]}": _shades(last[cells]),
            "Difference": _shades((last - real)[cells]),
        },
        sheets=[
            (number, [[(str(cell["text"]), bool(cell["is_outside"])) for cell in row] for row in picture["rows"]])
            for number, picture in zip(generations, pictures, strict=True)
        ],
        header=[column.name for column in columns],
    )


def _column(stored: Sequence[Mapping[str, Any]]) -> ColumnPicture:
    first = stored[0]
    real = _shares(first["real"])
    drawn = [_shares(one["synthetic"]) for one in stored]
    missing = [first["missing"]["real"], *(one["missing"]["synthetic"] for one in stored)]
    labels = [str(label) for label in first["labels"]]
    is_category = first["kind"] == "category"
    return ColumnPicture(
        name=str(first["name"]),
        values=listed(labels, most=4) if is_category else f"{labels[0]} to {labels[1]}",
        highest=max(float(shares.max()) for shares in (real, *drawn)) or 1.0,
        bars=[(shares.tolist(), 100 * float(share)) for shares, share in zip((real, *drawn), missing, strict=True)],
        moved=50 * float(np.abs(drawn[-1] - real).sum()),
    )


def _shares(stored: Any) -> np.ndarray:
    shares = np.asarray(stored, dtype=np.float64)
    if shares.ndim != 1 or not shares.size or not np.isfinite(shares).all():
        raise ValueError("a histogram has finite shares")
    return shares.clip(0.0, 1.0)


def _shades(matrix: np.ndarray) -> list[Shade]:
    """A heat map with one path for each colour, instead of one element for each cell."""
    levels = np.rint(np.nan_to_num(matrix) * SHADES).astype(int)
    shades = []
    for level in sorted(set(levels.ravel().tolist()) - {0}):
        cells = "".join(f"M{x} {y}h1v1h-1z" for y, x in zip(*np.nonzero(levels == level), strict=True))
        shades.append(("over" if level > 0 else "under", abs(level) / SHADES, cells))
    return shades
