"""From stored chains to the numbers that a finding is judged by: one for each seed.

A chain that broke down, was stopped by its alarm or was refused has the worst value of a metric from its end on.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from scipy import stats

from collapsar.findings.finding import LAW, PARAMETER, Finding, Statistic, key_of
from collapsar.foundations.errors import UsageError
from collapsar.foundations.record import GenerationRecord
from collapsar.journal.courses import half_life
from collapsar.judging.metric_keys import WITHOUT_SAMPLES, find_metric, split_key
from collapsar.study.chains import Chain
from collapsar.theory.fitted import values_of
from collapsar.theory.laws import laws_of

Curve: TypeAlias = list[tuple[int, float]]
Chains: TypeAlias = Mapping[str, Mapping[int, Chain]]  # by arm and seed


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The chains of a finding, and the configuration of each arm."""

    chains: Chains  # a control may exchange them
    configs: Mapping[str, Mapping[str, Any]]  # of each arm, from which its laws follow
    is_reversed: bool = False  # whether generations run backwards, as a control

    def swapped(self, finding: Finding) -> "Evidence":
        """Each arm with the chains of another one; generations reversed if the finding says the same of all arms."""
        arms = [*finding.arms]
        other = {arm: arms[index - len(arms) // 2] for index, arm in enumerate(arms)}  # half of all away
        plain = {own.model_copy(update={"name": ""}) for own in finding.statistics}
        swap = {own: {arm: other.get(getattr(own, arm)) for arm in ("arm", "minus")} for own in plain}
        exchanged = {own.model_copy(update=update) for own, update in swap.items()}
        if plain == exchanged and all(own.arm for own in plain):
            return replace(self, is_reversed=True)
        return replace(self, chains={arm: self.chains[other[arm]] for arm in arms})


def seed_values(finding: Finding, statistic: Statistic, evidence: Evidence, *, space: str = "") -> dict[int, float]:
    """The statistic of each seed; in another feature space if one is named. NaN if it was not measured."""
    if statistic.reduce == "argmin":
        return _argmin(finding, statistic, evidence, space=space)
    assert statistic.arm is not None, "checked when it was loaded"
    found = _of_chains(statistic, evidence, statistic.arm, space=space)
    if statistic.minus is None:
        return found
    base = _of_chains(statistic, evidence, statistic.minus, space=space)
    return {seed: found[seed] - base[seed] for seed in found if seed in base}


def against_itself(statistic: Statistic, evidence: Evidence) -> dict[int, float]:
    """The baseline of a difference against itself: its first seeds minus as many others."""
    assert statistic.minus is not None, "only for differences"
    own = _of_chains(statistic, evidence, statistic.minus, space="")
    seeds, half = sorted(own), len(own) // 2
    return {seed: own[seed] - own[other] for seed, other in zip(seeds[:half], seeds[len(seeds) - half :], strict=True)}


def expected_value(statistic: Statistic, evidence: Evidence) -> float | None:
    """What a law or the finding expects; None if regions decide. UsageError if no exact law holds for the chain."""
    if statistic.expected != LAW:
        return None if statistic.expected is None else float(statistic.expected)
    found = []
    for arm in (statistic.arm, statistic.minus):
        if arm is not None:
            law = laws_of(evidence.configs[arm]).get(statistic.metric)
            if law is None or law.kind != "exact":
                problem = f"no exact law of {statistic.metric} holds for arm {arm}"
                raise UsageError(f"statistic {statistic.name!r}: {problem}")
            first = 0 if statistic.reduce == "ratio_to_first" else statistic.generations[0]
            curve = [(each, law.at(each)) for each in range(first, statistic.generations[1] + 1)]
            found.append(_reduced(statistic, curve, curve))
    return found[0] - found[1] if len(found) > 1 else found[0]


def _argmin(finding: Finding, statistic: Statistic, evidence: Evidence, *, space: str) -> dict[int, float]:
    set_by = {arm: [each for each in own if key_of(each) == statistic.over] for arm, own in finding.arms.items()}
    places = {arm: float(own[-1].partition("=")[2]) for arm, own in set_by.items() if own}
    if len(places) < 2:
        problem = f"two arms at least must set {statistic.over}: got {len(places)}"
        raise UsageError(f"statistic {statistic.name!r}: {problem}")
    mean = statistic.model_copy(update={"reduce": "mean"})
    values = {arm: _of_chains(mean, evidence, arm, space=space) for arm in places}
    seeds = set.intersection(*(set(own) for own in values.values()))
    best = {seed: min(places, key=lambda arm: values[arm][seed]) for seed in sorted(seeds)}
    measured = {seed: not any(math.isnan(own[seed]) for own in values.values()) for seed in best}
    return {seed: places[arm] if measured[seed] else math.nan for seed, arm in best.items()}


def _of_chains(statistic: Statistic, evidence: Evidence, arm: str, *, space: str) -> dict[int, float]:
    first, last = statistic.generations
    is_ratio, found = statistic.reduce == "ratio_to_first", {}
    for seed, chain in evidence.chains.get(arm, {}).items():
        keys = [f"{space}/{key}" if space else key for key in (statistic.metric, statistic.other or statistic.metric)]
        curves = [_curve(chain, key, last=last) for key in keys]
        if evidence.is_reversed:
            curves[0] = [(at, value) for at, (_, value) in enumerate(reversed(curves[0]))]
        found[seed] = _reduced(statistic, *(own if is_ratio else own[first:] for own in curves))
    return found


def is_dead(chain: Chain) -> bool:
    """Whether a chain ended before its last generation by itself, or was refused."""
    return bool(chain.ending) or f": {UsageError.__name__}" in chain.problem


def _curve(chain: Chain, key: str, *, last: int) -> Curve:
    """A metric by generation, NaN where it was not measured; after the end of a dead chain its worst value."""
    values = {record.generation: record.metrics.get(key, math.nan) for record in chain.records}
    after = worst_value(key) if is_dead(chain) else math.nan
    return [(at, values.get(at, after if at > chain.last_generation else math.nan)) for at in range(last + 1)]


def summarised(chain: Chain, *, keys: Sequence[str]) -> Chain:
    """The chain with its fitted parameters as metrics, and with those of `keys` that name one; without the rest."""
    records = []
    for record in chain.records:
        own = {key: value for key in keys if (value := _parameter(record, key)) is not None}
        records.append(replace(record, metrics={**values_of(record), **own}, fitted={}))
    return replace(chain, records=tuple(records))


def _parameter(record: GenerationRecord, key: str) -> float | None:
    name, _, index = key.removeprefix(PARAMETER).partition("/")
    if not key.startswith(PARAMETER) or name not in record.fitted:
        return None
    values, place = np.atleast_1d(record.fitted[name]), int(index or 0)
    return float(values[..., place].mean()) if place < values.shape[-1] else None


def worst_value(key: str) -> float:
    """The value of a metric that a chain without samples has; NaN if the metric has no better direction."""
    name, metric = split_key(key).name, None if key.startswith(PARAMETER) else find_metric(key)
    if name in WITHOUT_SAMPLES:
        return WITHOUT_SAMPLES[name]
    return math.nan if metric is None or metric.worst is None else metric.worst


def _reduced(statistic: Statistic, curve: Curve, other: Curve) -> float:
    if any(math.isnan(value) for _, value in (*curve, *other)):
        return math.nan
    if statistic.reduce == "kendall":
        tau = stats.kendalltau([value for _, value in curve], [value for _, value in other]).statistic
        return float(tau) if math.isfinite(tau) else 0.0  # a curve that stays level has no order
    if statistic.reduce == "ratio_to_first":
        first, inside = curve[0][1], [value for at, value in curve if at >= statistic.generations[0]]
        return float(np.mean(inside)) / first if first else math.nan
    return REDUCTIONS[statistic.reduce](curve)


def _slope(curve: Curve) -> float:
    places, values = zip(*curve, strict=True)
    return float(stats.theilslopes(values, places).slope) if all(map(math.isfinite, values)) else math.nan


def _relative_slope(curve: Curve) -> float:
    middle = float(np.median([value for _, value in curve]))
    return _slope(curve) / middle if middle else math.nan


def _survival(curve: Curve) -> float:
    """Generations until the value is half of the first one, the last generation at most."""
    horizon, time = float(curve[-1][0] - curve[0][0]), half_life(curve)
    return horizon if time is None else min(time, horizon)


REDUCTIONS: Mapping[str, Callable[[Curve], float]] = {
    "mean": lambda curve: float(np.mean([value for _, value in curve])),
    "last": lambda curve: curve[-1][1],
    "slope": _slope,
    "relative_slope": _relative_slope,
    "area": lambda curve: float(np.trapezoid([value for _, value in curve], [place for place, _ in curve])),
    "rmst": _survival,
}


def all_chains(chains: Chains) -> Sequence[Chain]:
    """The chains of all arms."""
    return [chain for own in chains.values() for chain in own.values()]
