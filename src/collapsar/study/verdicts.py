"""What each arm is called beside its baseline: better, worse, equivalent or undecided.

What decides is an interval that holds for all arms together with 95 %, from one error variance pooled over arms
(`collapsar.study.simultaneous`). An arm whose seeds all have one value (recall 0, or no loss to the horizon) would make
that variance too small: it is left out of it and judged by the variance of its own differences, with Bonferroni's share
of the level. If variances differ, each arm has its own, or that moderated by the others' if it is larger, with Holm's
correction. An arm is equivalent to the baseline if two one-sided tests (Schuirmann 1987) say that it differs by less
than the smallest effect that matters.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtr, stdtrit

from collapsar.study.intervals import ROUNDING, Interval, paired
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


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What an arm is called on one outcome.

    Attributes:
        interval: Arm minus baseline, with the interval that decides: 95 % over all arms together.
        p_value: Of no difference, corrected for the number of arms and of outcomes.
        p_equivalent: Of a difference as large as the smallest effect, corrected too; None without a smallest effect.
        variance: What the interval rests on: the variance of all arms, the arm's own, or that moderated by the others'.
        verdict: Equivalent if the arm differs by less than the smallest effect; else better or worse if the interval
            excludes zero.
        reason: Why the verdict is undecided although the interval excludes zero; else empty.
    """

    interval: Interval
    p_value: float
    p_equivalent: float | None
    variance: Variance
    verdict: ArmVerdict
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class _Tests:
    """One statistic for each arm, and how its p values and intervals are made from its error."""

    errors: list[float]
    p_values: list[float]
    p_equivalent: list[float]
    critical: list[float]
    variances: list[Variance]


def judge(
    baseline: Values, arms: Sequence[Values], *, smallest_effect: float | None = None, num_outcomes: int = 1
) -> list[Judgement | None]:
    """What each arm is called; None for an arm that shares fewer than two seeds with the baseline.

    Args:
        baseline: The baseline's outcome by seed; more is better.
        arms: The outcomes of the other arms; the correction runs over them.
        smallest_effect: The smallest difference that matters; None: no arm is called equivalent.
        num_outcomes: Outcomes that are tested like this one; the level is divided by them.
    """
    found: list[Judgement | None] = [None] * len(arms)
    tested = [index for index, arm in enumerate(arms) if len(baseline.keys() & arm.keys()) > 1]
    if not tested:
        return found
    shared = [{seed: arms[index][seed] for seed in sorted(baseline.keys() & arms[index].keys())} for index in tested]
    differences = [paired([baseline[seed] for seed in arm], list(arm.values())) for arm in shared]
    tests = _tests(baseline, shared, differences, delta=smallest_effect or 0.0, num_outcomes=num_outcomes)
    for place, index in enumerate(tested):
        mean, margin = float(differences[place].mean()), float(tests.critical[place] * tests.errors[place])
        is_equivalent = smallest_effect is not None and tests.p_equivalent[place] < LEVEL
        found[index] = Judgement(
            interval=Interval(mean=mean, low=mean - margin, high=mean + margin, num_seeds=len(shared[place])),
            p_value=tests.p_values[place],
            p_equivalent=None if smallest_effect is None else tests.p_equivalent[place],
            variance=tests.variances[place],
            verdict="equivalent" if is_equivalent else _verdict(mean, p_value=tests.p_values[place]),
        )
    return found


def _tests(
    baseline: Values, arms: Sequence[Values], differences: Sequence[np.ndarray], *, delta: float, num_outcomes: int
) -> _Tests:
    """The tests with one variance if it may be assumed; arms that share none are tested on their own."""
    varied = [index for index, arm in enumerate(arms) if not _is_flat(arm)]
    alike = [baseline, *(arms[index] for index in varied)]
    if not varied or _is_flat(baseline) or not have_one_variance(alike):
        return _own_tests(differences, varied, delta=delta, num_outcomes=num_outcomes)
    residuals, df = block_residuals(alike)
    single = _own_tests(differences, [], delta=delta, num_outcomes=num_outcomes, is_stepped=False)
    variance = float(residuals @ residuals) / df
    largest = LargestT(dunnett_correlation([[*arms[index]] for index in varied]), df=df)
    share = num_outcomes * len(arms) / len(varied)  # the arms that are left out have the rest of the level
    critical = largest.quantile(LEVEL / share)
    for index in varied:
        mean, error = float(differences[index].mean()), math.sqrt(2 * variance / len(arms[index]))
        single.errors[index], single.critical[index], single.variances[index] = error, critical, "pooled"
        single.p_values[index] = min(share * largest.p_value(_ratio(abs(mean), error)), 1.0)
        beyond = largest.p_value(_ratio(delta - abs(mean), error), is_one_sided=True)
        single.p_equivalent[index] = min(share * beyond, 1.0)
    return single


def _own_tests(
    differences: Sequence[np.ndarray],
    varied: Sequence[int],
    *,
    delta: float,
    num_outcomes: int,
    is_stepped: bool = True,
) -> _Tests:
    """Each arm by the variance of its own differences, those of `varied` moderated, by Holm or by Bonferroni."""
    dfs = np.array([len(own) - 1.0 for own in differences])
    spreads = np.array([own.var(ddof=1) if np.ptp(own) else 0.0 for own in differences])
    variances: list[Variance] = ["own"] * len(differences)
    learned = [index for index in varied if spreads[index] > 0]
    if len(learned) >= MIN_VARIANCES:
        for index, variance, df in zip(learned, *moderated(spreads[learned], dfs[learned]), strict=True):
            if variance > spreads[index]:  # drawn down, an arm that spreads far would be called too easily
                spreads[index], dfs[index], variances[index] = variance, df, "moderated"
    means = np.array([float(own.mean()) for own in differences])
    errors = np.sqrt(spreads / [len(own) for own in differences])
    p_values = [2 * _tail(abs(mean), error, df) for mean, error, df in zip(means, errors, dfs, strict=True)]
    beyond = [_tail(delta - abs(mean), error, df) for mean, error, df in zip(means, errors, dfs, strict=True)]
    p_values, beyond = ([min(num_outcomes * value, 1.0) for value in values] for values in (p_values, beyond))
    correct, levels = (holm, holm_levels(p_values)) if is_stepped else (_bonferroni, [LEVEL / len(means)] * len(means))
    return _Tests(
        errors=errors.tolist(),
        p_values=correct(p_values),
        p_equivalent=correct(beyond),
        critical=[float(stdtrit(df, 1 - level / num_outcomes / 2)) for df, level in zip(dfs, levels, strict=True)],
        variances=variances,
    )


def _is_flat(values: Values) -> bool:
    """Whether all seeds have one value, but for rounding."""
    return float(np.ptp([*values.values()])) <= ROUNDING * max(map(abs, values.values()))


def _ratio(value: float, error: float) -> float:
    """Their quotient; without an error, its limit."""
    return value / error if error else math.copysign(math.inf, value) if value else 0.0


def _tail(value: float, error: float, df: float) -> float:
    """The probability that Student's t exceeds a value in units of its error."""
    return float(stdtr(df, -_ratio(value, error)))


def _bonferroni(p_values: Sequence[float]) -> list[float]:
    return [min(len(p_values) * p_value, 1.0) for p_value in p_values]


def _verdict(difference: float, *, p_value: float) -> ArmVerdict:
    if p_value >= LEVEL:
        return "undecided"
    return "better" if difference > 0 else "worse"
