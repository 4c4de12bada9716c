"""The page of a score: one HTML file without scripts."""

import platform
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from collapsar import __version__
from collapsar.judging.metric_keys import FAMILIES
from collapsar.judging.metric_lookup import family_of
from collapsar.report.sections.films import data_uri, encode, evenly
from collapsar.report.sections.phase import draw
from collapsar.report.templating import template
from collapsar.report.wording import number_text
from collapsar.scoring.scored_set import Examples, ScoredSet, arrow, better, cells, main_keys, values_of
from collapsar.study.intervals import Interval

MAX_PICTURED = 6  # sets whose samples are shown
MAX_CLASSES = 40


def render(
    sets: Sequence[ScoredSet], *, notes: Sequence[str], floor: Mapping[str, float], shown_keys: Sequence[str]
) -> str:
    """The page of the scores of some sets, as HTML."""
    keys = list(dict.fromkeys(key for each in sets for key, _ in values_of(each.metrics)))
    pictured, main = [sets[place] for place in evenly(len(sets), MAX_PICTURED)], main_keys(shown_keys)
    return template("score.html.jinja", beside="collapsar.scoring.page").render(
        score={"sets": sets, "notes": notes, "floor": floor},
        families=[
            (family, found) for family in FAMILIES if (found := [key for key in keys if family_of(key) == family])
        ],
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
    """Pictures of image samples, or rows of a table; empty for other vectors."""
    worst, nearest, training = examples.worst, examples.nearest, examples.training
    if isinstance(worst, pd.DataFrame):
        pairs = [pd.concat([nearest.iloc[[place]], training.iloc[[place]]]) for place in range(len(nearest))]
        return {"worst_rows": worst, "pairs": pairs}
    if worst.ndim != 4:
        return {}
    columns = {"worst": [worst], "nearest": [nearest, training]}
    return {name: data_uri(encode(torch.stack(rows, dim=1).numpy())) for name, rows in columns.items()}
