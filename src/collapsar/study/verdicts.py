"""One outcome of several arms against their baseline: better, worse, equivalent or undecided, and by how much.

What decides is an interval that holds for all arms together with 95 %, from one error variance pooled over arms
(`simultaneous`). An arm whose seeds all have one value would make it too small: it is left out, and judged by the
variance of its own differences, with Bonferroni's share of the level. If variances differ, each arm has its own, or
that moderated by the others' if it is larger, with Holm's correction. Two one-sided tests (Schuirmann 1987) say whether
an arm is equivalent. Beside what decides stand each arm's paired t-test (Holm 1979) and probability of improvement.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from collapsar.study.intervals import CONFIDENCE, ROUNDING, Interval, mean_interval, paired, t_test, without_rounding
from collapsar.study.simultaneous import (
    LEVEL,
    MIN_VARIANCES,
    LargestT,
    block_residuals,
    dunnett_correlation,
    have_one_variance,
    holm,
    holm_levels,
    moderated,
)

ArmVerdict = Literal["better", "worse", "equivalent", "undecided"]
Variance = Literal["pooled", "moderated", "own"]
Values = Mapping[int, float]  # an arm's outcome by seed

NUM_RESAMPLES = 2000  # of the bootstrap
RESAMPLING_SEED = 0  # the same runs give the same page
TIE = 0.5


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What an arm is called on one outcome."""

    interval: Interval  # arm minus baseline, with the interval that decides: 95 % over all arms together
    p_value: float  # of no difference, corrected for the number of arms and of outcomes
    p_equivalent: float | None  # of a difference as large as the smallest effect, corrected too; None without one
    variance: Variance  # what the interval rests on: all arms' variance, the arm's own, or that moderated
    verdict: ArmVerdict  # equivalent if it differs by less than the smallest effect; else by its interval
    reason: str = ""  # why the verdict is undecided although the interval excludes zero; else empty


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


@dataclass(frozen=True, kw_only=True)
class _Test:
    """What a mean difference is compared with: its standard error, and the statistic's law with its share of 5 %."""

    error: float
    law: LargestT
    variance: Variance
    share: float = 1.0

    def p_value(self, difference: float, **of_law: bool) -> float:
        ratio = difference / self.error if self.error else math.copysign(math.inf, difference) if difference else 0.0
        return min(self.law.p_value(ratio, **of_law) / self.share, 1.0)


def judge(
    baseline: Values, arms: Sequence[Values], *, smallest_effect: int | float | None = None, num_outcomes: int = 1
) -> list[Judgement | None]:
    """What each arm is called; None for an arm that shares fewer than two seeds with the baseline.

    More is better. The correction runs over the arms, and over the `num_outcomes` that are tested like this one.
    `smallest_effect` is the smallest difference that matters; without one, no arm is called equivalent.
    """
    tested = [index for index, arm in enumerate(arms) if len(baseline.keys() & arm.keys()) > 1]
    shared = [{seed: arms[index][seed] for seed in sorted(baseline.keys() & arms[index].keys())} for index in tested]
    differences = [paired([baseline[seed] for seed in arm], list(arm.values())) for arm in shared]
    tests, means = _tests(baseline, shared, differences), [float(own.mean()) for own in differences]
    found = list(zip(tests, means, strict=True))
    delta = 0.0 if smallest_effect is None else smallest_effect
    p_values = [min(num_outcomes * test.p_value(abs(mean)), 1.0) for test, mean in found]
    p_large = [min(num_outcomes * test.p_value(delta - abs(mean), is_one_sided=True), 1.0) for test, mean in found]
    levels = [LEVEL] * len(found)
    if not any(test.variance == "pooled" for test, _ in found):
        levels, p_values, p_large = holm_levels(p_values), holm(p_values), holm(p_large)
    judged: list[Judgement | None] = [None] * len(arms)
    for index, arm, (test, mean), level, p_value, p_equivalent in zip(
        tested, shared, found, levels, p_values, p_large, strict=True
    ):
        margin = test.law.quantile(level * test.share / num_outcomes) * test.error if test.error else 0.0
        verdict: ArmVerdict = "undecided" if p_value >= LEVEL else "better" if mean > 0 else "worse"
        judged[index] = Judgement(
            interval=Interval(mean=mean, low=mean - margin, high=mean + margin, num_seeds=len(arm)),
            p_value=p_value,
            p_equivalent=None if smallest_effect is None else p_equivalent,
            variance=test.variance,
            verdict="equivalent" if smallest_effect is not None and p_equivalent < LEVEL else verdict,
        )
    return judged


def _tests(baseline: Values, arms: Sequence[Values], differences: Sequence[np.ndarray]) -> list[_Test]:
    """By one variance if it may be assumed, with the level shared among arms; else by each arm's, for Holm's steps."""
    variances = [float(own.var(ddof=1)) if np.ptp(own) else 0.0 for own in differences]
    laws = [LargestT(np.ones((1, 1)), df=len(own) - 1) for own in differences]
    names: list[Variance] = ["own"] * len(arms)
    varied = [index for index, arm in enumerate(arms) if not _is_flat(arm)]
    alike = [baseline, *(arms[index] for index in varied)]
    is_pooled = bool(varied) and not _is_flat(baseline) and have_one_variance(alike)
    if is_pooled:
        residuals, df = block_residuals(alike)
        law = LargestT(dunnett_correlation([[*arms[index]] for index in varied]), df=df)
        for index in varied:
            variances[index], laws[index], names[index] = 2 * float(residuals @ residuals) / df, law, "pooled"
    elif len(unequal := [index for index in varied if variances[index]]) >= MIN_VARIANCES:
        raised = moderated([variances[index] for index in unequal], [laws[index].df for index in unequal])
        for index, variance, df in zip(unequal, *raised, strict=True):
            if variance > variances[index]:  # drawn down, an arm that spreads far would be called too easily
                variances[index], laws[index] = float(variance), LargestT(np.ones((1, 1)), df=float(df))
                names[index] = "moderated"
    return [
        _Test(
            error=math.sqrt(variance / len(own)),
            law=law,
            variance=name,
            share=(len(varied) if name == "pooled" else 1) / len(arms) if is_pooled else 1.0,
        )
        for own, variance, law, name in zip(differences, variances, laws, names, strict=True)
    ]


def _is_flat(values: Values) -> bool:
    return bool(np.ptp([*values.values()]) <= ROUNDING * max(map(abs, values.values())))


def effects(
    baseline: Values, arms: Sequence[Values], *, smallest_effect: int | float | None = None, num_outcomes: int = 1
) -> list[Effect | None]:
    """The effect of each arm, by the arguments of `judge`; None for an arm that is not judged."""
    judged = judge(baseline, arms, smallest_effect=smallest_effect, num_outcomes=num_outcomes)
    pairs = {index: _shared(baseline, arms[index]) for index, one in enumerate(judged) if one is not None}
    differences = {index: paired(*pair) for index, pair in pairs.items()}
    p_values = [t_test(own) for own in differences.values()]
    levels = dict(zip(pairs, holm_levels(p_values), strict=True))
    corrected = dict(zip(pairs, holm(p_values), strict=True))
    return [
        None
        if one is None
        else Effect(
            judged=one,
            difference=mean_interval(differences[index]),
            corrected=mean_interval(differences[index], confidence=1 - levels[index]),
            p_value=corrected[index],
            improvement=probability_of_improvement(*pairs[index]),
        )
        for index, one in enumerate(judged)
    ]


def probability_of_improvement(baseline: np.ndarray, arm: np.ndarray) -> Interval:
    """How often a run of the arm is better than one of the baseline, over all pairs of runs; a tie counts half.

    The interval is a percentile bootstrap, stratified by arm (Agarwal et al. 2021, https://arxiv.org/abs/2108.13264,
    section 4.3): the runs of each arm are resampled on their own.
    """
    ahead = np.sign(without_rounding(baseline[None, :], arm[:, None])) * TIE + TIE  # [arm's run, baseline's run]
    generator = np.random.default_rng(RESAMPLING_SEED)
    own, base = (generator.multinomial(n, np.full(n, 1 / n), size=NUM_RESAMPLES) for n in (len(arm), len(baseline)))
    drawn = ((own @ ahead) * base).sum(axis=1) / ahead.size
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(mean=float(ahead.mean()), low=float(low), high=float(high), num_seeds=len(arm))


def _shared(baseline: Values, arm: Values) -> tuple[np.ndarray, np.ndarray]:
    seeds = sorted(baseline.keys() & arm.keys())
    return np.array([baseline[seed] for seed in seeds]), np.array([arm[seed] for seed in seeds])
