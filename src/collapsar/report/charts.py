"""The numbers behind the page's charts, as JSON values; the page's script only draws them."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from collapsar.judging.metric_keys import SHARE, bounds_of, headline, title_of
from collapsar.report.families import is_curve
from collapsar.study.arms import Arm
from collapsar.study.chains import Chain
from collapsar.study.intervals import bands
from collapsar.study.survival import class_survival
from collapsar.theory.fitted import values_of
from collapsar.theory.laws import laws_of


def chart_content(arms: Sequence[Arm]) -> dict[str, Any]:
    """All that the charts show: chains with all digits, means with bands, floors, laws, survival of classes."""
    chains = [(index, chain) for index, arm in enumerate(arms) for chain in arm.chains if chain.records]
    metrics = drawn_metrics([chain for _, chain in chains])
    return {
        "arms": [arm.name for arm in arms],
        "titles": {metric: title_of(metric) for metric in metrics},
        "shares": [metric for metric in metrics if bounds_of(metric) == SHARE],
        "chains": [_chain_content(index, chain) for index, chain in chains],
        "curves": _curves(arms, metrics),
        "floors": {metric: _floors([chain for _, chain in chains], metric) for metric in metrics},
        "laws": _laws(arms, metrics),
        "survival": _survival(arms),
    }


def drawn_metrics(chains: Sequence[Chain]) -> list[str]:
    """Metric keys that get a curve of their own, the headline first."""
    keys = dict.fromkeys(key for chain in chains for record in chain.records for key in values_of(record))
    leading = headline()
    others = [key for key in keys if is_curve(key) and key not in leading]
    return [*(key for key in leading if key in keys), *others]


def _chain_content(arm: int, chain: Chain) -> dict[str, Any]:
    values = [values_of(record) for record in chain.records]
    keys = dict.fromkeys(key for own in values for key in own)
    return {
        "arm": arm,
        "label": chain.label,
        "seed": chain.seed,
        "generations": [record.generation for record in chain.records],
        "metrics": {key: _series([own.get(key) for own in values]) for key in keys},
    }


def _series(values: list[float | None]) -> list[float | None] | float:
    """One value for each generation; a single number if all are equal, as floors are."""
    constant = values[0]
    return constant if constant is not None and values.count(constant) == len(values) > 1 else values


def _curves(arms: Sequence[Arm], metrics: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """By metric and arm: mean and 95 % band over seeds at each generation."""
    curves: dict[str, list[dict[str, Any]]] = {metric: [] for metric in metrics}
    for index, arm in enumerate(arms):
        values = _measured(arm, metrics)
        table = bands(values) if len(values) else values
        for metric, rows in table.sort_values("generation").groupby("metric"):
            columns = {name: _numbers(rows[name]) for name in ("mean", "low", "high")}
            curves[metric].append({"arm": index, "generations": rows["generation"].tolist(), **columns})
    return curves


def _measured(arm: Arm, metrics: Sequence[str]) -> pd.DataFrame:
    """A row for each metric and generation of the counted chains; the last values of ended chains are carried on."""
    found = [(record.generation, values_of(record)) for chain in arm.counted for record in chain.records] + [
        (generation, chain.last_values)
        for chain in arm.carried
        for generation in range(chain.last_generation + 1, arm.horizon + 1)
    ]
    rows = [(key, generation, own[key]) for generation, own in found for key in metrics if key in own]
    return pd.DataFrame(rows, columns=["metric", "generation", "value"])


def _numbers(column: pd.Series) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in column]


def _floors(chains: Sequence[Chain], metric: str) -> list[dict[str, Any]]:
    """The mean floor (real against real) of each data source that has one."""
    found: dict[str, list[float]] = {}
    for record in (record for chain in chains for record in chain.records):
        if (value := record.metrics.get(f"{metric}_floor")) is not None:
            found.setdefault(record.data, []).append(value)
    return [{"label": name, "value": float(np.mean(values))} for name, values in found.items()]


def _laws(arms: Sequence[Arm], metrics: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """By metric, the law of each arm that has one, at the generations of the arm's longest chain."""
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


def _survival(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    curves = [(index, class_survival(arm.distinct, horizon=arm.horizon)) for index, arm in enumerate(arms)]
    return [{"arm": index, **asdict(curve)} for index, curve in curves if curve is not None]
