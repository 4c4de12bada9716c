"""A study: the chains below some folders, read once, and what they show, computed when it is first asked for."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from collapsar.foundations.errors import UsageError
from collapsar.foundations.words import counted
from collapsar.judging.metric_keys import MAIN
from collapsar.study.analysis import RMST
from collapsar.study.arms import Arm, group_arms
from collapsar.study.chains import Chain, read_chains
from collapsar.study.comparison import Comparison, comparisons
from collapsar.study.predictors import Keepings, keepings
from collapsar.study.provenance import commands, provenance, records_hash, results_hash
from collapsar.study.summaries import ArmCost, ArmSummary, Contrast, contrasts, cost_of, study_seconds
from collapsar.study.worth import METRICS, RealCurve, real_curves
from collapsar.theory.fitted import values_of

EFFECT_COLUMNS = ["baseline", "arm", "outcome", "seeds", "difference", "low", "high", "corrected_low", "corrected_high"]
EFFECT_COLUMNS += ["p_holm", "improvement", "improvement_low", "improvement_high", "verdict", "judged_low"]
EFFECT_COLUMNS += ["judged_high", "p_judged", "p_equivalent", "variance", "reason", "is_primary", "is_exploratory"]
EFFECT_COLUMNS += ["horizon", "analysis", "censored_share", "seconds", "training_steps", "real_samples"]
EFFECT_COLUMNS += ["baseline_seconds", "baseline_training_steps", "baseline_real_samples"]


@dataclass(frozen=True, repr=False)
class Study:
    """The chains of a study, in the order of their paths."""

    chains: Sequence[Chain]

    def __repr__(self) -> str:
        names = [arm.name for arm in self.arms]
        return f"Study({counted(len(names), 'arm')}, {counted(len(self.chains), 'chain')}: {'; '.join(names)})"

    def arm(self, name: str) -> Arm:
        """The arm of this name; UsageError with the names of all if there is none."""
        found = next((arm for arm in self.arms if arm.name == name), None)
        if found is None:
            raise UsageError(f"there is no arm {name!r}: there are {'; '.join(arm.name for arm in self.arms)}")
        return found

    def chain(self, name: str, *, seed: int | None = None) -> Chain:
        """The chain of this label, folder or arm, and of this seed, which may be left out if there is only one."""
        of_arm = {id(chain) for arm in self.arms if arm.name == name for chain in arm.distinct}
        named = [each for each in self.chains if name in (each.label, each.folder.name) or id(each) in of_arm]
        found = [each for each in named if seed in (None, each.seed)]
        if len(found) == 1:
            return found[0]
        if named:
            seeds = ", ".join(str(each.seed) for each in named)
            raise UsageError(f"{name!r} has chains of the seeds {seeds}: choose one with seed=, got seed={seed}")
        raise UsageError(f"there is no chain {name!r}: there are {', '.join(each.label for each in self.chains)}")

    @cached_property
    def records(self) -> pd.DataFrame:
        """One row for each generation of each chain: arm, chain, parts, seed, generation, and each recorded metric."""
        arms = {id(chain): arm.name for arm in self.arms for chain in arm.chains}
        rows = [
            {
                "arm": arms[id(chain)],
                "chain": chain.label,
                **{part: getattr(record, part) for part in ("seed", "data", "model", "regime", "generation")},
                **values_of(record),
            }
            for chain in self.chains
            for record in chain.records
        ]
        return pd.DataFrame(rows)

    def curves(self, key: str) -> pd.DataFrame:
        """A metric by generation (rows), arm and seed (columns); UsageError if no chain has recorded it."""
        curves = {
            (arm.name, chain.seed): pd.Series(
                {record.generation: values_of(record).get(key) for record in chain.records}, dtype=float
            )
            for arm in self.arms
            for chain in arm.distinct
        }
        if all(curve.isna().all() for curve in curves.values()):
            known = sorted({name for arm in self.arms for chain in arm.chains for name in chain.last_values})
            close = get_close_matches(key, known, n=3) or known
            raise UsageError(f"no chain has recorded {key!r}: there are {', '.join(close)}")
        table = pd.DataFrame(curves).sort_index()
        return table.rename_axis(index="generation", columns=["arm", "seed"])

    @cached_property
    def effects(self) -> pd.DataFrame:
        """Each arm against the baseline of its model, by outcome; empty without a baseline, or with a single seed."""
        rows = [
            (
                *(found.baseline.name, row.arm.name, outcome, effect.difference.num_seeds),
                *(effect.difference.mean, effect.difference.low, effect.difference.high),
                *(effect.corrected.low, effect.corrected.high, effect.p_value),
                *(effect.improvement.mean, effect.improvement.low, effect.improvement.high, effect.verdict),
                *(effect.judged.interval.low, effect.judged.interval.high, effect.judged.p_value),
                *(effect.judged.p_equivalent, effect.judged.variance, effect.judged.reason),
                *(outcome == found.outcomes[0], bool(found.below_gate)),
                *(found.horizon if outcome == RMST else found.final, found.analysis.digest),
                row.survival.censored_share if row.survival and outcome == RMST else None,
                *(*astuple(row.spending), *astuple(found.spending)),
            )
            for found in self.comparisons
            for row in found.arms
            for outcome, effect in row.effects.items()
        ]
        return pd.DataFrame(rows, columns=EFFECT_COLUMNS)

    @cached_property
    def arms(self) -> list[Arm]:
        return group_arms(self.chains)

    @cached_property
    def summaries(self) -> list[ArmSummary]:
        """The statistics of every arm."""
        return [ArmSummary(arm) for arm in self.arms]

    @cached_property
    def counted(self) -> list[ArmSummary]:
        """The statistics of the arms with chains that count."""
        return [summary for summary in self.summaries if summary.chains]

    @cached_property
    def main_metrics(self) -> list[str]:
        """The main metrics that any arm measured."""
        return [key for key in MAIN if any(key in summary.first for summary in self.counted)]

    @cached_property
    def comparisons(self) -> list[Comparison]:
        return comparisons(self.arms)

    @cached_property
    def contrasts(self) -> list[Contrast]:
        return contrasts(self.counted)

    @cached_property
    def keepings(self) -> list[Keepings]:
        return keepings(self.arms)

    @cached_property
    def real_curves(self) -> list[RealCurve]:
        return [curve for metric in METRICS for curve in real_curves(self.arms, metric=metric)]

    @cached_property
    def costs(self) -> list[ArmCost]:
        return [cost for arm in self.arms if (cost := cost_of(arm))]

    @cached_property
    def seconds(self) -> float:
        return study_seconds(self.arms)

    @cached_property
    def commands(self) -> list[str]:
        return commands(self.arms)

    @cached_property
    def provenance(self) -> dict[str, str]:
        """Commit, last generation, records and command, each in words; what is known."""
        hashes = (self.records_hash, self.results_hash)
        return provenance(self.chains, typed=self.commands, hashes=hashes)

    @cached_property
    def records_hash(self) -> str:
        """Of the records as they are stored; every run has another."""
        return records_hash(self.chains)

    @cached_property
    def results_hash(self) -> str:
        """Of the records without times, memory and machine; equal runs have the same."""
        return results_hash(self.chains)

    @cached_property
    def differing_settings(self) -> dict[str, list[Any]]:
        """For each setting that differs between the arms, its value in each of them; None if it is absent."""
        keys = list(dict.fromkeys(key for arm in self.arms for key in arm.settings))
        columns = {key: [arm.settings.get(key) for arm in self.arms] for key in keys}
        return {key: values for key, values in columns.items() if any(value != values[0] for value in values)}

    @cached_property
    def shared_settings(self) -> dict[str, Any]:
        """The settings that are the same in all arms."""
        return {key: value for key, value in self.arms[0].settings.items() if key not in self.differing_settings}


def read_study(folders: str | Path | Sequence[str | Path]) -> Study:
    """The study of all chains at and below a folder, or several; UsageError without a run, or for a damaged record."""
    try:
        paths = [Path(each) for each in ([folders] if isinstance(folders, str | Path) else folders)]
    except TypeError as error:
        raise UsageError(f"folders must be a path, or a list of paths: got {folders!r}") from error
    return Study(read_chains(paths))
