"""A study as data frames, for notebooks and other programs."""

from collections.abc import Sequence
from dataclasses import astuple
from difflib import get_close_matches

import pandas as pd

from collapsar.errors import UsageError
from collapsar.study.analysis import RMST
from collapsar.study.arms import Arm, group_arms
from collapsar.study.chains import Chain
from collapsar.study.comparison import Comparison
from collapsar.theory.fitted import values_of

EFFECT_COLUMNS = ["baseline", "arm", "outcome", "seeds", "difference", "low", "high", "corrected_low", "corrected_high"]
EFFECT_COLUMNS += ["p_holm", "improvement", "improvement_low", "improvement_high", "verdict"]
EFFECT_COLUMNS += ["judged_low", "judged_high", "p_judged", "p_equivalent", "variance", "reason"]
EFFECT_COLUMNS += ["is_primary", "is_exploratory", "horizon", "analysis", "censored_share"]
EFFECT_COLUMNS += ["seconds", "training_steps", "real_samples", "baseline_seconds", "baseline_training_steps"]
EFFECT_COLUMNS += ["baseline_real_samples"]


def records_table(chains: Sequence[Chain]) -> pd.DataFrame:
    """One row for each generation of each chain: arm, chain, parts, seed, generation, and each metric it recorded."""
    arms = {id(chain): arm.name for arm in group_arms(chains) for chain in arm.chains}
    rows = [
        {
            "arm": arms[id(chain)],
            "chain": chain.label,
            **{part: getattr(record, part) for part in ("seed", "data", "model", "regime", "generation")},
            **values_of(record),
        }
        for chain in chains
        for record in chain.records
    ]
    return pd.DataFrame(rows)


def curves_table(arms: Sequence[Arm], key: str) -> pd.DataFrame:
    """A metric by generation (rows), arm and seed (columns); missing after the end of a chain.

    Raises:
        UsageError: no chain has recorded the metric.
    """
    curves = {
        (arm.name, chain.seed): pd.Series(
            {record.generation: values_of(record).get(key) for record in chain.records}, dtype=float
        )
        for arm in arms
        for chain in arm.distinct
    }
    if all(curve.isna().all() for curve in curves.values()):
        known = sorted({name for arm in arms for chain in arm.chains for name in chain.last_values})
        close = get_close_matches(key, known, n=3) or known
        raise UsageError(f"no chain has recorded {key!r}: there are {', '.join(close)}")
    table = pd.DataFrame(curves).sort_index()
    return table.rename_axis(index="generation", columns=["arm", "seed"])


def effects_table(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """One row for each arm and outcome of each comparison: arm minus baseline, with intervals, p and verdict."""
    rows = [
        (
            *(found.baseline.name, row.arm.name, outcome, effect.difference.num_seeds),
            *(effect.difference.mean, effect.difference.low, effect.difference.high),
            *(effect.corrected.low, effect.corrected.high, effect.p_value),
            *(effect.improvement.mean, effect.improvement.low, effect.improvement.high, effect.verdict),
            *(effect.judged.interval.low, effect.judged.interval.high, effect.judged.p_value),
            *(effect.judged.p_equivalent, effect.judged.variance, effect.judged.reason),
            *(outcome == found.outcomes[0], bool(found.below_gate), found.horizon, found.analysis.digest),
            row.survival.censored_share if row.survival and outcome == RMST else None,
            *(*astuple(row.spending), *astuple(found.spending)),
        )
        for found in comparisons
        for row in found.arms
        for outcome, effect in row.effects.items()
    ]
    return pd.DataFrame(rows, columns=EFFECT_COLUMNS)
