"""Seven definitions of collapse, each answered on its own: yes, no or undecided, with the evidence.

"Model collapse" names at least eight different things (Schaeffer et al. 2025, https://arxiv.org/abs/2503.03150). The
eighth, a learning curve over data size that gets worse, compares chains of several sizes, so it is left out here. The
thresholds are our conventions: change them here, and say so wherever they are quoted. Losses count from generation 0,
which saw real data only: classes and levels that it lacks are the model's fault.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from collapsar.journal.courses import (
    HALF,
    LEVEL_TOLERANCE,
    MIN_POINTS,
    SIGNIFICANCE,
    Course,
    Points,
    Rate,
    points,
    trend_p,
)
from collapsar.records.record import GenerationRecord
from collapsar.records.words import counted

Verdict = Literal["yes", "no", "undecided"]

CATASTROPHIC_RATIO = 5.0  # times generation 0's FID; a replaced MNIST VAE passes it before generation 25
KEPT_FRACTION = 0.8  # at least this share of generation 0's value counts as kept
GONE_FRACTION = 0.1  # below this share of generation 0's value counts as gone
VANISHED_VARIANCE_FRACTION = 0.05


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The answer to one definition of collapse."""

    definition: str  # a sentence
    verdict: Verdict
    evidence: str  # the numbers behind it
    generation: int | None = None  # the first that shows it; None unless the verdict is yes
    num_seeds: int = 1  # that the answer rests on


def dead_classes(record: GenerationRecord) -> list[int]:
    """Classes with less than a tenth of their real share among the samples."""
    if not record.class_shares:
        return []
    shares = zip(record.class_shares["real"], record.class_shares["synthetic"], strict=True)
    return [index for index, (real, synthetic) in enumerate(shares) if synthetic < GONE_FRACTION * real]


def lost_levels(record: GenerationRecord) -> list[str]:
    """Names of the levels of known factors with less than a tenth of their known share among the samples."""
    return [
        name for name, shares in record.factor_shares.items() if shares["synthetic"] < GONE_FRACTION * shares["known"]
    ]


def died_classes(record: GenerationRecord, *, first: GenerationRecord) -> list[int]:
    """Classes that generation 0, the first record, had and this record lacks."""
    before = dead_classes(first)
    return [index for index in dead_classes(record) if first.class_shares and index not in before]


def died_levels(record: GenerationRecord, *, first: GenerationRecord) -> list[str]:
    """Levels of known factors that generation 0, the first record, had and this record lacks."""
    before = lost_levels(first)
    return [name for name in lost_levels(record) if name in first.factor_shares and name not in before]


def num_classes_died(record: GenerationRecord, *, first: GenerationRecord) -> int:
    """How many classes were lost since generation 0, by name or by the number of classes dropped."""
    dropped = points([first, record], "classes_dropped")
    more = int(dropped[-1][1] - dropped[0][1]) if len(dropped) > 1 else 0
    return max(len(died_classes(record, first=first)), more)


def first_dead_generation(records: Sequence[GenerationRecord]) -> int | None:
    """The first generation that lost a class or factor level that generation 0 had; None if none did."""
    for record in records[1:]:
        if num_classes_died(record, first=records[0]) or died_levels(record, first=records[0]):
            return record.generation
    return None


def answer_all(
    records: Sequence[GenerationRecord], *, course: Course, rate: Rate | None, variance: Points, variance_name: str
) -> dict[str, Finding]:
    """The answer to each definition, by a stable key.

    `course` and `rate` are those of FID in the later half; `rate` is None if too few generations were measured.
    """
    fid, recall, precision = (points(records, key) for key in ("fid", "recall", "precision"))
    return {
        "error_rises": error_rises(fid),
        "error_rises_catastrophically": error_rises_catastrophically(fid, course=course),
        "error_diverges": error_diverges(fid, course=course, rate=rate),
        "variance_vanishes": loss(
            "The variance of the samples goes to zero", variance,
            name=variance_name, gone_fraction=VANISHED_VARIANCE_FRACTION, kept_fraction=KEPT_FRACTION,
        ),
        "modes_disappear": modes_disappear(records, recall=recall),
        "modes_merge": loss(
            "Modes merge or drift towards the mean: samples lie where no real data are", precision,
            name="precision", gone_fraction=HALF, kept_fraction=KEPT_FRACTION,
        ),
        "real_not_reproduced": loss(
            "Real data stop being reproduced", recall,
            name="recall", gone_fraction=GONE_FRACTION, kept_fraction=HALF,
        ),
    }  # fmt: skip


def error_rises(fid: Points) -> Finding:
    """Whether FID rises at all: a trend by rank, and a last value above the first."""
    definition = "The error rises over the generations"
    if len(fid) < MIN_POINTS:
        return _too_short(definition, fid)
    first, last, p = fid[0][1], fid[-1][1], trend_p([value for _, value in fid], "rises")
    evidence = f"FID {first:.4g} to {last:.4g}, Kendall's one-sided p = {p:.2g}"
    if p < SIGNIFICANCE and last > first:
        return Finding(definition=definition, verdict="yes", evidence=evidence, generation=_first_above(fid, first))
    is_level = last <= first * (1 + LEVEL_TOLERANCE)
    return Finding(definition=definition, verdict="no" if is_level else "undecided", evidence=evidence)


def error_rises_catastrophically(fid: Points, *, course: Course) -> Finding:
    """Whether FID ever reaches five times generation 0's; undecided while its course rises or is undecided."""
    definition = f"The error rises catastrophically (to {CATASTROPHIC_RATIO:g} times generation 0's)"
    if len(fid) < 2:
        return _too_short(definition, fid)
    if fid[0][1] <= 0:
        return Finding(definition=definition, verdict="undecided", evidence="FID is 0 at generation 0: no ratio to it")
    worst, bound = max(value for _, value in fid), CATASTROPHIC_RATIO * fid[0][1]
    evidence = f"the highest FID is {worst / fid[0][1]:.3g} times generation 0's"
    if worst >= bound:
        return Finding(definition=definition, verdict="yes", evidence=evidence, generation=_first_above(fid, bound))
    is_open = course in ("rises", "undecided")
    return Finding(definition=definition, verdict="undecided" if is_open else "no", evidence=evidence)


def error_diverges(fid: Points, *, course: Course, rate: Rate | None) -> Finding:
    """Whether FID still rises in the later half of the chain, rather than levelling off."""
    definition = "The error keeps rising instead of levelling off"
    if rate is None:
        return _too_short(definition, fid)
    slope = f"{rate.slope:.3g} [{rate.low:.3g}, {rate.high:.3g}]"
    evidence = (
        f"over the last {counted(rate.num_points, 'generation')} FID moves by {slope} a generation: it is {_IS[course]}"
    )
    if course == "rises":
        start = max(fid[-rate.num_points][0], fid[1][0])  # generation 0 cannot have risen
        return Finding(definition=definition, verdict="yes", evidence=evidence, generation=start)
    return Finding(definition=definition, verdict="undecided" if course == "undecided" else "no", evidence=evidence)


_IS = {"rises": "rising", "falls": "falling", "levels off": "level", "undecided": "neither clearly rising nor level"}


def modes_disappear(records: Sequence[GenerationRecord], *, recall: Points) -> Finding:
    """Whether tails or modes disappear: a class or factor level of generation 0 is lost, or half of its recall."""
    definition = "Tails or modes disappear"
    generation = first_dead_generation(records)
    if generation is not None:
        record = next(record for record in records if record.generation == generation)
        names = ", ".join(died_levels(record, first=records[0]))
        number = num_classes_died(record, first=records[0])
        dropped = f"{names} lost" if names else f"{counted(number, 'class')} dropped"
        evidence = f"{dropped} at generation {generation}{_lacking(records[0])}"
        return Finding(definition=definition, verdict="yes", evidence=evidence, generation=generation)
    found = loss(definition, recall, name="recall", gone_fraction=HALF, kept_fraction=KEPT_FRACTION)
    has_classes = any(record.class_shares or "classes_dropped" in record.metrics for record in records)
    has_factors = any(record.factor_shares for record in records)
    note = "no factor lost" if has_factors else "no class dropped" if has_classes else "classes not measured"
    return replace(found, evidence=f"{note}{_lacking(records[0]) if records else ''}; {found.evidence}")


def _lacking(first: GenerationRecord) -> str:
    """Text on what generation 0 lacks, which does not count as a loss."""
    dropped = points([first], "classes_dropped")
    number = int(dropped[0][1]) if dropped else len(dead_classes(first))
    missing = [counted(number, "class")] if number else []
    lacking = ", ".join([*missing, *lost_levels(first)])
    return f" (generation 0 lacks {lacking}: the model's fault)" if lacking else ""


def loss(definition: str, series: Points, *, name: str, gone_fraction: float, kept_fraction: float) -> Finding:
    """Yes if a value falls to gone_fraction of the first, no if all keep kept_fraction of it, else undecided."""
    if not series or series[0][1] <= 0:
        why = f"{name} was {'0 from the start: nothing to lose' if series else 'not measured'}"
        return Finding(definition=definition, verdict="undecided", evidence=why)
    if len(series) == 1:
        return _too_short(definition, series)
    first, last, lowest = series[0][1], series[-1][1], min(value for _, value in series)
    evidence = f"{name} {first:.3g} to {last:.3g}, at the lowest {lowest / first:.1%} of generation 0's"
    if lowest <= gone_fraction * first:
        generation = next(generation for generation, value in series if value <= gone_fraction * first)
        return Finding(definition=definition, verdict="yes", evidence=evidence, generation=generation)
    return Finding(
        definition=definition, verdict="no" if lowest >= kept_fraction * first else "undecided", evidence=evidence
    )


def _too_short(definition: str, series: Points) -> Finding:
    evidence = f"{counted(len(series), 'generation')} measured: too few to say"
    return Finding(definition=definition, verdict="undecided", evidence=evidence)


def _first_above(series: Points, bound: float) -> int:
    return next(generation for generation, value in series[1:] if value >= bound)
