"""Tests of several arms at once: Dunnett's, with one error variance pooled over arms in blocks of seeds, and Holm's.

The outcome of an arm with a seed is the arm's mean, plus what the seed adds to all arms, plus an error. If all errors
have one variance, each arm's difference from the baseline is judged by the residuals of all arms, which is worth many
seeds (Dunnett 1955, https://doi.org/10.1080/01621459.1955.10501294). If they do not (Levene 1960, about medians), each
arm's variance is moderated by the others' (Smyth 2004, https://doi.org/10.2202/1544-6115.1027, section 6.2).
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import digamma, polygamma, stdtr, stdtrit

from collapsar.study.intervals import CONFIDENCE, ROUNDING

NUM_DRAWS = 100_000  # of the largest t; a p value of .05 is known to .0007
DRAWING_SEED = 0  # the same runs give the same page
LEVEL = 1 - CONFIDENCE
MIN_SEEDS = 3  # for Levene's test, as two residuals are equally far from their median
MIN_VARIANCES = 3  # to learn from them how far variances differ


class LargestT:
    """The largest of several correlated t statistics, by draws of scipy's multivariate t; exact for a single one."""

    def __init__(self, correlation: np.ndarray, *, df: float) -> None:
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
        return float(stdtrit(self.df, 1 - level / 2) if self.num_arms == 1 else np.quantile(self.two_sided, 1 - level, method="higher"))


@lru_cache(maxsize=32)
def _draws(correlation: bytes, num_arms: int, df: float) -> tuple[np.ndarray, np.ndarray]:
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


def block_residuals(arms: Sequence[Mapping[int, float]]) -> tuple[list[np.ndarray], int]:
    """The residuals of each arm after arms' means and seeds' effects (least squares), and their degrees of freedom."""
    seeds = sorted({seed for arm in arms for seed in arm})
    cells = [(index, seeds.index(seed), value) for index, arm in enumerate(arms) for seed, value in arm.items()]
    arm, seed, values = (np.array(column) for column in zip(*cells, strict=True))
    design = np.hstack([np.eye(len(arms))[arm], np.eye(len(seeds))[seed]])
    solution, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    residuals = values - design @ solution
    residuals[np.abs(residuals) <= ROUNDING * np.abs(values).max()] = 0.0
    return [residuals[arm == index] for index in range(len(arms))], len(values) - int(rank)


def have_one_variance(residuals: Sequence[np.ndarray]) -> bool:
    """Whether Levene's test about medians finds no difference between the arms' variances; True for two seeds."""
    tested = [own for own in residuals if len(own) >= MIN_SEEDS]
    if len(tested) < 2 or not any(own.any() for own in tested):
        return True
    with np.errstate(divide="ignore", invalid="ignore"):  # all residuals equally far from their medians
        return not stats.levene(*tested, center="median").pvalue < LEVEL


def moderated(variances: Sequence[float], dfs: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
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
    levels = LEVEL / np.arange(len(p_values), 0, -1)
    missed = np.flatnonzero(np.asarray(p_values)[order] >= levels)
    if len(missed):
        levels[missed[0] :] = levels[missed[0]]
    return _in_place(levels, order)


def _in_place(ranked: np.ndarray, order: np.ndarray) -> list[float]:
    """Values in order of rank, put back into the original order."""
    found = np.empty(len(ranked))
    found[order] = ranked
    return [float(value) for value in found]
