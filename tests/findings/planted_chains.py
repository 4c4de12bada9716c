"""Chains as the arms of a finding leave them: curves its regions or laws ask for, with noise between seeds."""

import math
from pathlib import Path

import numpy as np

from collapsar.config.composition import settings
from collapsar.findings.finding import LAW
from collapsar.findings.values import REDUCTIONS, Evidence
from collapsar.foundations.record import GenerationRecord
from collapsar.library.composing import compose_settings
from collapsar.study.chains import Chain
from collapsar.theory.laws import laws_of

PLAIN = {
    "protocol": 1,
    "tier": "analogue",
    "row": 1,
    "source": "nobody",
    "claim": "nothing",
    "scope": {"data": "none", "family": "none", "does_not_show": "all"},
    "track": "cpu",
    "command": ["data=gaussian"],
    "arms": {"treated": ["bias.spread=0.5"], "plain": []},
}

NOISE = 1e-3  # relative, between seeds
INSIDE = 0.5  # how far inside a region a planted value lies if it has one end, as a share of its size


def chain(metrics, *, seed, config, problem="", ending="", data="gaussian"):
    """A chain with these curves, by metric key."""
    length = max(map(len, metrics.values()))
    records = [
        GenerationRecord(
            generation=generation,
            seed=seed,
            data=data,
            model="model",
            regime="regime",
            pool={},
            num_evaluated=1,
            num_real=1,
            metrics={key: curve[generation] for key, curve in metrics.items()},
            seconds={"train": 1.0},
        )
        for generation in range(length)
    ]
    label = f"chain of seed {seed}"
    return Chain(
        folder=Path(label),
        label=label,
        config=config,
        records=tuple(records),
        overrides=(),
        versions={},
        problem=problem,
        ending=ending,
    )


def configs_of(finding):
    """The configuration of each arm."""
    return {arm: settings(compose_settings([*finding.command, *own])) for arm, own in finding.arms.items()}


def planted(finding, configs, *, num_seeds=10, seed=0):
    """Evidence by which every statistic of a finding is reproduced; `configs` are those of its arms."""
    curves = planted_curves(finding, configs)
    generator = np.random.default_rng(seed)
    chains = {}
    for arm, own in curves.items():
        data = str(configs[arm]["data"]["_target_"]).rsplit(".", 1)[-1].lower()
        chains[arm] = {
            number: chain(
                {key: (np.array(curve) * (1 + NOISE * generator.normal())).tolist() for key, curve in own.items()}
                | gates(len(next(iter(own.values())))),
                seed=number,
                config=configs[arm],
                data=data,
            )
            for number in range(num_seeds)
        }
    return Evidence(chains=chains, configs=configs)


def gates(length):
    """Metrics by which generation 0 passes the entry gate."""
    return {f"{key}_floor": [1e-9] * length for key in ("recall", "coverage")}


def planted_curves(finding, configs):
    curves = {arm: {} for arm in finding.arms}
    for own in finding.statistics:
        if own.reduce == "argmin":
            for arm, overrides in finding.arms.items():
                place = next((float(text.split("=")[1]) for text in overrides if text.startswith(f"{own.over}=")), None)
                if place is not None:
                    nearest = 1.0 if own.reproduced.holds(place, place) else 2.0
                    curves[arm].setdefault(own.metric, [nearest] * (own.generations[1] + 1))
            continue
        if own.minus is not None:
            curves[own.minus].setdefault(own.metric, curve_of(own, start_of(own), configs[own.minus]))
        base = 0.0 if own.minus is None else reduced(own, curves[own.minus][own.metric])
        target = None if own.expected == LAW else base + (own.expected or middle(own.reproduced))
        curve = curve_of(own, target, configs[own.arm])
        known = curves[own.arm].setdefault(own.metric, curve)
        known += curve[len(known) :]
        first, last = own.generations
        if own.reduce in ("mean", "last") and own.expected != LAW:
            known[first : last + 1] = curve[first:]
        if own.other:
            curves[own.arm][own.other] = [float(-place) for place in range(last + 1)]
    length = max(len(curve) for own in curves.values() for curve in own.values())
    for own in curves.values():
        for key, curve in list(own.items()):
            own[key] = curve + [curve[-1]] * (length - len(curve))
            own[f"pca/{key}"] = own[key]
        own.setdefault("recall", [0.5] * length)
        own.setdefault("coverage", [0.5] * length)
    return curves


def middle(region):
    """A value inside a region."""
    if math.isfinite(region.low) and math.isfinite(region.high):
        return (region.low + region.high) / 2
    end = region.low if math.isfinite(region.low) else region.high
    return end + math.copysign(INSIDE * (abs(end) or 1), -1 if math.isfinite(region.high) else 1)


def start_of(own):
    """The number of the baseline of a difference."""
    first, last = own.generations
    is_rise = own.expected == LAW or middle(own.reproduced) > 0
    return {"rmst": (last - first) * (0.3 if is_rise else 0.9)}.get(own.reduce, 1.0)


def curve_of(own, target, config):
    """A curve from generation 0 with this number."""
    first, last = own.generations
    places = range(last + 1)
    if target is None or own.expected == LAW:
        return [laws_of(config)[own.metric].at(place) for place in places]
    match own.reduce:
        case "area":
            return [target / (last - first)] * (last + 1)
        case "slope":
            return [target * place + 5 for place in places]
        case "relative_slope":
            return [1 + target * (place - (first + last) / 2) for place in places]
        case "ratio_to_first":
            return [1.0, *[target] * last]
        case "rmst":
            return [0.5 ** max((place - first) / target, 0) for place in places]
        case "kendall":
            return [float(place * (-1 if target > 0 else 1)) for place in places]
    return [target] * (last + 1)


def reduced(own, curve):
    first, last = own.generations
    points = list(enumerate(curve))
    if own.reduce == "ratio_to_first":
        return float(np.mean(curve[first : last + 1])) / curve[0]
    return REDUCTIONS[own.reduce](points[first : last + 1])
