"""The summary of each arm: first and last values, half-life of recall, first dead class, verdicts, and its costs.

A chain that its alarm stopped or whose numbers broke down counts with its last values; one that broke down before its
first record counts with the worst. If a chain took over another chain's model, the training counts for that other one.
It is recognised by its recorded steps and losses, which are the same in all chains that share it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from collapsar.foundations.record import GenerationRecord
from collapsar.journal.courses import Course
from collapsar.journal.definitions import Verdict
from collapsar.judging.metric_keys import MAIN, NOT_NEGATIVE, bounds_of
from collapsar.study.arms import Arm, num_choices_apart
from collapsar.study.chains import Chain
from collapsar.study.intervals import Interval, PairedDifference, paired_difference, t_interval
from collapsar.study.survival import WaitingTime, waiting_time


@dataclass(frozen=True, kw_only=True)
class ArmFinding:
    """One definition of collapse over the seeds of an arm."""

    definition: str  # the definition in words
    counts: dict[Verdict, int]  # how many chains answered yes, no and undecided
    verdict: Verdict  # the answer that all chains gave, otherwise undecided
    generation: int | None  # the median generation at which it happened; None if it did not
    evidence: str  # evidence of the first chain that answered yes or, if none did, of the first chain
    seed: int  # the seed of that chain


@dataclass(frozen=True)
class ArmSummary:
    """The statistics of one arm: means over its seeds with 95 % intervals, waiting times, and verdicts.

    Means and verdicts use the chains that count; waiting times use all of them, the shorter ones censored.
    """

    arm: Arm

    @property
    def chains(self) -> tuple[Chain, ...]:
        """The arm's chains that count."""
        return self.arm.counted

    @cached_property
    def first(self) -> dict[str, Interval]:
        """Main metrics at generation 0."""
        return _intervals([chain.first for chain in self.chains])

    @cached_property
    def last(self) -> dict[str, Interval]:
        """Main metrics at the last generation."""
        return _intervals([chain.last for chain in self.chains])

    @cached_property
    def kept_recall(self) -> Interval | None:
        """Final recall as a share of generation 0's, over the seeds that had any."""
        ends = [(chain.first.get("recall", 0.0), chain.last.get("recall")) for chain in self.chains]
        return t_interval([last / first for first, last in ends if first > 0 and last is not None], within=NOT_NEGATIVE)

    @cached_property
    def half_life(self) -> WaitingTime | None:
        """Generations until recall is half of generation 0's."""
        return self._waiting_time("recall_half_life")

    @cached_property
    def variance_half_life(self) -> WaitingTime | None:
        """Generations until the variance is half of generation 0's."""
        return self._waiting_time("variance_half_life")

    @cached_property
    def first_dead(self) -> WaitingTime | None:
        """Generations until the first class is dropped."""
        return self._waiting_time("first_dead_generation")

    @cached_property
    def fid_growth(self) -> Interval | None:
        """The mean slope of FID over seeds; for a single chain, its own slope with the interval of Theil and Sen."""
        rates = [chain.profile.fid_growth for chain in self.chains if chain.profile.fid_growth is not None]
        if len(rates) == 1:
            return Interval(mean=rates[0].slope, low=rates[0].low, high=rates[0].high, num_seeds=1)
        return t_interval([rate.slope for rate in rates])

    @cached_property
    def fid_course(self) -> Course:
        """What FID does in the later half if all seeds agree, otherwise undecided."""
        courses = {chain.profile.fid_course for chain in self.chains}
        return courses.pop() if len(courses) == 1 else "undecided"

    @cached_property
    def verdicts(self) -> dict[str, ArmFinding]:
        """By definition of collapse."""
        return {key: _verdict(self.chains, key) for key in (self.chains[0].profile.findings if self.chains else ())}

    def _waiting_time(self, event: str) -> WaitingTime | None:
        measured = [chain for chain in self.arm.distinct if chain.has_outcome and chain.measures(event)]
        lengths = [max(chain.last_generation, 0) for chain in measured]
        return waiting_time([getattr(chain.profile, event) for chain in measured], lengths=lengths)


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """The final values of two arms that differ in one part or setting, seed by seed."""

    first: str
    second: str
    differences: dict[str, PairedDifference]


def contrasts(summaries: Sequence[ArmSummary]) -> list[Contrast]:
    """Paired differences of final values, between arms of equal length that share seeds and differ in one choice."""
    found = []
    for pair in combinations(summaries, 2):
        one, other = (summary.arm for summary in pair)
        if num_choices_apart(one, other) == 1 and one.horizon == other.horizon:
            differences: dict[str, PairedDifference] = {}
            for key in MAIN:
                first, second = ({c.seed: c.last[key] for c in summary.chains if key in c.last} for summary in pair)
                if (difference := paired_difference(first, second)) is not None:
                    differences[key] = difference
            if differences:
                found.append(Contrast(first=one.name, second=other.name, differences=differences))
    return found


def _intervals(values: Sequence[dict[str, float]]) -> dict[str, Interval]:
    found = {key: t_interval([own[key] for own in values if key in own], within=bounds_of(key)) for key in MAIN}
    return {key: interval for key, interval in found.items() if interval is not None}


def _verdict(chains: Sequence[Chain], key: str) -> ArmFinding:
    findings = [chain.profile.findings[key] for chain in chains]
    answers: tuple[Verdict, ...] = ("yes", "no", "undecided")
    counts = {answer: sum(finding.verdict == answer for finding in findings) for answer in answers}
    shown = next((index for index, finding in enumerate(findings) if finding.verdict == "yes"), 0)
    generations = sorted(finding.generation for finding in findings if finding.generation is not None)
    return ArmFinding(
        definition=findings[0].definition,
        counts=counts,
        verdict=findings[0].verdict if counts[findings[0].verdict] == len(findings) else "undecided",
        generation=generations[len(generations) // 2] if generations else None,
        evidence=findings[shown].evidence,
        seed=chains[shown].seed,
    )


@dataclass(frozen=True, kw_only=True)
class ArmCost:
    """The costs of an arm's chains."""

    arm: str  # the arm's name
    phase_seconds: dict[str, float]  # mean of a generation, by phase; a shared training counts in full
    chain_seconds: float  # mean seconds that a chain spent itself
    shared_seconds: float  # mean seconds, over chains, of trainings that another chain did
    peak_bytes: int | None  # largest resident memory of any generation; None if unknown


def cost_of(arm: Arm) -> ArmCost | None:
    """The costs of an arm; None without records."""
    chains = [chain for chain in arm.chains if chain.records]
    if not chains:
        return None
    records = [record for chain in chains for record in chain.records]
    seconds = [record.seconds | record.shared_seconds for record in records]
    names = dict.fromkeys(phase for found in seconds for phase in found)
    return ArmCost(
        arm=arm.name,
        phase_seconds={name: float(np.mean([found.get(name, 0.0) for found in seconds])) for name in names},
        chain_seconds=sum(sum(record.seconds.values()) for record in records) / len(chains),
        shared_seconds=sum(sum(record.shared_seconds.values()) for record in records) / len(chains),
        peak_bytes=max(record.peak_memory_bytes for record in records) or None,
    )


def study_seconds(arms: Sequence[Arm]) -> float:
    """Seconds of all chains together; a training that several share counts once, wherever it was done."""
    records = [record for arm in arms for chain in arm.chains for record in chain.records]
    done_here = {_training_key(record) for record in records if not record.shared_seconds}
    shared = {_training_key(record): sum(record.shared_seconds.values()) for record in records if record.shared_seconds}
    elsewhere = sum(seconds for key, seconds in shared.items() if key not in done_here)
    return float(sum(sum(record.seconds.values()) for record in records) + elsewhere)


def _training_key(record: GenerationRecord) -> str:
    return json.dumps([record.seed, record.generation, record.training], sort_keys=True)
