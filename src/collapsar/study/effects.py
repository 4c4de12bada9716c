"""One outcome of several arms against their baseline: differences seed by seed, and what the arms are called.

What decides is a judgement over all arms together (`collapsar.study.verdicts`). Beside it stands each arm's own paired
t-test, corrected by Holm over the arms (Holm 1979). If all seeds differ by the same amount, the interval is that
amount: p is 0, or 1 if the amount is zero (`intervals.paired`, `intervals.t_test`).
The probability of improvement is Agarwal et al. 2021 (https://arxiv.org/abs/2108.13264), section 4.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from collapsar.study.intervals import CONFIDENCE, Interval, mean_interval, paired, t_test, without_rounding
from collapsar.study.simultaneous import holm, holm_levels
from collapsar.study.verdicts import ArmVerdict, Judgement, Values, judge

NUM_RESAMPLES = 2000
RESAMPLING_SEED = 0  # the same runs give the same page
TIE = 0.5


@dataclass(frozen=True, kw_only=True)
class Effect:
    """The effect of an arm on one outcome, over the seeds that it shares with the baseline."""

    judged: Judgement  # what it is called, by all arms together
    difference: Interval  # arm minus baseline, with its own 95 % interval
    corrected: Interval  # the same with an interval of the level at which Holm's procedure tests this arm
    p_value: float  # P value of the paired t-test, corrected by Holm
    improvement: Interval  # probability that a run of the arm is better than one of the baseline, with its interval

    @property
    def verdict(self) -> ArmVerdict:
        return self.judged.verdict


def effects(
    baseline: Values,
    arms: Sequence[Values],
    *,
    num_resamples: int = NUM_RESAMPLES,
    smallest_effect: int | float | None = None,
    num_outcomes: int = 1,
) -> list[Effect | None]:
    """The effect of each arm; None for an arm that shares fewer than two seeds with the baseline.

    Args:
        baseline: The baseline's outcome by seed; more is better.
        arms: The outcomes of the other arms; the correction runs over them.
        num_resamples: Draws of the bootstrap for the probability of improvement.
        smallest_effect: See `judge`.
        num_outcomes: See `judge`.
    """
    judged = judge(baseline, arms, smallest_effect=smallest_effect, num_outcomes=num_outcomes)
    tested = [index for index, one in enumerate(judged) if one is not None]
    pairs = [_shared(baseline, arms[index]) for index in tested]
    differences = [paired(*pair) for pair in pairs]
    p_values = [t_test(own) for own in differences]
    found: list[Effect | None] = [None] * len(arms)
    levels = zip(holm_levels(p_values), holm(p_values), strict=True)
    for index, pair, own, (level, p_value) in zip(tested, pairs, differences, levels, strict=True):
        judgement = judged[index]
        assert judgement is not None, "it is tested"
        found[index] = Effect(
            judged=judgement,
            difference=mean_interval(own, confidence=CONFIDENCE),
            corrected=mean_interval(own, confidence=1 - level),
            p_value=p_value,
            improvement=probability_of_improvement(*pair, num_resamples=num_resamples),
        )
    return found


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
