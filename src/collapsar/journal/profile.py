"""The collapse profile of one chain, made from its records: what happened to the chain as a whole.

The entry gate is whether generation 0 reproduces the real data well enough for a loss to mean something. What counts
for a chain that ended early stands in README.md of this folder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from collapsar.foundations.record import GenerationRecord
from collapsar.journal.courses import MIN_POINTS, Course, Points, Rate, course_over, growth_rate, half_life, points
from collapsar.journal.definitions import Answer, answer_all, dead_classes, died_classes, first_dead_generation

EntryGate = Literal["passed", "failed"]
Ending = Literal["", "stopped", "broke down"]
"""How a chain ended early; empty if it is finished, or the same command continues it."""

SHARES = {"recall": 0.8, "coverage": 0.7}  # shares of their floors that generation 0 must reach: our conventions
LOST_IN_A_BREAKDOWN = ("modes_disappear", "real_not_reproduced")
VARIANCE_KEYS = ("pca/trace_ratio", "trace_ratio")  # PCA of the pixels sees variance that the classifier ignores


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What happened to a chain."""

    num_generations: int  # that the profile was made from
    ending: Ending
    entry_gate: EntryGate | None  # None if it was not measured
    recall_half_life: float | None  # generations until recall is half of generation 0's; None if it never was
    variance_half_life: float | None  # the same for the variance of the samples; None also if it was not measured
    first_dead_generation: int | None  # the first that lost a class of generation 0's; None if none did
    dead_classes: list[int]  # classes of generation 0's that the last generation lacks
    missing_classes: list[int]  # classes that generation 0 lacks, which is the model's fault
    fid_growth: Rate | None  # None below four generations
    fid_course: Course  # in the later half of the chain
    findings: dict[str, Answer]  # to each definition, by its key

    def to_dict(self) -> dict[str, Any]:
        """The profile as JSON values."""
        return asdict(self)


def profile_chain(records: Sequence[GenerationRecord], *, ending: Ending = "") -> Profile:
    """The profile of one chain, from its records, which may be none; `ending` says how it ended before the last one."""
    records = sorted(records, key=lambda record: record.generation)
    fid, recall = points(records, "fid"), points(records, "recall")
    variance_name, variance = variance_points(records)
    late = fid[-max(MIN_POINTS, (len(fid) + 1) // 2) :]
    late_rate = growth_rate(late)
    course = course_over(late, rate=late_rate)
    answers = answer_all(records, course=course, rate=late_rate, variance=variance, variance_name=variance_name)
    died, generation, broke_down = first_dead_generation(records), len(records), ending == "broke down"
    if broke_down and any(record.class_shares or record.factor_shares for record in records):
        died = generation if died is None else died

    def by_then(time: float | None, *, is_measured: bool) -> float | None:
        return float(generation) if time is None and broke_down and is_measured else time

    return Profile(
        num_generations=generation,
        ending=ending,
        entry_gate=entry_gate(records[0].metrics) if records else "failed" if broke_down else None,
        recall_half_life=by_then(half_life(recall), is_measured=bool(recall) or not records),
        variance_half_life=by_then(half_life(variance), is_measured=bool(variance)),
        first_dead_generation=died,
        dead_classes=died_classes(records[-1], first=records[0]) if records else [],
        missing_classes=dead_classes(records[0]) if records else [],
        fid_growth=growth_rate(fid),
        fid_course=course,
        findings={key: _at_end(key, answer, ending=ending, end=generation) for key, answer in answers.items()},
    )


def _at_end(key: str, answer: Answer, *, ending: Ending, end: int) -> Answer:
    if answer.verdict == "yes" or not ending or (ending == "stopped" and answer.verdict == "undecided"):
        return answer
    if ending == "stopped":  # it might have become a yes
        return replace(answer, verdict="undecided", evidence=f"{answer.evidence}; then the alarm stopped the chain")
    why = f"the numbers broke down in generation {end}"
    evidence = f"{answer.evidence}; then {why}" if end else f"{why}: there was nothing to lose"
    if end and key in LOST_IN_A_BREAKDOWN:
        return replace(answer, verdict="yes", evidence=evidence, generation=end)
    return replace(answer, verdict="undecided", evidence=evidence)


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
