"""The judge: from the numbers of a finding's chains to reproduced, contradicted or undecided, and its controls.

The 99 % interval of Student's t over seeds decides by regions. A law is reproduced within three standard errors at a
precision of one per cent, and contradicted beyond four. The rules stand in README.md of `conf/finding`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from collapsar.findings.finding import Finding, Statistic
from collapsar.findings.values import Evidence, against_itself, all_chains, expected_value, is_dead, seed_values
from collapsar.judging.metric_keys import METRICS, groups_of, split_key
from collapsar.study.comparison import UNLABELLED
from collapsar.study.intervals import Interval, mean_interval
from collapsar.study.provenance import records_hash, results_hash

Verdict: TypeAlias = Literal["reproduced", "contradicted", "undecided"]
CONFIDENCE = 0.99
WITHIN, BEYOND = 3.0, 4.0  # standard errors of a law: reproduced within, contradicted beyond
PRECISION = 0.01  # largest standard error, as a share of the law
WRONG_LAWS = (0.98, 1.02)  # a control: these multiples of the law must be rejected
ROUNDING = 1e-9
DIGITS = "digits"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A statistic, judged: its 99 % interval, what was expected, and why it is undecided if the numbers are not why."""

    statistic: Statistic
    verdict: Verdict
    interval: Interval | None
    standard_error: float | None = None
    expected: float | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class ControlResult:
    """A control of a finding, and whether it held."""

    name: str
    held: bool
    text: str


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A finding, judged on the chains of `evidence`."""

    finding: Finding
    evidence: Evidence
    judged: tuple[Judged, ...]
    controls: tuple[ControlResult, ...]
    look: int  # seeds of each arm that were judged
    seconds: float  # what the chains cost, and those of the finding's own controls
    standing: tuple[str, ...] = ()  # what limits the verdict beside its tier: exploratory, or of digits

    @property
    def verdict(self) -> Verdict:
        return together(self.judged)

    @property
    def controls_hold(self) -> bool:
        return all(control.held for control in self.controls)

    @property
    def dead(self) -> list[str]:
        """Labels of the chains that count as the worst outcome, with how each ended."""
        return [f"{chain.label}: {chain.problem}" for chain in all_chains(self.evidence.chains) if is_dead(chain)]

    @property
    def records(self) -> str:
        """The hash of the chains' records, as they are stored."""
        return records_hash(all_chains(self.evidence.chains))

    @property
    def results(self) -> str:
        """The hash of the chains' records without times, memory and machine."""
        return results_hash(all_chains(self.evidence.chains))


def judge_values(statistic: Statistic, values: Sequence[float], *, expected: float | None = None) -> Judged:
    """What the values of a statistic, one for each seed, say."""
    if len(values) < 2 or not all(map(math.isfinite, values)):
        reason = "it was not measured in all chains" if any(map(math.isnan, values)) else "its worst value is infinite"
        reason = reason if len(values) > 1 else "fewer than two seeds"
        return Judged(statistic=statistic, verdict="undecided", interval=None, expected=expected, reason=reason)
    found = np.asarray(values, dtype=float)
    interval = mean_interval(found, confidence=CONFIDENCE)
    error = float(found.std(ddof=1)) / math.sqrt(len(found)) if np.ptp(found) > 0 else 0.0
    low, high = interval.low or 0.0, interval.high or 0.0  # neither is None, as there are two seeds
    verdict: Verdict = "undecided"
    reason = ""
    if expected is not None:
        apart = abs(interval.mean - expected)
        is_precise = error <= PRECISION * abs(expected)
        if apart <= max(WITHIN * error, ROUNDING * abs(expected)):
            verdict = "reproduced" if is_precise else "undecided"
            reason = "" if is_precise else f"standard error {error / abs(expected):.1%}, more than {PRECISION:.0%}"
        elif apart > BEYOND * error:
            verdict = "contradicted"
    elif statistic.reproduced is not None and statistic.reproduced.holds(low, high):
        verdict = "reproduced"
    elif any(region.holds(low, high) for region in statistic.contradicted):
        verdict = "contradicted"
    return Judged(
        statistic=statistic, verdict=verdict, interval=interval, standard_error=error, expected=expected, reason=reason
    )


def judge_finding(finding: Finding, evidence: Evidence, *, look: int) -> Judgement:
    """The verdict of a finding on its chains, with its controls."""
    judged, chains = judge_statistics(finding, evidence), all_chains(evidence.chains)
    is_of_images = any(len(chain.config["data"].get("sample_shape") or ()) == 3 for chain in chains)
    if is_of_images:
        judged = [_agreed(own, finding, evidence) for own in judged]
    records = [record for chain in chains for record in chain.records]
    return Judgement(
        finding=finding,
        evidence=evidence,
        judged=tuple(judged),
        controls=tuple(_controls(finding, evidence, judged)),
        look=look,
        seconds=sum(record.all_seconds for record in records),
        standing=tuple(_standing(evidence)) if is_of_images else (),
    )


def judge_statistics(finding: Finding, evidence: Evidence) -> list[Judged]:
    """Every statistic of a finding on these chains."""
    return [
        judge_values(own, [*seed_values(finding, own, evidence).values()], expected=expected_value(own, evidence))
        for own in finding.statistics
    ]


def together(judged: Sequence[Judged]) -> Verdict:
    """Contradicted if any statistic is, reproduced if all are, else undecided."""
    verdicts = [own.verdict for own in judged]
    if "contradicted" in verdicts:
        return "contradicted"
    return "reproduced" if all(verdict == "reproduced" for verdict in verdicts) else "undecided"


def _controls(finding: Finding, evidence: Evidence, judged: Sequence[Judged]) -> list[ControlResult]:
    """Arms swapped, the baseline against itself, and wrong laws; each as far as it applies to the finding."""
    swapped = evidence.swapped(finding)
    verdict = together(judge_statistics(finding, swapped))
    what = "generations reversed" if swapped.is_reversed else "arms swapped"
    found = [ControlResult(name=what, held=verdict != "reproduced", text=verdict)]
    for own in judged:
        name = own.statistic.name
        if own.statistic.minus is not None:
            differences = [*against_itself(own.statistic, evidence).values()]
            itself = judge_values(own.statistic, differences, expected=own.expected)
            held = itself.verdict != "reproduced" if own.expected is not None else itself.verdict == "undecided"
            found.append(ControlResult(name=f"{name}: baseline against itself", held=held, text=itself.verdict))
        if own.expected is not None:
            values = [*seed_values(finding, own.statistic, evidence).values()]
            wrong = [judge_values(own.statistic, values, expected=factor * own.expected) for factor in WRONG_LAWS]
            verdicts = [each.verdict for each in wrong]
            held = set(verdicts) == {"contradicted"}
            found.append(ControlResult(name=f"{name}: a law off by 2 %", held=held, text=" and ".join(verdicts)))
    return found


def _agreed(judged: Judged, finding: Finding, evidence: Evidence) -> Judged:
    """The statistic; undecided unless a space that saw no labels has the same sign, if it is measured in spaces."""
    statistic, groups = judged.statistic, groups_of(judged.statistic.metric, among=METRICS)
    is_in_no_space = bool(groups) and not any(METRICS[group].measure for group in groups)
    if judged.verdict == "undecided" or split_key(statistic.metric).space or is_in_no_space:
        return judged
    neutral = 1.0 if statistic.reduce == "ratio_to_first" else 0.0
    own = np.mean([*seed_values(finding, statistic, evidence).values()]) - neutral
    for space in UNLABELLED:
        apart = np.mean([*seed_values(finding, statistic, evidence, space=space).values()]) - neutral
        if np.sign(own) == np.sign(apart):
            return judged
        if not np.isnan(apart):
            reason = f"the space {space}, which saw no labels, does not agree"
            return replace(judged, verdict="undecided", reason=reason)
    return replace(judged, verdict="undecided", reason="no space that saw no labels was measured")


def _standing(evidence: Evidence) -> list[str]:
    chains = all_chains(evidence.chains)
    gates = {chain.profile.entry_gate for chain in chains}
    found = []
    if gates != {"passed"}:
        why = "fails the entry gate" if "failed" in gates else "was not held against the entry gate"
        found.append(f"exploratory: generation 0 {why}")
    if any(record.data == DIGITS for chain in chains for record in chain.records[:1]):
        found.append("analogue, digits: no verdict on images")
    return found
