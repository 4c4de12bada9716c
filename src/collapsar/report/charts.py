"""The numbers behind the page's charts, as JSON values; the page's script only draws them."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from collapsar.report.arms import Arm
from collapsar.report.chains import Chain, tidy
from collapsar.report.intervals import bands
from collapsar.report.summaries import MAIN_METRICS
from collapsar.report.survival import class_survival
from collapsar.report.wording import metric_title

# What a law expects of a chain: a value for each of its generations, or None where no law applies to the metric.
Expected = Callable[[Chain, str], Sequence[float] | None]
HIDDEN_SUFFIXES = ("_floor", "_low", "_high")


def chart_content(arms: Sequence[Arm], *, expected: Expected | None = None) -> dict[str, Any]:
    """Everything that is drawn: chains with all digits, means with bands, floors, laws, survival of classes."""
    chains = [(index, chain) for index, arm in enumerate(arms) for chain in arm.chains if chain.records]
    metrics = drawn_metrics([chain for _, chain in chains])
    return {
        "arms": [arm.name for arm in arms],
        "titles": {metric: metric_title(metric) for metric in metrics},
        "chains": [_chain_content(index, chain) for index, chain in chains],
        "curves": _curves(arms, metrics),
        "floors": {metric: _floors([chain for _, chain in chains], metric) for metric in metrics},
        "laws": {metric: _laws(chains, metric, expected) for metric in metrics} if expected else {},
        "survival": _survival(arms),
    }


def drawn_metrics(chains: Sequence[Chain]) -> list[str]:
    """The metric keys that are curves of their own, the main ones first."""
    keys = dict.fromkeys(key for chain in chains for record in chain.records for key in record.metrics)
    others = [key for key in keys if not key.endswith(HIDDEN_SUFFIXES) and key not in MAIN_METRICS]
    return [*(key for key in MAIN_METRICS if key in keys), *others]


def _chain_content(arm: int, chain: Chain) -> dict[str, Any]:
    keys = dict.fromkeys(key for record in chain.records for key in record.metrics)
    return {
        "arm": arm,
        "label": chain.label,
        "seed": chain.seed,
        "generations": [record.generation for record in chain.records],
        "metrics": {key: [record.metrics.get(key) for record in chain.records] for key in keys},
    }


def _curves(arms: Sequence[Arm], metrics: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """By metric, for each arm that measured it: mean and 95 % band over seeds at each generation."""
    tables = [tidy(arm.complete).assign(arm=index) for index, arm in enumerate(arms)]
    values = pd.concat(tables)
    table = bands(values[values["metric"].isin(metrics)])
    curves: dict[str, list[dict[str, Any]]] = {metric: [] for metric in metrics}
    for (arm, metric), rows in table.sort_values("generation").groupby(["arm", "metric"]):
        columns = {name: _numbers(rows[name]) for name in ("mean", "low", "high")}
        curves[metric].append({"arm": int(arm), "generations": rows["generation"].tolist(), **columns})
    return curves


def _numbers(column: pd.Series) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in column]


def _floors(chains: Sequence[Chain], metric: str) -> list[dict[str, Any]]:
    """The mean real-against-real value of each data source that has one."""
    found: dict[str, list[float]] = {}
    for record in (record for chain in chains for record in chain.records):
        if (value := record.metrics.get(f"{metric}_floor")) is not None:
            found.setdefault(record.data, []).append(value)
    return [{"label": name, "value": float(np.mean(values))} for name, values in found.items()]


def _laws(chains: Sequence[tuple[int, Chain]], metric: str, expected: Expected) -> list[dict[str, Any]]:
    """The law of each arm's first chain that has one."""
    laws: dict[int, dict[str, Any]] = {}
    for arm, chain in chains:
        if arm not in laws and (values := expected(chain, metric)) is not None:
            generations = [record.generation for record in chain.records]
            laws[arm] = {"arm": arm, "generations": generations, "values": [float(value) for value in values]}
    return list(laws.values())


def _survival(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    curves = [(index, class_survival(arm.distinct)) for index, arm in enumerate(arms)]
    return [{"arm": index, **asdict(curve)} for index, curve in curves if curve is not None]
