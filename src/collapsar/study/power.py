"""What a comparison can find, said before it runs.

Effects are in standard deviations (sd) of a seed's difference from the baseline; one variance is pooled over arms.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy import stats
from scipy.optimize import brentq

from collapsar.study.analysis import shared_analysis
from collapsar.study.arms import by_family, group_arms
from collapsar.study.chains import Chain
from collapsar.study.simultaneous import LEVEL, LargestT, dunnett_correlation

POWER = 0.8


def power_of(*, num_seeds: int, num_arms: int) -> tuple[float, float]:
    """The half-width of intervals that hold for all arms together with 95 %, and the effect found with 80 %.

    With so many arms beside the baseline, and so many seeds of each, at least two.
    """
    df = num_arms * (num_seeds - 1)
    critical = LargestT(dunnett_correlation([range(num_seeds)] * num_arms), df=df).quantile(LEVEL)
    shift = brentq(lambda away: stats.nct.sf(critical, df, away) - POWER, 0, 10 * critical)
    return critical / math.sqrt(num_seeds), shift / math.sqrt(num_seeds)


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
            half_width, effect = power_of(num_seeds=num_seeds, num_arms=num_arms)
            fixed = shared_analysis(settings)
            matters = f"; {fixed.smallest_effect:g} of {fixed.primary} matters" if fixed.smallest_effect else ""
            found.append(
                f"with {num_seeds} seeds and {num_arms} arms an effect of {effect:.2f} sd is found "
                f"({POWER:.0%} power; intervals are +- {half_width:.2f} sd; sd is that of a seed's difference "
                f"from the baseline{matters}{f'; hash {fixed.digest}' if fixed.digest else ''})"
            )
    return found
