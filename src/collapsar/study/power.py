"""What a comparison can find before it runs: the half-width of its intervals, and the effect it finds.

Both are in standard deviations of a seed's difference between an arm and the baseline, if one error variance is pooled.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import stats
from scipy.optimize import brentq

from collapsar.records.words import counted
from collapsar.study.analysis import shared_analysis
from collapsar.study.arms import by_family, group_arms
from collapsar.study.chains import Chain
from collapsar.study.simultaneous import LEVEL, LargestT, dunnett_correlation

POWER = 0.8


@dataclass(frozen=True, kw_only=True)
class Power:
    """What is found with a probability of 80 %, in standard deviations of a seed's difference from the baseline.

    Attributes:
        half_width: Of the intervals that hold for all arms together with 95 %.
        effect: The true difference of an arm that is called better or worse with that probability.
    """

    half_width: float
    effect: float


def power_of(*, num_seeds: int, num_arms: int) -> Power:
    """What so many arms beside the baseline show with so many seeds each, at least two."""
    df = num_arms * (num_seeds - 1)
    critical = LargestT(dunnett_correlation([range(num_seeds)] * num_arms), df=df).quantile(LEVEL)
    shift = brentq(lambda away: stats.nct.sf(critical, df, away) - POWER, 0, 10 * critical)
    return Power(half_width=critical / math.sqrt(num_seeds), effect=shift / math.sqrt(num_seeds))


def forecast_power(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each comparison that chains of these settings would make."""
    chains = [
        Chain(folder=Path(), label="", config={**own}, records=(), overrides=(), versions={}, problem="unfinished")
        for own in settings
    ]
    found = []
    for family in by_family(group_arms(chains)):
        num_seeds, num_arms = min(len(arm.distinct) for arm in family), len(family) - 1
        if num_seeds > 1 and any(arm.is_baseline for arm in family):
            power, fixed = power_of(num_seeds=num_seeds, num_arms=num_arms), shared_analysis(settings)
            matters = f"; {fixed.smallest_effect:g} of {fixed.primary} matters" if fixed.smallest_effect else ""
            found.append(
                f"with {counted(num_seeds, 'seed')} and {num_arms} arms an effect of {power.effect:.2f} sd is found "
                f"({POWER:.0%} power; intervals are +- {power.half_width:.2f} sd; sd is that of a seed's difference "
                f"from the baseline{matters}{f'; hash {fixed.digest}' if fixed.digest else ''})"
            )
    return found
