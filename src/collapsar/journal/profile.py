"""Records of one chain -> its collapse profile: what happened to the chain as a whole.

Half-lives, the growth and course of the error, deaths of classes, and an answer to each definition of collapse
(`collapsar.journal.findings`). Half-lives are counted in generations from generation 0.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from collapsar.journal.courses import Course, Points, Rate, course_over, growth_rate, half_life, later_half, points
from collapsar.journal.findings import (
    Finding,
    contamination_hurts,
    dead_classes,
    error_diverges,
    error_rises,
    error_rises_catastrophically,
    first_dead_generation,
    modes_disappear,
    modes_merge,
    real_not_reproduced,
    variance_vanishes,
)
from collapsar.records.record import GenerationRecord

VARIANCE_KEYS = ("pca/trace_ratio", "trace_ratio")  # PCA of the pixels sees variance that the classifier ignores


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What happened to a chain.

    Attributes:
        num_generations: Generations the profile was made from.
        recall_half_life: Generations until recall is half of generation 0's; None if it never was.
        variance_half_life: The same for the variance of the samples; None also if it was not measured.
        first_dead_generation: First generation that dropped a class; None if none did.
        dead_classes: Classes dropped in the last generation.
        fid_growth: Slope of FID; None below four generations.
        fid_course: What FID does in the later half of the chain.
        findings: One answer for each definition, by a stable key.
    """

    num_generations: int
    recall_half_life: float | None
    variance_half_life: float | None
    first_dead_generation: int | None
    dead_classes: list[int]
    fid_growth: Rate | None
    fid_course: Course
    findings: dict[str, Finding]

    def to_dict(self) -> dict[str, Any]:
        """The profile as JSON values."""
        return asdict(self)


def profile_chain(records: Sequence[GenerationRecord]) -> Profile:
    """The collapse profile of one chain; of an empty chain, one without answers."""
    records = sorted(records, key=lambda record: record.generation)
    fid, recall = points(records, "fid"), points(records, "recall")
    variance_name, variance = variance_points(records)
    late_rate = growth_rate(later_half(fid))
    course = course_over(later_half(fid), rate=late_rate)
    return Profile(
        num_generations=len(records),
        recall_half_life=half_life(recall),
        variance_half_life=half_life(variance),
        first_dead_generation=first_dead_generation(records),
        dead_classes=dead_classes(records[-1]) if records else [],
        fid_growth=growth_rate(fid),
        fid_course=course,
        findings={
            "error_rises": error_rises(fid),
            "error_rises_catastrophically": error_rises_catastrophically(fid, course=course),
            "error_diverges": error_diverges(fid, course=course, rate=late_rate),
            "variance_vanishes": variance_vanishes(variance, name=variance_name),
            "modes_disappear": modes_disappear(records),
            "modes_merge": modes_merge(records),
            "contamination_hurts": contamination_hurts(),
            "real_not_reproduced": real_not_reproduced(recall),
        },
    )


def variance_points(records: Sequence[GenerationRecord]) -> tuple[str, Points]:
    """The total variance with its name: an analytic model's own, else that of the samples over that of real data.

    A model's own comes first because it is exact. The trace is preferred to the determinant (generalised_variance),
    which a single dimension of near zero variance decides.
    """
    fitted = [(record.generation, total) for record in records if (total := fitted_variance(record)) is not None]
    measured = ((key, points(records, key)) for key in VARIANCE_KEYS)
    return next(((name, found) for name, found in (("fitted variance", fitted), *measured) if found), ("variance", []))


def fitted_variance(record: GenerationRecord) -> float | None:
    """The total variance of an analytic model: the sum of its variances, or the trace of its covariance."""
    if "variance" in record.fitted:
        return float(np.sum(record.fitted["variance"]))
    return float(np.trace(record.fitted["covariance"])) if "covariance" in record.fitted else None
