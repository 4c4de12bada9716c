"""Seven definitions of collapse, each answered on its own: yes, no or undecided, with the evidence.

"Model collapse" names at least eight different things (Schaeffer et al. 2025, https://arxiv.org/abs/2503.03150). The
eighth, a learning curve over data size that gets worse, compares chains of several sizes, so it is left out here. The
thresholds are our conventions: change them here, and say so wherever they are quoted. Losses count from generation 0,
which saw real data only: classes and levels that it lacks are the model's fault.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from collapsar.foundations.record import GenerationRecord
from collapsar.foundations.words import counted
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

Verdict = Literal["yes", "no", "undecided"]

CATASTROPHIC_RATIO = 5.0  # times generation 0's FID; a replaced MNIST VAE passes it before generation 25
KEPT_FRACTION = 0.8  # at least this share of generation 0's value counts as kept
GONE_FRACTION = 0.1  # below this share of generation 0's value counts as gone
VANISHED_VARIANCE_FRACTION = 0.05
NOT_MEASURED = "not measured"

DEFINITIONS = {
    "error_rises": "The error rises over the generations",
    "error_rises_catastrophically": (
        f"The error rises catastrophically (to {CATASTROPHIC_RATIO:g} times generation 0's)"
    ),
    "error_diverges": "The error keeps rising instead of levelling off",
    "variance_vanishes": "The variance of the samples goes to zero",
    "modes_disappear": "Tails or modes disappear",
    "modes_merge": "Modes merge or drift towards the mean: samples lie where no real data are",
    "real_not_reproduced": "Real data stop being reproduced",
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer to one definition of collapse."""

    definition: str = ""  # a sentence
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
    return [name for name, own in record.factor_shares.items() if own["synthetic"] < GONE_FRACTION * own["known"]]


def died_classes(record: GenerationRecord, *, first: GenerationRecord) -> list[int]:
    """Classes that generation 0, the first record, had and this record lacks."""
    before = dead_classes(first)
    return [index for index in dead_classes(record) if first.class_shares and index not in before]


def lost_since(first: GenerationRecord, record: GenerationRecord) -> str:
    """The levels of factors, or else the number of classes, that generation 0 had and this record lacks, in words."""
    before = lost_levels(first)
    if levels := [name for name in lost_levels(record) if name in first.factor_shares and name not in before]:
        return f"{', '.join(levels)} lost"
    dropped = points([first, record], "classes_dropped")
    more = int(dropped[-1][1] - dropped[0][1]) if len(dropped) > 1 else 0
    number = max(len(died_classes(record, first=first)), more)
    return f"{counted(number, 'class')} dropped" if number else ""


def first_dead_generation(records: Sequence[GenerationRecord]) -> int | None:
    """The first generation that lost a class or factor level that generation 0 had; None if none did."""
    return next((record.generation for record in records[1:] if lost_since(records[0], record)), None)


def answer_all(
    records: Sequence[GenerationRecord], *, course: Course, rate: Rate | None, variance: Points, variance_name: str
) -> dict[str, Answer]:
    """The answer to each of `DEFINITIONS`; `course` and `rate` (None: too few points) are FID's in the later half."""
    measured = (points(records, "fid"), points(records, "recall"), points(records, "precision"), variance)
    are_late = [bool(own) and own[0][0] > 0 for own in measured]  # losses are counted from generation 0 alone
    fid, recall, precision, variance = ([] if late else own for own, late in zip(measured, are_late, strict=True))
    answers = {
        "error_rises": error_rises(fid),
        "error_rises_catastrophically": error_rises_catastrophically(fid, course=course),
        "error_diverges": error_diverges(fid, course=course, rate=rate),
        "variance_vanishes": loss(variance, name=variance_name, gone=VANISHED_VARIANCE_FRACTION, kept=KEPT_FRACTION),
        "modes_disappear": modes_disappear(records, recall=recall),
        "modes_merge": loss(precision, name="precision", gone=HALF, kept=KEPT_FRACTION),
        "real_not_reproduced": loss(recall, name="recall", gone=GONE_FRACTION, kept=HALF),
    }
    said = f"{NOT_MEASURED} at generation 0" if any(are_late) else NOT_MEASURED
    told = {key: answer.evidence.replace(NOT_MEASURED, said) for key, answer in answers.items()}
    return {key: replace(answers[key], definition=words, evidence=told[key]) for key, words in DEFINITIONS.items()}


def error_rises(fid: Points) -> Answer:
    """Whether FID rises at all: a trend by rank, and a last value above the first."""
    if len(fid) < MIN_POINTS:
        return _too_short(fid)
    first, last, p = fid[0][1], fid[-1][1], trend_p([value for _, value in fid], "rises")
    evidence = f"FID {first:.4g} to {last:.4g}, Kendall's one-sided p = {p:.2g}"
    if p < SIGNIFICANCE and last > first:
        return Answer(verdict="yes", evidence=evidence, generation=_first_above(fid, first))
    is_level = last <= first * (1 + LEVEL_TOLERANCE)
    return Answer(verdict="no" if is_level else "undecided", evidence=evidence)


def error_rises_catastrophically(fid: Points, *, course: Course) -> Answer:
    """Whether FID ever reaches five times generation 0's; undecided while its course rises or is undecided."""
    if len(fid) < 2:
        return _too_short(fid)
    if fid[0][1] <= 0:
        return Answer(verdict="undecided", evidence="FID is 0 at generation 0: no ratio to it")
    worst, bound = max(value for _, value in fid), CATASTROPHIC_RATIO * fid[0][1]
    evidence = f"the highest FID is {worst / fid[0][1]:.3g} times generation 0's"
    if worst >= bound:
        return Answer(verdict="yes", evidence=evidence, generation=_first_above(fid, bound))
    return Answer(verdict="undecided" if course in ("rises", "undecided") else "no", evidence=evidence)


def error_diverges(fid: Points, *, course: Course, rate: Rate | None) -> Answer:
    """Whether FID still rises in the later half of the chain, rather than levelling off."""
    if rate is None or not fid:
        return _too_short(fid)
    noun = "generation" if fid[-1][0] - fid[-rate.num_points][0] < rate.num_points else "measured generation"
    window, slope = counted(rate.num_points, noun), f"{rate.slope:.3g} [{rate.low:.3g}, {rate.high:.3g}]"
    evidence = f"over the last {window} FID moves by {slope} a generation: it is {_IS[course]}"
    if course == "rises":
        start = max(fid[-rate.num_points][0], fid[1][0])  # generation 0 cannot have risen
        return Answer(verdict="yes", evidence=evidence, generation=start)
    return Answer(verdict="undecided" if course == "undecided" else "no", evidence=evidence)


_IS = {"rises": "rising", "falls": "falling", "levels off": "level", "undecided": "neither clearly rising nor level"}


def modes_disappear(records: Sequence[GenerationRecord], *, recall: Points) -> Answer:
    """Whether tails or modes disappear: a class or factor level of generation 0 is lost, or half of its recall."""
    for record in records[1:]:
        if lost := lost_since(records[0], record):
            evidence = f"{lost} at generation {record.generation}{_lacking(records[0])}"
            return Answer(verdict="yes", evidence=evidence, generation=record.generation)
    found = loss(recall, name="recall", gone=HALF, kept=KEPT_FRACTION)
    has_classes = any(record.class_shares or "classes_dropped" in record.metrics for record in records)
    has_factors = any(record.factor_shares for record in records)
    note = "no factor lost" if has_factors else "no class dropped" if has_classes else "classes not measured"
    return replace(found, evidence=f"{note}{_lacking(records[0]) if records else ''}; {found.evidence}")


def _lacking(first: GenerationRecord) -> str:
    dropped = points([first], "classes_dropped")
    number = int(dropped[0][1]) if dropped else len(dead_classes(first))
    lacking = ", ".join([*([counted(number, "class")] if number else []), *lost_levels(first)])
    return f" (generation 0 lacks {lacking}: the model's fault)" if lacking else ""


def loss(series: Points, *, name: str, gone: float, kept: float) -> Answer:
    """Yes if a value falls to the share `gone` of the first, no if all keep the share `kept`, else undecided."""
    if not series or series[0][1] <= 0:
        why = f"{name} was {'0 from the start: nothing to lose' if series else NOT_MEASURED}"
        return Answer(verdict="undecided", evidence=why)
    if len(series) == 1:
        return _too_short(series)
    first, last, lowest = series[0][1], series[-1][1], min(value for _, value in series)
    evidence = f"{name} {first:.3g} to {last:.3g}, at the lowest {lowest / first:.1%} of generation 0's"
    if lowest <= gone * first:
        generation = next(generation for generation, value in series if value <= gone * first)
        return Answer(verdict="yes", evidence=evidence, generation=generation)
    return Answer(verdict="no" if lowest >= kept * first else "undecided", evidence=evidence)


def _too_short(series: Points) -> Answer:
    evidence = f"{counted(len(series), 'generation')} measured: too few to say" if series else f"FID was {NOT_MEASURED}"
    return Answer(verdict="undecided", evidence=evidence)


def _first_above(series: Points, bound: float) -> int:
    return next(generation for generation, value in series[1:] if value >= bound)
