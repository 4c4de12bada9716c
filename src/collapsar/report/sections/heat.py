"""Heat maps: tables of shaded cells, which the macro `heat` lays out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A value as it is shown.

    Attributes:
        tone: The colour: above or below what it is compared with, or dead.
        shade: Strength of the colour, 0 to 100.
        is_drift: Whether neutral drift explains the value.
    """

    text: str
    tone: Literal["over", "under", "dead", ""] = ""
    shade: int = 0
    is_drift: bool = False


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """Rows of shaded cells.

    Attributes:
        heads: Headings of the names of rows, and of what is known about them.
        columns: Headings of the cells, such as generations.
        rows: Each name, with what is known about it as text, and its cells.
        num_rows: All rows that there are, shown or not.
    """

    heads: tuple[str, ...]
    columns: Sequence[Any]
    rows: list[tuple[Any, list[str], list[Cell]]]
    num_rows: int

    @property
    def pixels(self) -> int:
        """Approximate width on the page, where a cell with its gap has 40 pixels (report.css)."""
        return 40 * (len(self.columns) + 2 * max(1, len(self.heads) - 1))
