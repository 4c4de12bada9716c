"""What each chain and each arm came to: first and last values, half-life of recall, first dead class, verdicts."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from collapsar.profile import Profile, Verdict, profile_chain
from collapsar.report.arms import Arm, num_choices_apart
from collapsar.report.chains import Chain
from collapsar.report.intervals import Interval, PairedDifference, bounds_of, paired_difference, t_interval

MAIN_METRICS = ("fid", "precision", "recall", "classes_dropped")


@dataclass(frozen=True, kw_only=True)
class ChainSummary:
    """One chain: its main metrics at generation 0 and at its last one, and its profile."""

    chain: Chain
    first: dict[str, float]
    last: dict[str, float]
    profile: Profile

    @property
    def last_generation(self) -> int:
        return self.chain.records[-1].generation


@dataclass(frozen=True, kw_only=True)
class Spell:
    """A time until something happened, over seeds: infinite where it did not happen within the chain.

    Attributes:
        median: Median over seeds; infinite if it did not happen in half of them.
        low: The earliest seed.
        high: The latest seed.
        num_generations: Last generation of the chains, the bound that infinity stands for.
    """

    median: float
    low: float
    high: float
    num_generations: int


@dataclass(frozen=True, kw_only=True)
class ArmVerdict:
    """One definition of collapse over the seeds of an arm: how many chains answered what, one's evidence."""

    definition: str
    counts: dict[Verdict, int]
    verdict: Verdict
    generation: int | None
    evidence: str


@dataclass(frozen=True, kw_only=True)
class ArmSummary:
    """One arm: means over its seeds with 95 % intervals, medians of spells, and verdicts.

    All of them rest on the arm's complete chains.
    """

    arm: Arm
    chains: tuple[ChainSummary, ...]
    first: dict[str, Interval]
    last: dict[str, Interval]
    half_life: Spell | None
    first_dead: Spell | None
    verdicts: dict[str, ArmVerdict]


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """The final values of two arms that differ in one part or setting, seed by seed."""

    first: str
    second: str
    differences: dict[str, PairedDifference]


def summarise_arm(arm: Arm) -> ArmSummary:
    """The summary of an arm; without chains if none has a record."""
    chains = tuple(summarise_chain(chain) for chain in arm.complete)
    return ArmSummary(
        arm=arm,
        chains=chains,
        first=_intervals([chain.first for chain in chains]),
        last=_intervals([chain.last for chain in chains]),
        half_life=_spell(chains, lambda profile: profile.recall_half_life, needs="recall"),
        first_dead=_spell(chains, lambda profile: profile.first_dead_generation, needs="classes_dropped"),
        verdicts=_verdicts(chains),
    )


def summarise_chain(chain: Chain) -> ChainSummary:
    """The summary of a chain that has at least one record."""
    first, last = chain.records[0].metrics, chain.records[-1].metrics
    return ChainSummary(
        chain=chain,
        first={key: first[key] for key in MAIN_METRICS if key in first},
        last={key: last[key] for key in MAIN_METRICS if key in last},
        profile=profile_chain(chain.records),
    )


def contrasts(summaries: Sequence[ArmSummary]) -> list[Contrast]:
    """Paired differences of the final values, between arms of one length that share seeds and differ in one choice."""
    pairs = [(one, other) for index, one in enumerate(summaries) for other in summaries[index + 1 :]]
    return [
        Contrast(first=one.arm.name, second=other.arm.name, differences=differences)
        for one, other in pairs
        if num_choices_apart(one.arm, other.arm) == 1 and (differences := _differences(one, other))
    ]


def _differences(one: ArmSummary, other: ArmSummary) -> dict[str, PairedDifference]:
    found: dict[str, PairedDifference] = {}
    if one.chains[0].last_generation != other.chains[0].last_generation:
        return found
    for key in MAIN_METRICS:
        first, second = ({c.chain.seed: c.last[key] for c in arm.chains if key in c.last} for arm in (one, other))
        if (difference := paired_difference(first, second)) is not None:
            found[key] = difference
    return found


def _intervals(values: Sequence[dict[str, float]]) -> dict[str, Interval]:
    found = {key: t_interval([own[key] for own in values if key in own], within=bounds_of(key)) for key in MAIN_METRICS}
    return {key: interval for key, interval in found.items() if interval is not None}


def _spell(chains: Sequence[ChainSummary], measure: Callable[[Profile], float | None], *, needs: str) -> Spell | None:
    spells = sorted(
        math.inf if (value := measure(chain.profile)) is None else float(value)
        for chain in chains
        if needs in chain.first
    )
    if not spells:
        return None
    middle = len(spells) // 2
    median = spells[middle] if len(spells) % 2 else (spells[middle - 1] + spells[middle]) / 2
    return Spell(median=median, low=spells[0], high=spells[-1], num_generations=chains[0].last_generation)


def _verdicts(chains: Sequence[ChainSummary]) -> dict[str, ArmVerdict]:
    return {key: _combine(chains, key) for key in (chains[0].profile.findings if chains else ())}


def _combine(chains: Sequence[ChainSummary], key: str) -> ArmVerdict:
    """An arm's verdict is the one that all its seeds agree on, otherwise undecided."""
    findings = [chain.profile.findings[key] for chain in chains]
    answers: tuple[Verdict, ...] = ("yes", "no", "undecided")
    counts = {answer: sum(finding.verdict == answer for finding in findings) for answer in answers}
    generations = sorted(finding.generation for finding in findings if finding.generation is not None)
    return ArmVerdict(
        definition=findings[0].definition,
        counts=counts,
        verdict=findings[0].verdict if counts[findings[0].verdict] == len(findings) else "undecided",
        generation=generations[len(generations) // 2] if generations else None,
        evidence=findings[0].evidence,
    )
