"""The summary of each chain and each arm: first and last values, half-life of recall, first dead class, verdicts.

A chain that its alarm stopped or whose numbers broke down counts with its last values; one that broke down before its
first record counts with the worst.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from collapsar.journal.courses import Course
from collapsar.journal.findings import Verdict
from collapsar.journal.profile import Profile, variance_points
from collapsar.judging.metric_keys import MAIN, NOT_NEGATIVE, bounds_of
from collapsar.study.arms import Arm, num_choices_apart
from collapsar.study.chains import Chain
from collapsar.study.intervals import (
    Interval,
    PairedDifference,
    paired_difference,
    t_interval,
)
from collapsar.study.waiting import WaitingTime, waiting_time


@dataclass(frozen=True, kw_only=True)
class ChainSummary:
    """One chain: its main metrics at generation 0 and at its last one, and its profile."""

    chain: Chain
    first: dict[str, float]
    last: dict[str, float]
    profile: Profile

    @property
    def last_generation(self) -> int:
        return max(self.chain.last_generation, 0)


@dataclass(frozen=True, kw_only=True)
class ArmVerdict:
    """One definition of collapse over the seeds of an arm.

    Attributes:
        definition: The definition in words.
        counts: How many chains answered yes, no and undecided.
        verdict: The answer that all chains gave, otherwise undecided.
        generation: The median generation at which it happened; None if it did not.
        evidence: Evidence of the first chain that answered yes or, if none did, of the first chain.
        seed: The seed of that chain.
    """

    definition: str
    counts: dict[Verdict, int]
    verdict: Verdict
    generation: int | None
    evidence: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class ArmSummary:
    """One arm: means over its seeds with 95 % intervals, waiting times, and verdicts.

    Means and verdicts use the chains that count; waiting times use all of them, the shorter ones censored.

    Attributes:
        chains: The arm's chains that count.
        first: Main metrics at generation 0.
        last: The same at the last generation.
        kept_recall: Final recall as a share of generation 0's, over the seeds that had any.
        half_life: Generations until recall is half of generation 0's.
        variance_half_life: The same for the variance.
        first_dead: Generations until the first class is dropped.
        fid_growth: Slope of FID per generation.
        fid_course: What FID does in the later half if all seeds agree, otherwise undecided.
        verdicts: By definition of collapse.
    """

    arm: Arm
    chains: tuple[ChainSummary, ...]
    first: dict[str, Interval]
    last: dict[str, Interval]
    kept_recall: Interval | None
    half_life: WaitingTime | None
    variance_half_life: WaitingTime | None
    first_dead: WaitingTime | None
    fid_growth: Interval | None
    fid_course: Course
    verdicts: dict[str, ArmVerdict]


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """The final values of two arms that differ in one part or setting, seed by seed."""

    first: str
    second: str
    differences: dict[str, PairedDifference]


def summarise_arm(arm: Arm) -> ArmSummary:
    """The summary of an arm; it has no chains if none counts."""
    counted = arm.counted
    started = [summarise_chain(chain) for chain in arm.distinct if chain.has_outcome]
    chains = tuple(summary for summary in started if summary.chain in counted)
    with_variance = [summary for summary in started if variance_points(summary.chain.records)[1]]
    return ArmSummary(
        arm=arm,
        chains=chains,
        first=_intervals([chain.first for chain in chains]),
        last=_intervals([chain.last for chain in chains]),
        kept_recall=_kept_recall(chains),
        half_life=_waiting_time(started, lambda profile: profile.recall_half_life, needs="recall"),
        variance_half_life=_waiting_time(with_variance, lambda profile: profile.variance_half_life, needs=None),
        first_dead=_waiting_time(started, lambda profile: profile.first_dead_generation, needs="classes_dropped"),
        fid_growth=_fid_growth(chains),
        fid_course=_fid_course(chains),
        verdicts=_verdicts(chains),
    )


def summarise_chain(chain: Chain) -> ChainSummary:
    """The summary of a chain that has a record, or broke down before the first one."""
    first, last = chain.metrics_at(0), chain.metrics_at(max(chain.last_generation, 0))
    return ChainSummary(
        chain=chain,
        first={key: first[key] for key in MAIN if key in first},
        last={key: last[key] for key in MAIN if key in last},
        profile=chain.profile,
    )


def contrasts(summaries: Sequence[ArmSummary]) -> list[Contrast]:
    """Paired differences of final values, between arms of equal length that share seeds and differ in one choice."""
    pairs = [(one, other) for index, one in enumerate(summaries) for other in summaries[index + 1 :]]
    return [
        Contrast(first=one.arm.name, second=other.arm.name, differences=differences)
        for one, other in pairs
        if num_choices_apart(one.arm, other.arm) == 1 and (differences := _differences(one, other))
    ]


def _differences(one: ArmSummary, other: ArmSummary) -> dict[str, PairedDifference]:
    found: dict[str, PairedDifference] = {}
    if not (one.chains and other.chains) or one.arm.horizon != other.arm.horizon:
        return found
    for key in MAIN:
        first, second = ({c.chain.seed: c.last[key] for c in arm.chains if key in c.last} for arm in (one, other))
        if (difference := paired_difference(first, second)) is not None:
            found[key] = difference
    return found


def _intervals(values: Sequence[dict[str, float]]) -> dict[str, Interval]:
    found = {key: t_interval([own[key] for own in values if key in own], within=bounds_of(key)) for key in MAIN}
    return {key: interval for key, interval in found.items() if interval is not None}


def _kept_recall(chains: Sequence[ChainSummary]) -> Interval | None:
    pairs = [(chain.first.get("recall", 0.0), chain.last.get("recall")) for chain in chains]
    return t_interval([last / first for first, last in pairs if first > 0 and last is not None], within=NOT_NEGATIVE)


def _fid_growth(chains: Sequence[ChainSummary]) -> Interval | None:
    """The mean slope of FID over seeds; for a single chain, its own slope with the interval of Theil and Sen."""
    rates = [chain.profile.fid_growth for chain in chains if chain.profile.fid_growth is not None]
    if len(rates) == 1:
        return Interval(mean=rates[0].slope, low=rates[0].low, high=rates[0].high, num_seeds=1)
    return t_interval([rate.slope for rate in rates])


def _fid_course(chains: Sequence[ChainSummary]) -> Course:
    courses = {chain.profile.fid_course for chain in chains}
    return courses.pop() if len(courses) == 1 else "undecided"


def _waiting_time(
    chains: Sequence[ChainSummary], measure: Callable[[Profile], int | float | None], *, needs: str | None
) -> WaitingTime | None:
    """Over the chains that measured `needs`, whether they are finished or not."""
    measured = [chain for chain in chains if needs is None or needs in chain.first]
    return waiting_time(
        [measure(chain.profile) for chain in measured], lengths=[chain.last_generation for chain in measured]
    )


def _verdicts(chains: Sequence[ChainSummary]) -> dict[str, ArmVerdict]:
    return {key: _combine(chains, key) for key in (chains[0].profile.findings if chains else ())}


def _combine(chains: Sequence[ChainSummary], key: str) -> ArmVerdict:
    findings = [chain.profile.findings[key] for chain in chains]
    answers: tuple[Verdict, ...] = ("yes", "no", "undecided")
    counts = {answer: sum(finding.verdict == answer for finding in findings) for answer in answers}
    shown = next((index for index, finding in enumerate(findings) if finding.verdict == "yes"), 0)
    generations = sorted(finding.generation for finding in findings if finding.generation is not None)
    return ArmVerdict(
        definition=findings[0].definition,
        counts=counts,
        verdict=findings[0].verdict if counts[findings[0].verdict] == len(findings) else "undecided",
        generation=generations[len(generations) // 2] if generations else None,
        evidence=findings[shown].evidence,
        seed=chains[shown].chain.seed,
    )
