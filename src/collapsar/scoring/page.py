"""The page of a score: one HTML file without scripts."""

import base64
import io
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from collapsar import __version__
from collapsar.journal.store import tile
from collapsar.judging.metric_keys import FAMILIES
from collapsar.judging.metric_lookup import family_of
from collapsar.report.templating import template
from collapsar.report.wording import number_text
from collapsar.scoring.examples import Examples
from collapsar.scoring.scored_set import ScoredSet, arrow, better, cells, main_keys, values_of

MAX_PICTURED = 6  # sets whose samples are shown
MAX_CLASSES = 40


def render(
    sets: Sequence[ScoredSet], *, notes: Sequence[str], floor: Mapping[str, float], shown_keys: Sequence[str]
) -> str:
    """The page of the scores of some sets, as HTML."""
    places = torch.linspace(0, len(sets) - 1, min(len(sets), MAX_PICTURED)).tolist()
    pictured, main = [sets[round(place)] for place in places], main_keys(shown_keys)
    return template("score.html.jinja", beside="collapsar.scoring.page").render(
        score={"sets": sets, "notes": notes, "floor": floor},
        families=[(family, keys) for family in FAMILIES if (keys := _keys(sets, family))],
        main=main,
        curves=[curve for key in main if (curve := _curve(sets, key))],
        examples=[(each, _pictures(each.examples)) for each in pictured],
        classes=[(each, _classes(each)) for each in pictured if each.scores.class_shares],
        arrow=arrow,
        better=better,
        cells=cells,
        number=number_text,
        versions={"collapsar": __version__, "torch": torch.__version__, "python": platform.python_version()},
    )


def _keys(sets: Sequence[ScoredSet], family: str) -> list[str]:
    """All keys of a family that any set measured."""
    keys = dict.fromkeys(key for each in sets for key, _ in values_of(each.metrics))
    return [key for key in keys if family_of(key) == family]


@dataclass(frozen=True)
class Curve:
    """One metric over the sets, in a picture of 300 x 120: points, whiskers, and the floor's height."""

    key: str
    line: str
    points: list[tuple[float, float, str]]
    whiskers: list[tuple[float, float, float]]
    floor: float | None
    low: str
    high: str


def _curve(sets: Sequence[ScoredSet], key: str) -> Curve | None:
    found = [(place, each) for place, each in enumerate(sets) if key in each.metrics]
    bounds = [
        each.metrics[name]
        for _, each in found
        for name in (key, f"{key}_low", f"{key}_high", f"{key}_floor")
        if name in each.metrics
    ]
    if len(found) < 2:
        return None
    low, high = min(bounds), max(bounds)

    def height(value: float) -> float:
        return round(110 - 100 * (value - low) / ((high - low) or 1.0), 1)

    def across(place: int) -> float:
        return round(10 + 280 * place / (len(sets) - 1), 1)

    points = [
        (across(place), height(each.metrics[key]), f"{each.name}: {number_text(each.metrics[key])}")
        for place, each in found
    ]
    floor = found[0][1].metrics.get(f"{key}_floor")
    return Curve(
        key=key,
        line=" ".join(f"{x},{y}" for x, y, _ in points),
        points=points,
        whiskers=[
            (across(place), height(each.metrics[f"{key}_low"]), height(each.metrics[f"{key}_high"]))
            for place, each in found
            if f"{key}_low" in each.metrics
        ],
        floor=None if floor is None else height(floor),
        low=number_text(low),
        high=number_text(high),
    )


def _classes(each: ScoredSet) -> list[tuple[str, float, float]]:
    """Name, real and synthetic share in percent of each class; of many, the most common real ones."""
    shares, names = each.scores.class_shares, each.yardstick.class_names
    rows = [
        (names[place] if place < len(names) else str(place), 100 * real, 100 * synthetic)
        for place, (real, synthetic) in enumerate(zip(shares["real"], shares["synthetic"], strict=True))
    ]
    return sorted(sorted(rows, key=lambda row: -row[1])[:MAX_CLASSES], key=rows.index)


def _pictures(examples: Examples) -> dict[str, Any]:
    """Pictures of image samples, or rows of a table; empty for other vectors."""
    worst, nearest, training = examples.worst, examples.nearest, examples.training
    if isinstance(worst, pd.DataFrame):
        assert isinstance(nearest, pd.DataFrame), "of one kind"
        assert isinstance(training, pd.DataFrame), "of one kind"
        pairs = [
            pd.concat([one, other], axis=1).T
            for (_, one), (_, other) in zip(nearest.iterrows(), training.iterrows(), strict=True)
        ]
        return {"worst_rows": worst, "pairs": pairs}
    if worst.ndim != 4:
        return {}
    assert isinstance(nearest, Tensor), "of one kind"
    assert isinstance(training, Tensor), "of one kind"
    return {
        "worst": _uri(worst, columns=len(worst)),
        "nearest": _uri(torch.cat([nearest, training]), columns=len(nearest)),
    }


def _uri(images: Tensor, *, columns: int) -> str:
    """Images in rows, as a data URI."""
    buffer = io.BytesIO()
    tile(images, num_columns=columns).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
