"""Survival by Kaplan and Meier: of the classes of an arm's chains, of the recall of its chains, and waiting times.

A class of generation 0 dies when it is first dropped. One that lives when its chain ends, finished or not, is censored
there, not counted as a survivor for good. If the alarm stopped the chain, living classes are carried on to the end of
the other chains; if the numbers broke down, all die. Recall dies when it is half of generation 0's; a chain that is
stopped or breaks down dies with it. A waiting time, a median over seeds, is "later than" a chain's end, not "never".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from statsmodels.duration.survfunc import SurvfuncRight

from collapsar.journal.courses import half_life, points
from collapsar.journal.definitions import dead_classes, died_classes
from collapsar.study.chains import Chain
from collapsar.study.intervals import CONFIDENCE

JUST_AFTER_0 = 1e-9  # statsmodels takes positive times only


@dataclass(frozen=True, kw_only=True)
class SurvivalCurve:
    """Share of classes alive from each generation on; bounds are pointwise 95 % intervals (log-log)."""

    generations: list[float]
    alive: list[float]
    low: list[float | None]
    high: list[float | None]
    num_classes: int
    num_deaths: int


@dataclass(frozen=True, kw_only=True)
class RecallSurvival:
    """How long the recall of an arm's chains lasts, until it is half of generation 0's."""

    rmst: float  # restricted mean survival time, in generations: the area under the curve up to the horizon
    censored_share: float  # share of the chains that end, or reach the horizon, with more than half of their recall
    alive: list[float]  # share of chains with more than half of their recall at each generation, from 0 to the horizon
    at_risk: list[int]  # chains known to have more than half of it until then, at each of these generations


@dataclass(frozen=True, kw_only=True)
class WaitingTime:
    """Generations until something happened, over seeds: infinite if it did not happen within the chain."""

    median: float  # median over seeds, by Kaplan-Meier if chains are censored; infinite if it was not reached
    low: float  # the earliest seed
    high: float  # the latest seed
    num_generations: int  # last generation of the longest chain, the bound that infinity stands for


def recall_survival(chains: Sequence[Chain], *, horizon: int) -> RecallSurvival | None:
    """The survival of recall up to the horizon; None if no chain measured recall. Open chains are censored."""
    lives = [life for chain in chains if (life := recall_life(chain, horizon=horizon))]
    if not lives:
        return None
    times, deaths = (np.array(column, dtype=float) for column in zip(*lives, strict=True))
    curve = SurvfuncRight(np.maximum(times, JUST_AFTER_0), deaths)
    shares, ends = np.array([1.0, *curve.surv_prob]), np.array([0.0, *curve.surv_times, horizon])
    generations = np.arange(horizon + 1)
    return RecallSurvival(
        rmst=round(float(np.diff(ends) @ shares), 6),
        censored_share=float(1 - deaths.mean()),
        alive=shares[np.searchsorted(curve.surv_times, generations + JUST_AFTER_0, side="right")].tolist(),
        at_risk=[int((times >= generation).sum()) for generation in generations],
    )


def recall_life(chain: Chain, *, horizon: int, space: str = "") -> tuple[float, bool] | None:
    """When a chain's recall was halved, or was last seen, up to the horizon, and whether it was halved by then.

    None if recall was not measured in this feature space; the empty one is the first.
    """
    key = f"{space}/recall" if space else "recall"
    if not chain.has_outcome or key not in chain.metrics_at(0):
        return None
    series = points(chain.records, key)
    time = half_life(series)
    if time is None and chain.ending:
        time = float(chain.last_generation + (chain.ending == "broke down"))
    if time is None or time > horizon:
        return float(horizon if time else min(series[-1][0], horizon)), False
    return time, True


def has_lost_recall(chain: Chain) -> bool:
    """Whether its recall was halved by its present end, or died with it: a longer chain would last no longer."""
    life = recall_life(chain, horizon=chain.num_generations)
    return life is not None and life[1]


def class_survival(chains: Sequence[Chain], *, horizon: int = 0) -> SurvivalCurve | None:
    """The Kaplan-Meier curve over all classes of all chains of an arm; None if no classes were counted.

    Classes of one chain share its fate, so the interval is too narrow if there are few seeds. Chains that their alarm
    stopped are carried on to the generation `horizon`.
    """
    lifetimes = [lifetime for chain in chains for lifetime in _lifetimes(chain, horizon=horizon)]
    if not lifetimes:
        return None
    times, deaths = (np.array(column, dtype=float) for column in zip(*lifetimes, strict=True))
    end = float(times.max())
    curve = SurvfuncRight(np.maximum(times, JUST_AFTER_0), deaths)
    alive, low, high = ([1.0, *own, *(own[-1:] or [1.0])] for own in (curve.surv_prob.tolist(), *_bounds(curve)))
    return SurvivalCurve(
        generations=[0.0, *np.round(curve.surv_times, 6).tolist(), end],
        alive=alive,
        low=low,
        high=high,
        num_classes=len(lifetimes),
        num_deaths=int(deaths.sum()),
    )


def _lifetimes(chain: Chain, *, horizon: int) -> list[tuple[float, bool]]:
    """For each class that generation 0 has, when it died or was last seen alive, and whether it died."""
    records = [record for record in chain.records if record.class_shares]
    if not records:
        return []
    died: dict[int, int] = {}
    for record in records:
        for index in died_classes(record, first=records[0]):
            died.setdefault(index, record.generation)
    missing = dead_classes(records[0])
    real = [index for index, share in enumerate(records[0].class_shares["real"]) if share > 0 and index not in missing]
    if chain.ending == "broke down":
        died = dict.fromkeys(real, chain.last_generation + 1) | died
    last = max(horizon, records[-1].generation) if chain.ending else records[-1].generation
    return [(float(died.get(index, last)), index in died) for index in real]


def _bounds(curve: SurvfuncRight) -> tuple[list[float | None], list[float | None]]:
    """Intervals by the log-log transform, which stay within 0 and 1; None while all or no classes live."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log_alive = np.log(curve.surv_prob)
        spread = norm.ppf((1 + CONFIDENCE) / 2) * curve.surv_prob_se / (curve.surv_prob * np.abs(log_alive))
        low, high = curve.surv_prob ** np.exp(spread), curve.surv_prob ** np.exp(-spread)
    found = [[float(value) if np.isfinite(value) else None for value in values] for values in (low, high)]
    return found[0], found[1]


def waiting_time(times: Sequence[int | float | None], *, lengths: Sequence[int]) -> WaitingTime | None:
    """The waiting time over chains, by when it happened to each (None: it did not), and each one's last generation."""
    if not times:
        return None
    known = [math.inf if time is None else float(time) for time in times]
    has_happened = np.isfinite(known)
    if has_happened.all():
        median = float(np.median(known))
    else:
        observed = np.maximum(np.where(has_happened, known, lengths), JUST_AFTER_0)
        found = SurvfuncRight(observed, has_happened.astype(float)).quantile(0.5)
        median = float(round(found, 6)) if np.isfinite(found) else math.inf
    return WaitingTime(median=median, low=min(known), high=max(known), num_generations=max(lengths))
