"""What a score holds: the values of each set as frame, JSON, page without scripts, and table of the terminal."""

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text
from torch import Tensor

from collapsar.foundations import __version__
from collapsar.foundations.files import write_atomically
from collapsar.judging.comparison import Comparison
from collapsar.judging.evaluator import Scores
from collapsar.judging.metric_keys import (
    FAMILIES,
    MAIN,
    family_of,
    find_metric,
    headline,
    split_class,
    split_key,
    title_of,
)
from collapsar.report.sections.films import data_uri, encode, evenly
from collapsar.report.sections.phase import draw
from collapsar.report.templating import template
from collapsar.report.wording import MISSING, number_text
from collapsar.scoring.yardstick import Yardstick
from collapsar.study.intervals import Interval

NUM_EXAMPLES = 12
MAX_PICTURED = 6  # sets whose samples are shown
MAX_CLASSES = 40


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Samples of one set: tensors in the sample convention, or data frames with rows of a table."""

    worst: Any  # farthest from any held-out real sample, in radii of the ball of the nearest one; the worst first
    worst_ratios: list[float]
    nearest: Any  # nearest to a training sample, in distances from that one to its own nearest; the nearest first
    training: Any  # the training sample beside each of `nearest`
    nearest_ratios: list[float]


@dataclass(frozen=True, kw_only=True)
class ScoredSet:
    """One synthetic set and its scores."""

    name: str
    num_given: int  # by the user; `scores.num_synthetic` were measured
    scores: Scores
    yardstick: Yardstick
    examples: Examples

    @property
    def metrics(self) -> dict[str, float]:
        """Values by metric key, as in a record: also `_floor`, `_low` and `_high`."""
        return self.scores.metrics

    @property
    def sizes(self) -> str:
        """What was compared, in words."""
        scores, floor = self.scores, self.yardstick.floor_size
        sides = (scores.num_synthetic, self.num_given), (scores.num_real, self.yardstick.num_real)
        synthetic, real = (f"{some:,}" if some == given else f"{some:,} of {given:,}" for some, given in sides)
        text = f"{synthetic} synthetic samples against {real} of {self.yardstick.real_name}"
        if not floor:
            return f"{text}; no floor"
        smaller = ", fewer than measured: a floor of this size is higher" if floor < scores.num_real else ""
        return f"{text}; floor: {floor:,} real samples against {floor:,} others{smaller}"

    @property
    def spaces(self) -> str:
        """The feature spaces in words; keys of the first have no prefix."""
        first, *others = self.scores.feature_spaces.values()
        names = [f"{first['name']} ({first['feature_dim']} features)", *(f"{each['name']}/" for each in others)]
        return ", ".join(names)


def values_of(metrics: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """The metrics without floors and ends of intervals."""
    return ((key, value) for key, value in metrics.items() if not split_key(key).suffix)


def better(key: str) -> str:
    """`higher` or `lower`; empty if neither is better."""
    return getattr(find_metric(key), "better", None) or ""


def arrow(key: str) -> str:
    """The better direction as an arrow."""
    return {"higher": "↑", "lower": "↓"}.get(better(key), "")


def cells(metrics: Mapping[str, float], key: str) -> tuple[str, str, str]:
    """Value, interval and floor of a metric in words."""
    low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
    interval = MISSING if low is None else f"[{number_text(low)}, {number_text(high)}]"
    return number_text(metrics.get(key)), interval, number_text(metrics.get(f"{key}_floor"))


def examples_of(comparison: Comparison) -> Examples:
    """The samples to look at, by the features of one space."""
    real, side, values = comparison.real, comparison.real.training_side, comparison.samples.values
    far, far_ratios, _ = _ranked(comparison, to=real.features, radii=real.side.radii, largest=True)
    near, near_ratios, nearest = _ranked(comparison, to=side.features, radii=side.nearest_distances, largest=False)
    shown = real.table.decode if real.table else lambda chosen: chosen
    return Examples(
        worst=shown(values[far]),
        worst_ratios=far_ratios,
        nearest=shown(values[near]),
        training=shown(real.training[nearest]),
        nearest_ratios=near_ratios,
    )


def _ranked(comparison: Comparison, *, to: Tensor, radii: Tensor, largest: bool) -> tuple[Tensor, list[float], Tensor]:
    """The samples with the largest or smallest ratios, these, and the nearest reference of each."""
    distances, nearest = comparison.nearest(to)
    ratios = distances / radii[nearest].double().clamp(min=1e-12)
    top = ratios.topk(min(NUM_EXAMPLES, len(ratios)), largest=largest)
    return top.indices.cpu(), top.values.tolist(), nearest[top.indices].cpu()


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
        columns = ["set", "metric", "value", "low", "high", "floor", "better"]
        rows = []
        for each in self.sets:
            for key, value in values_of(each.metrics):
                around = (each.metrics.get(f"{key}_{end}") for end in ("low", "high", "floor"))
                rows.append((each.name, key, value, *around, better(key)))
        return pd.DataFrame(rows, columns=columns)

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
        families = {name: [key for key in self.keys if family_of(key) == name] for name in FAMILIES}
        pictured = [self.sets[place] for place in evenly(len(self.sets), MAX_PICTURED)]
        page = template("score.html.jinja", beside=__name__).render(
            score=self,
            families=families,
            curves=[curve for key in self.main_keys if (curve := _curve(self.sets, key))],
            examples=[(each, _pictures(each.examples)) for each in pictured],
            classes=[(each, _classes(each)) for each in pictured if each.scores.class_shares],
            arrow=arrow,
            better=better,
            cells=cells,
            number=number_text,
            versions={"collapsar": __version__, "torch": torch.__version__, "python": platform.python_version()},
        )
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, page.encode())
        return path

    @cached_property
    def keys(self) -> list[str]:
        """The keys of all values."""
        return list(dict.fromkeys(key for each in self.sets for key, _ in values_of(each.metrics)))

    @cached_property
    def shown_keys(self) -> list[str]:
        """The keys of the first space that tables show: all but those of single classes and columns."""
        return [key for key in self.keys if not split_key(key).space and split_class(key) is None]

    @property
    def main_keys(self) -> list[str]:
        """The keys that stand before all others, as far as they were measured."""
        return [key for key in dict.fromkeys((*MAIN, *headline())) if key in self.shown_keys]

    @property
    def floor(self) -> Mapping[str, float]:
        """The floor by metric key; empty if the sets differ in it."""
        first, *others = (each.yardstick.evaluator.floor for each in self.sets)
        return first if all(other == first for other in others) else {}

    def table(self) -> Group:
        """The table of the terminal: all metrics of one set, or the main ones of several."""
        first, is_one = self.sets[0], len(self.sets) == 1
        lines = [first.sizes, f"space: {first.spaces}"]
        if left_out := len(self.keys) - len(self.shown_keys):
            lines.append(f"{left_out} more values, of classes and of other spaces: --json, --csv or --html")
        title = Text(first.name) if is_one else None
        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
        keys = self.shown_keys if is_one else self.main_keys
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


def _curve(sets: Sequence[ScoredSet], key: str) -> dict[str, Any] | None:
    """One metric over the sets, with the floor as its threshold; None if fewer than two sets have it."""
    found = [(float(place), each.metrics) for place, each in enumerate(sets) if key in each.metrics]
    if len(found) < 2:
        return None
    points = [
        (place, Interval(mean=one[key], low=one.get(f"{key}_low"), high=one.get(f"{key}_high"), num_seeds=1))
        for place, one in found
    ]
    drawing = draw(key, points, threshold=found[0][1].get(f"{key}_floor"), crossing=None)
    return {"metric": key, "points": points, "drawing": drawing}


def _classes(each: ScoredSet) -> list[tuple[str, float, float]]:
    """Name, real and synthetic share in percent of each class; of many, the most common real ones."""
    shares, names = each.scores.class_shares, each.yardstick.class_names
    rows = [
        (names[place] if place < len(names) else str(place), 100 * real, 100 * synthetic)
        for place, (real, synthetic) in enumerate(zip(shares["real"], shares["synthetic"], strict=True))
    ]
    return sorted(sorted(rows, key=lambda row: -row[1])[:MAX_CLASSES], key=rows.index)


def _pictures(examples: Examples) -> dict[str, Any]:
    worst, nearest, training = examples.worst, examples.nearest, examples.training
    if isinstance(worst, pd.DataFrame):
        pairs = [pd.concat([nearest.iloc[[place]], training.iloc[[place]]]) for place in range(len(nearest))]
        return {"worst_rows": worst, "pairs": pairs}
    if worst.ndim != 4:
        return {}
    columns = {"worst": [worst], "nearest": [nearest, training]}
    return {name: data_uri(encode(torch.stack(rows, dim=1).numpy())) for name, rows in columns.items()}
