"""One outcome of several arms against their baseline: paired differences, corrected for the number of arms.

Differences are arm minus baseline, seed by seed, with Student's t. P values are corrected by Holm over the arms (Holm
1979). An arm is better or worse only if its interval, of the level that Holm tests it at, excludes zero. If all seeds
differ by the same amount, the interval is that amount: p is 0, or 1 if the amount is zero (`intervals.paired`,
`intervals.t_test`).
The probability of improvement is Agarwal et al. 2021 (https://arxiv.org/abs/2108.13264), section 4.3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from collapsar.study.intervals import CONFIDENCE, Interval, mean_interval, paired, t_test, without_rounding

ArmVerdict = Literal["better", "worse", "not told apart"]
Values = Mapping[int, float]  # an arm's outcome by seed

NUM_RESAMPLES = 2000
RESAMPLING_SEED = 0  # the same runs give the same page
TIE = 0.5


@dataclass(frozen=True, kw_only=True)
class Effect:
    """The effect of an arm on one outcome, over the seeds that it shares with the baseline.

    Attributes:
        difference: Arm minus baseline, with its own 95 % interval.
        corrected: The same with the interval that decides, of the level at which Holm's procedure tests this arm.
        p_value: P value of the paired t-test, corrected by Holm.
        improvement: Probability that a run of the arm is better than one of the baseline, with its 95 % interval.
        verdict: Better or worse if the corrected interval excludes zero.
    """

    difference: Interval
    corrected: Interval
    p_value: float
    improvement: Interval
    verdict: ArmVerdict


def effects(baseline: Values, arms: Sequence[Values], *, num_resamples: int = NUM_RESAMPLES) -> list[Effect | None]:
    """The effect of each arm; None for an arm that shares fewer than two seeds with the baseline.

    Args:
        baseline: The baseline's outcome by seed; more is better.
        arms: The outcomes of the other arms; the correction runs over them.
        num_resamples: Draws of the bootstrap for the probability of improvement.
    """
    pairs = [_shared(baseline, arm) for arm in arms]
    tested = [index for index, (_, own) in enumerate(pairs) if len(own) > 1]
    differences = [paired(*pairs[index]) for index in tested]
    p_values = [t_test(own) for own in differences]
    found: list[Effect | None] = [None] * len(arms)
    for index, own, level, p_value in zip(tested, differences, holm_levels(p_values), holm(p_values), strict=True):
        corrected = mean_interval(own, confidence=1 - level)
        found[index] = Effect(
            difference=mean_interval(own, confidence=CONFIDENCE),
            corrected=corrected,
            p_value=p_value,
            improvement=probability_of_improvement(*pairs[index], num_resamples=num_resamples),
            verdict=_verdict(corrected.mean, p_value=p_value),
        )
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected by Holm's step-down procedure.

    The same as statsmodels' `multipletests`, which takes a tenth of a second because each call collects garbage.
    """
    order = np.argsort(p_values, kind="stable")
    stepped = np.asarray(p_values)[order] * np.arange(len(p_values), 0, -1)
    return _in_place(np.minimum(np.maximum.accumulate(stepped), 1.0), order)


def holm_levels(p_values: Sequence[float]) -> list[float]:
    """The level at which Holm's procedure tests each hypothesis.

    The smallest of m p values is compared with .05 / m, the next with .05 / (m - 1), and so on. Once a p value is not
    below its level, that level holds for all that follow. So p is below its level if and only if Holm's p is below .05.
    """
    order = np.argsort(p_values, kind="stable")
    levels = (1 - CONFIDENCE) / np.arange(len(p_values), 0, -1)
    missed = np.flatnonzero(np.asarray(p_values)[order] >= levels)
    if len(missed):
        levels[missed[0] :] = levels[missed[0]]
    return _in_place(levels, order)


def _in_place(ranked: np.ndarray, order: np.ndarray) -> list[float]:
    """Values in order of rank, put back into the original order."""
    found = np.empty(len(ranked))
    found[order] = ranked
    return [float(value) for value in found]


def probability_of_improvement(
    baseline: np.ndarray, arm: np.ndarray, *, num_resamples: int = NUM_RESAMPLES
) -> Interval:
    """How often a run of the arm is better than one of the baseline, over all pairs of runs; a tie counts half.

    The interval is a percentile bootstrap, stratified by arm: the runs of each arm are resampled on their own.
    """
    ahead = np.sign(without_rounding(baseline[None, :], arm[:, None])) * TIE + TIE  # [arm's run, baseline's run]
    generator = np.random.default_rng(RESAMPLING_SEED)
    own, base = (generator.multinomial(n, np.full(n, 1 / n), size=num_resamples) for n in (len(arm), len(baseline)))
    drawn = ((own @ ahead) * base).sum(axis=1) / ahead.size
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(mean=float(ahead.mean()), low=float(low), high=float(high), num_seeds=len(arm))


def _shared(baseline: Values, arm: Values) -> tuple[np.ndarray, np.ndarray]:
    seeds = sorted(baseline.keys() & arm.keys())
    return np.array([baseline[seed] for seed in seeds]), np.array([arm[seed] for seed in seeds])


def _verdict(difference: float, *, p_value: float) -> ArmVerdict:
    if p_value >= 1 - CONFIDENCE:
        return "not told apart"
    return "better" if difference > 0 else "worse"
