"""A study: the chains below some folders, read once, and what they show, computed when it is first asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from collapsar.judging.metric_keys import MAIN
from collapsar.study.arms import Arm, group_arms
from collapsar.study.chains import Chain, read_chains
from collapsar.study.comparison import Comparison, comparisons
from collapsar.study.costs import ArmCost, costs, study_seconds
from collapsar.study.predictors import Keepings, keepings
from collapsar.study.summaries import ArmSummary, Contrast, contrasts


@dataclass(frozen=True)
class Study:
    """The chains of a study, in the order of their paths."""

    chains: Sequence[Chain]

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
    def costs(self) -> list[ArmCost]:
        return costs(self.arms)

    @cached_property
    def seconds(self) -> float:
        return study_seconds(self.arms)

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


def read_study(folders: Sequence[Path]) -> Study:
    """The study of all chains at and below the folders.

    Raises:
        UsageError: a folder does not exist or holds no run, or a record cannot be read.
    """
    return Study(read_chains(folders))
