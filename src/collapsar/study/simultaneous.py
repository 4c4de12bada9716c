"""Tests of several arms at once: Dunnett's, with one error variance pooled over arms in blocks of seeds, and Holm's.

The outcome of an arm with a seed is the arm's mean, plus what the seed adds to all arms, plus an error. If all errors
have one variance, each arm's difference from the baseline is judged by the residuals of all arms, which is worth many
seeds (Dunnett 1955, https://doi.org/10.1080/01621459.1955.10501294). If they do not (Levene 1960, about medians), each
arm's variance is moderated by the others' (Smyth 2004, https://doi.org/10.2202/1544-6115.1027, section 6.2).
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from statistics import median

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import digamma, fdtrc, polygamma, stdtr, stdtrit

from collapsar.study.intervals import CONFIDENCE, ROUNDING

NUM_DRAWS = 100_000  # of the largest t; a p value of .05 is known to .0007
DRAWING_SEED = 0  # the same runs give the same page
LEVEL = 1 - CONFIDENCE
SPREAD_LEVEL = 0.25  # of Levene's test: few seeds have little power, and a needless rejection costs little
MIN_SEEDS = 3  # for Levene's test, as two residuals are equally far from their median
MIN_VARIANCES = 3  # to learn from them how far variances differ


class LargestT:
    """The largest of several correlated t statistics, by draws of scipy's multivariate t; exact for a single one."""

    def __init__(self, correlation: np.ndarray, *, df: int | float) -> None:
        self.num_arms, self.df = len(correlation), df
        if self.num_arms > 1:
            self.two_sided, self.one_sided = _draws(correlation.tobytes(), self.num_arms, df)

    def p_value(self, statistic: float, *, is_one_sided: bool = False) -> float:
        """The probability that the largest statistic, or the largest absolute one, is at least this large."""
        if self.num_arms == 1:
            return float(stdtr(self.df, -statistic) * (1 if is_one_sided else 2))
        draws = self.one_sided if is_one_sided else self.two_sided
        return float(1 - np.searchsorted(draws, statistic) / len(draws))

    def quantile(self, level: float) -> float:
        """The value that the largest absolute statistic exceeds with this probability."""
        if self.num_arms == 1:
            return float(stdtrit(self.df, 1 - level / 2))
        return float(self.two_sided[math.ceil((NUM_DRAWS - 1) * (1 - level))])


@lru_cache(maxsize=8)
def _draws(correlation: bytes, num_arms: int, df: int | float) -> tuple[np.ndarray, np.ndarray]:
    shape = np.frombuffer(correlation).reshape(num_arms, num_arms)
    law = stats.multivariate_t(shape=shape, df=df, allow_singular=True, seed=DRAWING_SEED)
    drawn = law.rvs(NUM_DRAWS)
    return np.sort(np.abs(drawn).max(axis=1)), np.sort(drawn.max(axis=1))


def dunnett_correlation(seeds: Sequence[Sequence[int]]) -> np.ndarray:
    """The correlation of the arms' differences from the baseline over these seeds: .5 if all arms have the same ones.

    Two mean differences share the baseline's errors on the seeds that both arms have.
    """
    sets = [{*own} for own in seeds]
    found = np.array([[len(one & other) / (2 * math.sqrt(len(one) * len(other))) for other in sets] for one in sets])
    np.fill_diagonal(found, 1.0)
    return found


def block_residuals(arms: Sequence[Mapping[int, float]]) -> tuple[np.ndarray, int]:
    """What arms' means and seeds' effects leave of all outcomes (least squares), and the degrees of freedom of that."""
    seeds = sorted({seed for arm in arms for seed in arm})
    cells = [(index, seeds.index(seed), value) for index, arm in enumerate(arms) for seed, value in arm.items()]
    arm, seed, values = (np.array(column) for column in zip(*cells, strict=True))
    design = np.hstack([np.eye(len(arms))[arm], np.eye(len(seeds))[seed]])
    solution, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    residuals = values - design @ solution
    residuals[np.abs(residuals) <= ROUNDING * np.abs(values).max()] = 0.0
    return residuals, len(values) - int(rank)


def have_one_variance(arms: Sequence[Mapping[int, float]]) -> bool:
    """Whether Levene's test finds that the arms' errors spread alike; True for two seeds.

    Errors are what is left of outcomes without the median of their arm, and then of their seed: after least squares,
    one arm that spreads far would make the errors of the others as large.
    """
    centred = [{seed: value - median(arm.values()) for seed, value in arm.items()} for arm in arms]
    blocks = {seed: median(arm[seed] for arm in centred if seed in arm) for own in centred for seed in own}
    errors = [[value - blocks[seed] for seed, value in arm.items()] for arm in centred if len(arm) >= MIN_SEEDS]
    return len(errors) < 2 or levene_p(errors) >= SPREAD_LEVEL


def levene_p(groups: Sequence[Sequence[float]]) -> float:
    """P value of Levene's test about medians (Brown & Forsythe 1974), as scipy's but quick; 1 if all are as far."""
    far = [np.abs(np.array(own) - median(own)) for own in groups]
    every, df = np.concatenate(far), sum(map(len, far)) - len(far)
    within = sum(float(((own - own.mean()) ** 2).sum()) for own in far)
    between = max(float(((every - every.mean()) ** 2).sum()) - within, 0.0)  # of two arms it is 0 but for rounding
    if within <= ROUNDING * float(every @ every):
        return 1.0
    return float(fdtrc(len(far) - 1, df, between / within * df / (len(far) - 1)))


def moderated(variances: Sequence[float] | np.ndarray, dfs: Sequence[int | float]) -> tuple[np.ndarray, np.ndarray]:
    """Variances drawn towards what they have in common, and their degrees of freedom, which grow by the same belief.

    They may not exceed those of all arms together.
    """
    own, own_dfs = np.asarray(variances), np.asarray(dfs, float)
    logs = np.log(own) - digamma(own_dfs / 2) + np.log(own_dfs / 2)
    spread = float(logs.var(ddof=1) - polygamma(1, own_dfs / 2).mean())
    if spread <= 0:  # they differ by chance alone
        return np.full(len(own), math.exp(logs.mean())), np.full(len(own), own_dfs.sum())
    prior_df = 2 * brentq(lambda half: polygamma(1, half) - spread, 1e-8, 1e8)
    prior = math.exp(logs.mean() + digamma(prior_df / 2) - math.log(prior_df / 2))
    total = own_dfs + prior_df
    return (prior_df * prior + own_dfs * own) / total, np.minimum(total, own_dfs.sum())


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected by Holm, as by statsmodels' `multipletests`, which frees memory for a tenth of a second."""
    order = np.argsort(p_values, kind="stable")
    stepped = np.asarray(p_values)[order] * np.arange(len(p_values), 0, -1)
    return _in_place(np.minimum(np.maximum.accumulate(stepped), 1.0), order)


def holm_levels(p_values: Sequence[float]) -> list[float]:
    """The level at which Holm's procedure tests each hypothesis.

    The smallest of m p values is compared with .05 / m, the next with .05 / (m - 1), and so on. Once a p value is not
    below its level, that level holds for all that follow. So p is below its level if and only if Holm's p is below .05.
    """
    order = np.argsort(p_values, kind="stable")
    levels = LEVEL / np.arange(len(p_values), 0, -1)
    missed = np.flatnonzero(np.asarray(p_values)[order] >= levels)
    if len(missed):
        levels[missed[0] :] = levels[missed[0]]
    return _in_place(levels, order)


def _in_place(ranked: np.ndarray, order: np.ndarray) -> list[float]:
    return [float(value) for value in np.asarray(ranked)[np.argsort(order)]]
