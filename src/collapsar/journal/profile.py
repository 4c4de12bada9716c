"""The collapse profile of one chain, made from its records: what happened to the chain as a whole.

It holds half-lives, the growth and course of the error, deaths of classes, and an answer to each definition of collapse
(`collapsar.journal.findings`). Half-lives are counted in generations from generation 0.

The entry gate is whether generation 0 reproduces the real data well enough for a loss to mean something. It saw real
data only, so what it lacks is the model's fault, not collapse. A floor is what real samples reach in place of synthetic
ones.

A chain that its alarm stopped, or whose numbers broke down, is an outcome. After a breakdown nothing is drawn, so all
that had not happened by then happens in the generation that broke down. A stopped chain might have lost more later, so
no definition is answered no.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from collapsar.journal.courses import Course, Points, Rate, course_over, growth_rate, half_life, later_half, points
from collapsar.journal.findings import Finding, answer_all, dead_classes, died_classes, first_dead_generation
from collapsar.records.record import GenerationRecord

EntryGate = Literal["passed", "failed"]
Ending = Literal["", "stopped", "broke down"]
"""How a chain ended early; empty if it is finished, or the same command continues it."""

SHARES = {"recall": 0.8, "coverage": 0.7}  # shares of their floors that generation 0 must reach: our conventions
LOST_IN_A_BREAKDOWN = ("modes_disappear", "real_not_reproduced")
VARIANCE_KEYS = ("pca/trace_ratio", "trace_ratio")  # PCA of the pixels sees variance that the classifier ignores


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What happened to a chain.

    Attributes:
        num_generations: Generations that the profile was made from.
        ending: How it ended before its last generation; empty if it did not.
        entry_gate: Whether generation 0 is good enough for losses to mean something; None if that was not measured.
        recall_half_life: Generations until recall is half of generation 0's, 0 if that is 0; None if it never was.
        variance_half_life: The same for the variance of the samples; None also if it was not measured.
        first_dead_generation: First generation that lost a class of generation 0's; None if none did.
        dead_classes: Classes of generation 0's that the last generation lacks.
        missing_classes: Classes that generation 0 lacks, which is the model's fault.
        fid_growth: Slope of FID; None below four generations.
        fid_course: Course of FID in the later half of the chain.
        findings: One answer for each definition, by a stable key.
    """

    num_generations: int
    ending: Ending
    entry_gate: EntryGate | None
    recall_half_life: float | None
    variance_half_life: float | None
    first_dead_generation: int | None
    dead_classes: list[int]
    missing_classes: list[int]
    fid_growth: Rate | None
    fid_course: Course
    findings: dict[str, Finding]

    def to_dict(self) -> dict[str, Any]:
        """The profile as JSON values."""
        return asdict(self)


def profile_chain(records: Sequence[GenerationRecord], *, ending: Ending = "") -> Profile:
    """The collapse profile of one chain, from the records of its finished generations.

    Without records it has no answers. `ending` says how the chain ended before its last generation.
    """
    records = sorted(records, key=lambda record: record.generation)
    fid, recall = points(records, "fid"), points(records, "recall")
    variance_name, variance = variance_points(records)
    late_rate = growth_rate(later_half(fid))
    course = course_over(later_half(fid), rate=late_rate)
    profile = Profile(
        num_generations=len(records),
        ending=ending,
        entry_gate=entry_gate(records[0].metrics) if records else None,
        recall_half_life=half_life(recall),
        variance_half_life=half_life(variance),
        first_dead_generation=first_dead_generation(records),
        dead_classes=died_classes(records[-1], first=records[0]) if records else [],
        missing_classes=dead_classes(records[0]) if records else [],
        fid_growth=growth_rate(fid),
        fid_course=course,
        findings=answer_all(records, course=course, rate=late_rate, variance=variance, variance_name=variance_name),
    )
    if ending == "stopped":
        for key, finding in profile.findings.items():
            if finding.verdict == "no":  # it might have become a yes
                evidence = f"{finding.evidence}; then the alarm stopped the chain"
                profile.findings[key] = replace(finding, verdict="undecided", evidence=evidence)
    return _broken_down(profile, records) if ending == "broke down" else profile


def _broken_down(profile: Profile, records: Sequence[GenerationRecord]) -> Profile:
    """The profile of a chain whose numbers broke down in the generation after its last record."""
    generation, died = len(records), profile.first_dead_generation
    has_classes = any(record.class_shares or record.factor_shares for record in records)
    has_recall, has_variance = not records or bool(points(records, "recall")), bool(variance_points(records)[1])

    def by_then(time: float | None, *, is_measured: bool) -> float | None:
        return float(generation) if time is None and is_measured else time

    return replace(
        profile,
        entry_gate=profile.entry_gate if records else "failed",
        recall_half_life=by_then(profile.recall_half_life, is_measured=has_recall),
        variance_half_life=by_then(profile.variance_half_life, is_measured=has_variance),
        first_dead_generation=generation if died is None and has_classes else died,
        findings={
            key: finding if finding.verdict == "yes" else _after_breakdown(key, finding, generation=generation)
            for key, finding in profile.findings.items()
        },
    )


def _after_breakdown(key: str, finding: Finding, *, generation: int) -> Finding:
    evidence = f"the numbers broke down in generation {generation}"
    if generation == 0:
        return replace(finding, verdict="undecided", evidence=f"{evidence}: there was nothing to lose")
    evidence = f"{finding.evidence}; then {evidence}"
    if key in LOST_IN_A_BREAKDOWN:
        return replace(finding, verdict="yes", evidence=evidence, generation=generation)
    return replace(finding, verdict="undecided", evidence=evidence)


def variance_points(records: Sequence[GenerationRecord]) -> tuple[str, Points]:
    """The name and points of the total variance: an analytic model's own, else samples' relative to real data's.

    A model's own comes first because it is exact. The trace is preferred to the determinant (generalised_variance),
    which a single dimension of near zero variance decides.
    """
    fitted = [(record.generation, total) for record in records if (total := fitted_variance(record)) is not None]
    measured = ((key, points(records, key)) for key in VARIANCE_KEYS)
    return next(((name, found) for name, found in (("fitted variance", fitted), *measured) if found), ("variance", []))


def fitted_variance(record: GenerationRecord) -> float | None:
    """The total variance of an analytic model: the sum of its variances, or the trace of its covariance; else None."""
    if "variance" in record.fitted:
        return float(np.sum(record.fitted["variance"]))
    return float(np.trace(record.fitted["covariance"])) if "covariance" in record.fitted else None


def entry_gate(metrics: Mapping[str, float]) -> EntryGate | None:
    """Whether generation 0 passed; None if a metric or its floor was not measured and no other metric failed."""
    reached = [_reached(metrics, key) for key in SHARES]
    if False in reached:
        return "failed"
    return None if None in reached else "passed"


def gate_evidence(metrics: Mapping[str, float]) -> str:
    """Each metric's value beside its floor: recall 0.62 of 0.94."""
    measured = [key for key in SHARES if _reached(metrics, key) is not None]
    words = [f"{key} {metrics[key]:.2g} of {metrics[f'{key}_floor']:.2g}" for key in measured]
    return ", ".join(words) or "recall and coverage were not measured beside their floors"


def _reached(metrics: Mapping[str, float], key: str) -> bool | None:
    value, floor = metrics.get(key), metrics.get(f"{key}_floor")
    return None if value is None or not floor else bool(value >= SHARES[key] * floor)
