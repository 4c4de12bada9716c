"""Records of one chain -> its collapse profile: what happened to the chain as a whole.

"Model collapse" names at least eight different things (Schaeffer et al. 2025, https://arxiv.org/abs/2503.03150), so a
profile answers each of them on its own, with yes, no or undecided and the evidence. Half-lives are counted in
generations from generation 0. Rates and tests are rank-based (Theil-Sen, Kendall), because the errors of neighbouring
generations are not independent and a chain has few of them.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from scipy import stats

from collapsar.records import GenerationRecord

Verdict = Literal["yes", "no", "undecided"]
Course = Literal["rises", "levels off", "falls", "undecided"]
Points = list[tuple[int, float]]

# Where a chain is called collapsed. These are our conventions: change them here, and say so where they are quoted.
SIGNIFICANCE = 0.05
MIN_POINTS = 4  # fewer cannot reach p < .05 in a one-sided rank test
CATASTROPHIC_RATIO = 5.0  # times generation 0's FID; a replaced MNIST VAE passes it before generation 25
LEVEL_TOLERANCE = 0.1  # a course is level if it moves less than this share of its level over the window
KEPT_FRACTION = 0.8  # at least this share of generation 0's value counts as kept
HALF = 0.5
GONE_FRACTION = 0.1  # below this share of generation 0's value counts as gone
VANISHED_VARIANCE_FRACTION = 0.05
VARIANCE_KEYS = ("pca/trace_ratio", "trace_ratio")  # PCA of the pixels sees variance that the classifier ignores


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Theil-Sen slope in units per generation with its 95 % interval."""

    slope: float
    low: float
    high: float
    num_points: int


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The answer to one definition of collapse.

    Attributes:
        definition: What is asked, in words.
        verdict: yes, no or undecided.
        evidence: The numbers behind it.
        generation: Where it was first seen; None unless the verdict is yes.
        num_seeds: Seeds the answer rests on.
    """

    definition: str
    verdict: Verdict
    evidence: str
    generation: int | None = None
    num_seeds: int = 1


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
    return Profile(
        num_generations=len(records),
        recall_half_life=half_life(recall),
        variance_half_life=half_life(variance),
        first_dead_generation=first_dead_generation(records),
        dead_classes=dead_classes(records[-1]) if records else [],
        fid_growth=growth_rate(fid),
        fid_course=late_course(fid),
        findings={
            "error_rises": error_rises(fid),
            "error_rises_catastrophically": error_rises_catastrophically(fid),
            "error_diverges": error_diverges(fid),
            "variance_vanishes": variance_vanishes(variance, name=variance_name),
            "modes_disappear": modes_disappear(records),
            "modes_merge": modes_merge(records),
            "contamination_hurts": contamination_hurts(),
            "real_not_reproduced": real_not_reproduced(recall),
        },
    )


def points(records: Sequence[GenerationRecord], key: str) -> Points:
    """Generation and value of a metric, where it was measured; a value that is not finite was not."""
    values = ((record.generation, record.metrics.get(key)) for record in records)
    return [(generation, float(value)) for generation, value in values if value is not None and np.isfinite(value)]


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


def half_life(series: Points) -> float | None:
    """Generations until the value is half of the first one's, between generations on the exponential through both.

    Where the lower of the two values is zero, the line through them is used instead.
    """
    if not series or series[0][1] <= 0:
        return None
    start, target = series[0][0], HALF * series[0][1]
    for (earlier, above), (later, below) in pairwise(series):
        if below <= target:
            drop = np.log(above / target) / np.log(above / below) if below > 0 else (above - target) / (above - below)
            return float(earlier - start + drop * (later - earlier))
    return None


def growth_rate(series: Points) -> Rate | None:
    """Theil-Sen slope of a metric over the generations; None below four generations."""
    if len(series) < MIN_POINTS:
        return None
    generations, values = zip(*series, strict=True)
    slope, _, low, high = stats.theilslopes(values, generations, alpha=1 - SIGNIFICANCE)
    return Rate(slope=float(slope), low=float(low), high=float(high), num_points=len(series))


def late_course(series: Points) -> Course:
    """What a metric does in the later half of its chain (at least four generations of it).

    It rises or falls if Kendall's one-sided rank test says so and the move over the window is more than a tenth of its
    level; it levels off if the whole interval of its slope stays within that tenth. Anything else is undecided.
    """
    window = series[-max(MIN_POINTS, (len(series) + 1) // 2) :]
    rate = growth_rate(window)
    if rate is None:
        return "undecided"
    generations, values = zip(*window, strict=True)
    tolerance = LEVEL_TOLERANCE * abs(float(np.median(values)))
    span = generations[-1] - generations[0]
    if abs(rate.slope) * span > tolerance:
        if trend_p(window, "greater") < SIGNIFICANCE:
            return "rises"
        if trend_p(window, "less") < SIGNIFICANCE:
            return "falls"
    return "levels off" if max(abs(rate.low), abs(rate.high)) * span <= tolerance else "undecided"


def trend_p(series: Points, direction: Literal["greater", "less"]) -> float:
    """P value of Kendall's one-sided test for a trend; 1 for a constant series."""
    generations, values = zip(*series, strict=True)
    if len(set(values)) == 1:
        return 1.0
    return float(stats.kendalltau(generations, values, alternative=direction).pvalue)


def dead_classes(record: GenerationRecord) -> list[int]:
    """Classes with less than a tenth of their real share among the samples."""
    if not record.class_shares:
        return []
    shares = zip(record.class_shares["real"], record.class_shares["synthetic"], strict=True)
    return [index for index, (real, synthetic) in enumerate(shares) if synthetic < GONE_FRACTION * real]


def first_dead_generation(records: Sequence[GenerationRecord]) -> int | None:
    """The first generation that dropped a class; None if none did."""
    return next((record.generation for record in records if _num_dropped(record) > 0), None)


def _num_dropped(record: GenerationRecord) -> int:
    counted = points([record], "classes_dropped")
    return int(counted[0][1]) if counted else len(dead_classes(record))


def error_rises(fid: Points) -> Finding:
    """Whether FID rises at all: a trend by rank, and an end above the start."""
    definition = "The error rises over the generations"
    if len(fid) < MIN_POINTS:
        return _too_short(definition, fid)
    first, last, p = fid[0][1], fid[-1][1], trend_p(fid, "greater")
    evidence = f"FID {first:.4g} to {last:.4g}, Kendall's one-sided p = {p:.2g}"
    if p < SIGNIFICANCE and last > first:
        return Finding(definition=definition, verdict="yes", evidence=evidence, generation=_first_above(fid, first))
    is_level = last <= first * (1 + LEVEL_TOLERANCE)
    return Finding(definition=definition, verdict="no" if is_level else "undecided", evidence=evidence)


def error_rises_catastrophically(fid: Points) -> Finding:
    """Whether FID ever reaches five times generation 0's."""
    definition = f"The error rises catastrophically (to {CATASTROPHIC_RATIO:g} times generation 0's)"
    if len(fid) < 2:
        return _too_short(definition, fid)
    if fid[0][1] <= 0:
        return Finding(definition=definition, verdict="undecided", evidence="FID is 0 at generation 0: no ratio to it")
    worst, bound = max(value for _, value in fid), CATASTROPHIC_RATIO * fid[0][1]
    evidence = f"the highest FID is {worst / fid[0][1]:.3g} times generation 0's"
    if worst >= bound:
        return Finding(definition=definition, verdict="yes", evidence=evidence, generation=_first_above(fid, bound))
    is_open = late_course(fid) in ("rises", "undecided")
    return Finding(definition=definition, verdict="undecided" if is_open else "no", evidence=evidence)


def error_diverges(fid: Points) -> Finding:
    """Whether FID still rises in the later half of the chain, rather than levelling off."""
    definition = "The error keeps rising instead of levelling off"
    course, rate = late_course(fid), growth_rate(fid[-max(MIN_POINTS, (len(fid) + 1) // 2) :])
    if rate is None:
        return _too_short(definition, fid)
    slope = f"{rate.slope:.3g} [{rate.low:.3g}, {rate.high:.3g}]"
    evidence = f"over the last {rate.num_points} generations FID moves by {slope} a generation: it is {_IS[course]}"
    if course == "rises":
        return Finding(definition=definition, verdict="yes", evidence=evidence, generation=fid[-rate.num_points][0])
    return Finding(definition=definition, verdict="undecided" if course == "undecided" else "no", evidence=evidence)


_IS = {"rises": "rising", "falls": "falling", "levels off": "level", "undecided": "neither clearly rising nor level"}


def variance_vanishes(variance: Points, *, name: str) -> Finding:
    """Whether the variance of the samples falls to a twentieth of generation 0's."""
    definition = "The variance of the samples goes to zero"
    return _loss(definition, variance, name=name, gone_fraction=VANISHED_VARIANCE_FRACTION, kept_fraction=KEPT_FRACTION)


def real_not_reproduced(recall: Points) -> Finding:
    """Whether recall, the share of real data that the samples still cover, falls to a tenth of generation 0's."""
    definition = "Real data stop being reproduced"
    return _loss(definition, recall, name="recall", gone_fraction=GONE_FRACTION, kept_fraction=HALF)


def modes_disappear(records: Sequence[GenerationRecord]) -> Finding:
    """Whether tails or modes disappear: a class is dropped, or recall falls to half of generation 0's."""
    definition = "Tails or modes disappear"
    recall, generation = points(records, "recall"), first_dead_generation(records)
    if generation is not None:
        record = next(record for record in records if record.generation == generation)
        evidence = f"{_num_dropped(record)} classes dropped at generation {generation}"
        return Finding(definition=definition, verdict="yes", evidence=evidence, generation=generation)
    found = _loss(definition, recall, name="recall", gone_fraction=HALF, kept_fraction=KEPT_FRACTION)
    has_classes = any(record.class_shares or "classes_dropped" in record.metrics for record in records)
    note = "no class dropped" if has_classes else "classes not measured"
    return Finding(
        definition=definition,
        verdict=found.verdict,
        evidence=f"{note}; {found.evidence}",
        generation=found.generation,
    )


def modes_merge(records: Sequence[GenerationRecord]) -> Finding:
    """Whether samples come to lie between the real modes: precision falls to half of generation 0's."""
    definition = "Modes merge or drift towards the mean: samples lie where no real data are"
    precision = points(records, "precision")
    return _loss(definition, precision, name="precision", gone_fraction=HALF, kept_fraction=KEPT_FRACTION)


def contamination_hurts() -> Finding:
    """Whether a learning curve over data size gets worse: no single chain can tell."""
    return Finding(
        definition="The learning curve over data size gets worse",
        verdict="undecided",
        evidence="one chain has one data size; compare chains over num_synthetic",
    )


def _loss(definition: str, series: Points, *, name: str, gone_fraction: float, kept_fraction: float) -> Finding:
    """Yes once a value is below gone_fraction of its first, no if it always kept kept_fraction, else undecided."""
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
    count = "1 generation" if len(series) == 1 else f"{len(series)} generations"
    return Finding(definition=definition, verdict="undecided", evidence=f"{count} measured: too few to say")


def _first_above(series: Points, bound: float) -> int:
    return next(generation for generation, value in series[1:] if value >= bound)
