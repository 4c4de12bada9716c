"""What a score holds: the values of each set as frame, JSON, page, and the table of the terminal."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from collapsar.files import write_atomically
from collapsar.judging.metric_lookup import split_class, split_key, title_of
from collapsar.report.wording import number_text
from collapsar.scoring.page import render
from collapsar.scoring.scored_set import ScoredSet, arrow, better, cells, main_keys, values_of

COLUMNS = ("set", "metric", "value", "low", "high", "floor", "better")


@dataclass(frozen=True, kw_only=True, repr=False)
class Score:
    """Scores of one synthetic set or several against one real side."""

    sets: tuple[ScoredSet, ...]
    notes: tuple[str, ...] = ()  # what was converted, left out or chosen when the samples were read

    @property
    def metrics(self) -> dict[str, Any]:
        """Values by metric key, with `_floor`, `_low` and `_high`; of several sets, such values by the set's name."""
        return self.sets[0].metrics if len(self.sets) == 1 else {each.name: each.metrics for each in self.sets}

    def to_frame(self) -> pd.DataFrame:
        """One row for each set and metric: value, interval, floor, and the better direction."""
        rows = []
        for each in self.sets:
            for key, value in values_of(each.metrics):
                around = (each.metrics.get(f"{key}_{end}") for end in ("low", "high", "floor"))
                rows.append((each.name, key, value, *around, better(key)))
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def to_json(self) -> str:
        """All values and what they were measured with."""
        of_scores = ("num_synthetic", "num_real", "metrics", "class_shares", "factor_shares", "feature_spaces")
        sets = [
            {"name": each.name, "num_given": each.num_given}
            | {"num_floor": each.yardstick.floor_size, "real": each.yardstick.real_name}
            | {key: getattr(each.scores, key) for key in of_scores}
            for each in self.sets
        ]
        return json.dumps({"notes": self.notes, "sets": sets}, indent=1, allow_nan=False) + "\n"

    def to_html(self, path: str | Path) -> Path:
        """Write a page with the table, curves of several sets, samples, classes and memorisation; return its path."""
        page = render(self.sets, notes=self.notes, floor=self.floor, shown_keys=self.shown_keys)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, page.encode())
        return path

    @cached_property
    def shown_keys(self) -> list[str]:
        """The keys of the first space that tables show: all but those of single classes and columns."""
        keys = dict.fromkeys(key for each in self.sets for key, _ in values_of(each.metrics))
        return [key for key in keys if not split_key(key).space and split_class(key) is None]

    @property
    def floor(self) -> Mapping[str, float]:
        """The floor by metric key; empty if the sets differ in it."""
        first, *others = (each.yardstick.evaluator.floor for each in self.sets)
        return first if all(other == first for other in others) else {}

    def table(self) -> Group:
        """The table of the terminal: all metrics of one set, or the main ones of several."""
        first, is_one = self.sets[0], len(self.sets) == 1
        left_out = len(self.to_frame()["metric"].unique()) - len(self.shown_keys)
        lines = [first.sizes, f"space: {first.spaces}"]
        if left_out:
            lines.append(f"{left_out} more values, of classes and of other spaces: --json, --csv or --html")
        title = Text(first.name) if is_one else None
        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
        keys = self.shown_keys if is_one else main_keys(self.shown_keys)
        titles = ("metric", "value", "interval", "floor", "better")
        for name in titles if is_one else ("set", *(f"{title_of(key)} {arrow(key)}".rstrip() for key in keys)):
            table.add_column(name, justify="left" if name in ("set", "metric", "better") else "right")
        if is_one:
            for key in keys:
                table.add_row(title_of(key), *cells(first.metrics, key), better(key))
            return Group(table, *map(Text, lines))
        for each in self.sets:
            table.add_row(Text(each.name), *(number_text(each.metrics.get(key)) for key in keys))
        if self.floor:
            table.add_section()
            table.add_row("floor", *(number_text(self.floor.get(key)) for key in keys))
        return Group(table, *map(Text, lines))

    def __repr__(self) -> str:
        console = Console(file=StringIO(), width=110, color_system=None)
        console.print(self.table(), *map(Text, self.notes), sep="\n")
        return console.file.getvalue().rstrip()  # type: ignore[attr-defined]
