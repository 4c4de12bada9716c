"""Curves: the numbers of the charts that the page's script draws, and two small ones that need no script."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd

from collapsar.judging.metric_keys import (
    FAMILIES,
    FITTED,
    FITTED_SPACE,
    SHARE,
    bounds_of,
    family_of,
    headline,
    split_class,
    split_column,
    split_key,
    title_of,
)
from collapsar.report.wording import number_text
from collapsar.study.arms import Arm
from collapsar.study.chains import Chain
from collapsar.study.intervals import bands
from collapsar.study.study import Study
from collapsar.study.survival import class_survival
from collapsar.theory.fitted import values_of
from collapsar.theory.laws import laws_of

WIDTH, HEIGHT = 400, 100  # of the box of a curve, in the units of its SVG
LABEL_HEIGHT = 15.0  # labels at the ends of curves stay this far apart
LOOKED_AT_FIRST = ("recall", "fid")
BAND = ("mean", "low", "high")
MAX_COLOURED = 6  # of more arms, only those that are pictured have a colour


def content(study: Study) -> dict[str, Any] | None:
    """The headline metrics, then the other families, once a chain counts."""
    if not study.counted:
        return None
    charts = chart_content(study.arms)
    leading = [key for key in headline() if key in charts["titles"]]
    return {
        "headline": leading,
        "families": _families([key for key in charts["titles"] if key not in leading]),
        "with_all_digits": len(study.chains) <= 24,  # with more chains, only the download has them
        "charts": charts,
    }


def paths(study: Study) -> dict[str, Any] | None:
    """Paths if precision and recall were measured, survival if classes were counted."""
    has_path, survival = {"precision", "recall"} <= set(_drawn_metrics(study.chains)), survival_curves(study)
    if not has_path and not survival:
        return None
    title = "Precision and recall" if not survival else "Precision, recall, survival" if has_path else "Survival"
    return {"title": title, "has_path": has_path, "charts": {"survival": survival}}


def survival_curves(study: Study) -> list[dict[str, Any]]:
    """The survival of classes in each arm that counted them, with the arm's index."""
    curves = [(index, class_survival(arm.distinct, horizon=arm.horizon)) for index, arm in enumerate(study.arms)]
    return [{"arm": index, **asdict(curve)} for index, curve in curves if curve is not None]


def chart_content(arms: Sequence[Arm]) -> dict[str, Any]:
    """All that the curves show: chains with all digits, means with bands, floors, laws."""
    chains = [(index, chain) for index, arm in enumerate(arms) for chain in arm.chains if chain.records]
    metrics = _drawn_metrics([chain for _, chain in chains])
    return {
        "arms": [arm.name for arm in arms],
        "titles": {metric: title_of(metric) for metric in metrics},
        "shares": [metric for metric in metrics if bounds_of(metric) == SHARE],
        "chains": [_chain_content(index, chain) for index, chain in chains],
        "curves": mean_curves(arms, metrics),
        "floors": {metric: floors([chain for _, chain in chains], metric) for metric in metrics},
        "laws": _laws(arms, metrics),
    }


def is_curve(key: str) -> bool:
    """Whether a key has its own curve: floors and bounds belong to other keys, classes and columns to heat maps."""
    return not split_key(key).suffix and split_class(key) is None and split_column(key) is None


def _drawn_metrics(chains: Sequence[Chain]) -> list[str]:
    keys = dict.fromkeys(key for chain in chains for record in chain.records for key in values_of(record))
    leading = headline()
    return [*(key for key in leading if key in keys), *(key for key in keys if is_curve(key) and key not in leading)]


def _families(metrics: Sequence[str]) -> list[tuple[str, list[str], bool]]:
    """Metrics by family and feature space, in the order of FAMILIES: title, keys, and whether it is unfolded."""
    groups: dict[tuple[int, str], list[str]] = {}
    for key in metrics:
        groups.setdefault((FAMILIES.index(family_of(key)), split_key(key).space), []).append(key)
    found = []
    for (rank, space), keys in sorted(groups.items()):
        family = FAMILIES[rank]
        found.append((family if space in ("", FITTED_SPACE) else f"{family}, in {space}", keys, family == FITTED))
    return found


def _chain_content(arm: int, chain: Chain) -> dict[str, Any]:
    """The values of a chain in each generation; of a metric that never changes, as floors do not, a single number."""
    values = [values_of(record) for record in chain.records]
    series = {key: [own.get(key) for own in values] for key in dict.fromkeys(key for own in values for key in own)}
    return {
        "arm": arm,
        "label": chain.label,
        "seed": chain.seed,
        "generations": [record.generation for record in chain.records],
        "metrics": {key: own[0] if len(own) > 1 and len(set(own)) == 1 else own for key, own in series.items()},
    }


def mean_curves(arms: Sequence[Arm], metrics: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """By metric and arm: mean and 95 % band over seeds at each generation; ended chains keep their last values."""
    curves: dict[str, list[dict[str, Any]]] = {metric: [] for metric in metrics}
    for index, arm in enumerate(arms):
        measured = [(record.generation, values_of(record)) for chain in arm.counted for record in chain.records]
        for chain in arm.carried:
            later = range(chain.last_generation + 1, arm.horizon + 1)
            measured += [(generation, chain.last_values) for generation in later]
        rows = [(key, generation, own[key]) for generation, own in measured for key in metrics if key in own]
        if rows:
            table = bands(pd.DataFrame(rows, columns=["metric", "generation", "value"]))
            points = table.sort_values(["metric", "generation"]).to_dict("records")
            for metric, group in groupby(points, key=itemgetter("metric")):  # pandas takes ten times as long
                own = list(group)
                band = {name: [None if math.isnan(each[name]) else each[name] for each in own] for name in BAND}
                curves[metric].append({"arm": index, "generations": [each["generation"] for each in own]} | band)
    return curves


def floors(chains: Sequence[Chain], metric: str) -> list[dict[str, Any]]:
    """The mean floor (real against real) of each data source that has one."""
    found: dict[str, list[float]] = {}
    for record in (record for chain in chains for record in chain.records):
        if (value := record.metrics.get(f"{metric}_floor")) is not None:
            found.setdefault(record.data, []).append(value)
    return [{"label": name, "value": float(np.mean(values))} for name, values in found.items()]


def _laws(arms: Sequence[Arm], metrics: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {metric: [] for metric in metrics}
    for index, arm in enumerate(arms):
        longest = max(arm.chains, key=lambda chain: len(chain.records))
        generations = [record.generation for record in longest.records]
        for metric, law in laws_of(longest.config).items():
            if metric in found:
                values = [float(law.at(generation)) for generation in generations]
                wording = {"formula": law.formula, "source": law.source}
                found[metric].append({"arm": index, "generations": generations, "values": values} | wording)
    return found


def glances(study: Study, *, leading: Sequence[Arm]) -> list[dict[str, Any]]:
    """The curves; `leading` arms are drawn on top, and of many arms alone in colour."""
    found = [key for key in LOOKED_AT_FIRST if key in study.main_metrics] or study.main_metrics[:2]
    if not any(arm.horizon for arm in study.arms):
        return []
    curves = mean_curves(study.arms, found)
    return [_glance(study, key, curves[key], leading=leading) for key in found if curves[key]]


def _glance(study: Study, key: str, curves: Sequence[dict[str, Any]], *, leading: Sequence[Arm]) -> dict[str, Any]:
    """A metric's lines (`points` of SVG; in the background without `label_y`), heights of floors, and ends of axes."""
    floor_values = [floor["value"] for floor in floors([chain for arm in study.arms for chain in arm.chains], key)]
    lowest, highest = value_axis(key, [value for curve in curves for value in curve["mean"]] + floor_values)
    last = max(max(curve["generations"]) for curve in curves) or 1

    def height(value: float) -> float:
        return round(HEIGHT * (highest - value) / (highest - lowest), 1)

    def line(curve: dict[str, Any], label_y: float | None) -> dict[str, Any]:
        pairs = zip(curve["generations"], curve["mean"], strict=True)
        points = " ".join(f"{WIDTH * generation / last:.1f},{height(value)}" for generation, value in pairs)
        return {"arm": curve["arm"], "points": points, "last": number_text(curve["mean"][-1]), "label_y": label_y}

    are_few = len(curves) <= MAX_COLOURED
    bright = [curve for curve in curves if are_few or any(study.arms[curve["arm"]] is arm for arm in leading)]
    bright.sort(key=lambda curve: height(curve["mean"][-1]))
    places = _apart([height(curve["mean"][-1]) for curve in bright])
    ends = [
        f"{study.arms[curve['arm']].name} from {number_text(curve['mean'][0])} to {number_text(curve['mean'][-1])}"
        for curve in bright
    ]
    return {
        "metric": key,
        "lines": [
            *(line(curve, None) for curve in curves if curve not in bright),
            *(line(curve, place) for curve, place in zip(bright, places, strict=True)),
        ],
        "floors": [height(value) for value in floor_values],
        "lowest": number_text(lowest),
        "highest": number_text(highest),
        "last_generation": last,
        "description": f"{title_of(key)} by generation: {'; '.join(ends)}",
    }


def value_axis(key: str, values: Sequence[float]) -> tuple[float, float]:
    """The ends of the axis: the metric's bounds or, if it has none, zero and the values."""
    bounds = bounds_of(key)
    return bounds if all(map(math.isfinite, bounds)) else (min(0.0, *values), max(0.0, *values) or 1.0)


def _apart(heights: Sequence[float]) -> list[float]:
    """Heights of labels, from top to bottom, moved so that none overlap and the last stays in the box."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + LABEL_HEIGHT) if placed else height)
    over = max(0.0, placed[-1] - HEIGHT) if placed else 0.0
    return [round(height - over + 4, 1) for height in placed]
