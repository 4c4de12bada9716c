"""What pools are worth in real samples: the effective sample size of Alemohammad et al. 2023 (arXiv:2307.01850).

Arms that differ in `data.num_train` alone give a curve: a metric of generation 0 by the number of real samples, as
means over seeds, made monotone by isotonic regression, and linear in the logarithm of the number. If the model of a
later generation has a value on the curve, its pool is worth as many real samples: a model trained on them does as well.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import isotonic_regression

from collapsar.foundations.settings import is_below
from collapsar.judging.metric_keys import bounds_of, find_metric
from collapsar.study.arms import Arm
from collapsar.study.comparison import by_seed
from collapsar.study.intervals import ROUNDING, Interval, t_interval

SIZE, MIN_SIZES = "data.num_train", 3
LATER = ("regime", "num_synthetic")  # settings that do not change generation 0
METRICS = ("fid", "recall")  # what the page and the exports rate by
MEASURED_BY = ("data", "evaluation")  # arms that differ in these cannot be compared


@dataclass(frozen=True, kw_only=True)
class RealCurve:
    """A metric of generation 0 by the number of real samples, and the arms that it rates."""

    metric: str
    means: dict[int, Interval]  # over seeds, by number of real samples in rising order
    fitted: list[float]  # their monotone fit
    arms: list[Arm]  # all of the same data, model and evaluation

    def worth(self, value: float) -> float:
        """The fewest real samples that do as well, so the lower end of a flat part; -inf or inf beyond the curve."""
        sign = math.copysign(1, self.fitted[0] - self.fitted[-1])
        own, falling = sign * value, sign * np.array(self.fitted[::-1])  # rising order, the best value first
        if not math.isclose(own, inside := float(np.clip(own, falling[0], falling[-1])), rel_tol=ROUNDING):
            return math.copysign(math.inf, inside - own)
        return math.exp(np.interp(inside, falling, np.log([*self.means][::-1])))  # of equal values the last counts

    @cached_property
    def rated(self) -> list[tuple[Arm, dict[int, tuple[Interval, Interval]]]]:
        """The arms with a later generation, each with its rates."""
        return [(arm, self.rate(arm)) for arm in self.arms if arm.horizon]

    def rate(self, arm: Arm) -> dict[int, tuple[Interval, Interval]]:
        """By generation, the metric over seeds, and what the pool is worth: the same mean and ends on the curve."""
        chains, found = [chain for chain in arm.counted if chain.records], {}
        for generation in range(arm.horizon + 1):
            values = [*by_seed(chains, self.metric, horizon=generation).values()]
            if value := t_interval(values, within=bounds_of(self.metric)):
                low, mean, high = sorted(map(self.worth, (value.mean, *value.ends)))
                found[generation] = value, Interval(mean=mean, low=low, high=high, num_seeds=value.num_seeds)
        return found


def real_curves(arms: Sequence[Arm], *, metric: str) -> list[RealCurve]:
    """A curve for each data, model and evaluation with three sizes or more; none for a metric without a direction.

    If several settings have one, it is that of the fewest. Its own uncertainty is in no interval of an arm.
    """
    better, found = getattr(find_metric(metric), "better", None), []
    for alike in _grouped(arms, by=lambda key: is_below(key, MEASURED_BY)) if better else []:
        plainest_first = sorted(alike, key=lambda arm: len(arm.settings))
        for own in _grouped(plainest_first, by=lambda key: not is_below(key, LATER)):
            means = _means(own, metric)
            values, weights = ([getattr(mean, name) for mean in means.values()] for name in ("mean", "num_seeds"))
            if len(means) >= MIN_SIZES and len(set(values)) > 1:
                fitted = isotonic_regression(values, weights=weights, increasing=better == "higher").x.tolist()
                found.append(RealCurve(metric=metric, means=means, fitted=fitted, arms=alike))
                break
    return [curve for curve in found if curve.fitted[0] != curve.fitted[-1]]


def _grouped(arms: Sequence[Arm], *, by: Callable[[str], bool]) -> list[list[Arm]]:
    """The arms of each family with the same of these settings, whatever their number of real samples."""
    groups: dict[str, list[Arm]] = {}
    for arm in arms:
        own = {key: value for key, value in arm.settings.items() if key != SIZE and by(key)}
        groups.setdefault(json.dumps([arm.family, own], sort_keys=True, default=str), []).append(arm)
    return [*groups.values()]


def _means(arms: Sequence[Arm], metric: str) -> dict[int, Interval]:
    """The metric of generation 0 by the size of its pool; a seed that several arms begin with counts once."""
    by_size: dict[int, dict[int, float]] = {}
    for chain in (chain for arm in arms for chain in arm.distinct if chain.records):
        by_size.setdefault(chain.records[0].pool["size"], {}).update(by_seed([chain], metric, horizon=0))
    means = {size: t_interval([*by_size[size].values()], within=bounds_of(metric)) for size in sorted(by_size) if size}
    return {size: mean for size, mean in means.items() if mean is not None}
