"""How numbers and findings are worded, the same on the page and in the terminal."""

import math
from collections.abc import Mapping, Sequence

from collapsar.journal.courses import HALF
from collapsar.journal.findings import KEPT_FRACTION, Verdict
from collapsar.study.intervals import Interval
from collapsar.study.summaries import ArmSummary
from collapsar.study.waiting import WaitingTime

MISSING = "–"
COURSES = {
    "rises": "still rising",
    "levels off": "level at the end",
    "falls": "falling at the end",
    "undecided": "undecided",
}
COLLAPSED = HALF  # an arm that kept no more than this share of its recall is called collapsed in the answer
LITTLE = 0.05  # an arm that began with less recall than this has too little for its loss to be told


def number_text(value: float | None, *, num_digits: int = 3) -> str:
    """Whole numbers as they are, others with three digits, below one three decimals; a dash for None.

    Args:
        value: The number; what is not finite is a dash too.
        num_digits: Two for the narrow table of the terminal.
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if value == int(value) and abs(value) < 10_000:
        return str(int(value)).replace("-", "−")
    if 0.001 <= abs(value) < 10_000:
        before_point = max(0, math.floor(math.log10(abs(value))))
        decimals = num_digits if abs(value) < 1 else max(0, num_digits - 1 - before_point)
        return f"{value:.{decimals}f}".replace("-", "−")
    return f"{value:.{num_digits}g}".replace("-", "−")


def interval_text(interval: Interval | None) -> str:
    """A mean with its 95 % interval where there is one: 0.52 [0.48, 0.55]."""
    if interval is None:
        return MISSING
    return f"{number_text(interval.mean)} {bounds_text(interval)}".rstrip()


def bounds_text(interval: Interval) -> str:
    """The bounds of an interval, [0.48, 0.55]; nothing where there is one seed."""
    if interval.low is None or interval.high is None:
        return ""
    return f"[{number_text(interval.low)}, {number_text(interval.high)}]"


def waiting_text(waiting: WaitingTime | None) -> str:
    """A median waiting time with the range over seeds: 1.4 (1.2 to 1.7), or "not in 7" where it did not happen."""
    if waiting is None:
        return MISSING
    median = _time(waiting.median, waiting.num_generations)
    if waiting.low == waiting.high:
        return median
    return f"{median} ({_time(waiting.low, waiting.num_generations)} to {_time(waiting.high, waiting.num_generations)})"


def _time(value: float, num_generations: int) -> str:
    return time_text(value) if math.isfinite(value) else f"not in {num_generations}"


def time_text(value: float | None) -> str:
    """A time in generations, to a tenth: generations are counted, so more digits would say nothing."""
    return MISSING if value is None else f"{value:.1f}".removesuffix(".0")


def growth_text(growth: Interval | None) -> str:
    """A slope a generation with its sign: +17.3."""
    if growth is None:
        return MISSING
    return f"{'+' if growth.mean > 0 else ''}{number_text(growth.mean)}"


def seeds_text(counts: Mapping[Verdict, int]) -> str:
    """How many seeds gave which answer: 3 of 3 seeds; or 1 yes, 2 undecided of 3 seeds."""
    total = sum(counts.values())
    seeds = f"of {total} {'seed' if total == 1 else 'seeds'}"
    given = {answer: count for answer, count in counts.items() if count}
    return (
        f"{total} {seeds}" if len(given) == 1 else ", ".join(f"{n} {word}" for word, n in given.items()) + f" {seeds}"
    )


def headline(summaries: Sequence[ArmSummary]) -> str:
    """The answer in a sentence: which arms collapsed, and which kept the most."""
    ranked = ranked_by_loss(summaries)
    if not ranked:
        return "No chain has measured recall yet, so there is no answer."
    if all(_had_little(summary) for summary in ranked):
        began = number_text(max(summary.first["recall"].mean for summary in ranked))
        return f"Recall is {began} at generation 0, too little to tell who lost more: compare what else is measured."
    lost = [summary for summary in ranked if _kept(summary) <= COLLAPSED]
    best = ranked[-1]
    keeper = f"{best.arm.name} kept {_kept_text(best)}"
    if len(ranked) == 1:
        return f"The chain collapsed: {keeper}." if lost else f"The chain did not collapse: {keeper}."
    if not lost:
        return f"None of {len(ranked)} arms collapsed; {ranked[0].arm.name} lost the most, {keeper}."
    if len(lost) == len(ranked) > 2:
        return f"All {len(ranked)} arms collapsed; even {keeper}."
    names = "; ".join(f"{summary.arm.name}{_when(summary)}" for summary in lost[:4]) + ("; …" if len(lost) > 4 else "")
    most = "" if best in lost else f" The most was kept by {best.arm.name}: {_kept_text(best)}."
    return f"{len(lost)} of {len(ranked)} arms collapsed: {names}.{most}"


def _when(summary: ArmSummary) -> str:
    waiting = summary.half_life
    is_known = waiting is not None and math.isfinite(waiting.median)
    return f" (recall halved after {time_text(waiting.median)} generations)" if waiting and is_known else ""


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", "\u202f%")


def ranked_by_loss(summaries: Sequence[ArmSummary]) -> list[ArmSummary]:
    """The arms that had recall to lose, the one that lost most of it first."""
    return sorted((summary for summary in summaries if summary.kept_recall is not None), key=_kept)


def _kept(summary: ArmSummary) -> float:
    return summary.kept_recall.mean if summary.kept_recall else 1.0


def _had_little(summary: ArmSummary) -> bool:
    return summary.first["recall"].mean < LITTLE


def _kept_text(summary: ArmSummary) -> str:
    """What is left of recall with its interval over seeds: 70 % [26, 100] of its recall."""
    kept = summary.kept_recall
    bounds = f" [{100 * kept.low:.0f}, {100 * kept.high:.0f}]" if kept and kept.low is not None and kept.high else ""
    return f"{_percent(_kept(summary))}{bounds} of its recall"


def sentence(summary: ArmSummary) -> str:
    """What happened to one arm, to follow its name: what recall fell to, how fast, and which classes died."""
    first, last = summary.first["recall"], summary.last["recall"]
    generations = summary.chains[0].last_generation
    if generations == 0:
        return f"has one generation so far, with recall {interval_text(first)}."
    kept = _kept(summary)
    fate = "collapsed" if kept <= COLLAPSED else "lost coverage" if kept < KEPT_FRACTION else "kept its coverage"
    if _had_little(summary):
        fate = "had little to lose"
    change = f"recall went from {number_text(first.mean)} to {interval_text(last)} in {generations} generations"
    return f"{fate}: {change}{_pace(summary)}{_deaths(summary)}."


def _pace(summary: ArmSummary) -> str:
    waiting = summary.half_life
    return f", halved after {waiting_text(waiting)} generations" if waiting and math.isfinite(waiting.median) else ""


def _deaths(summary: ArmSummary) -> str:
    waiting = summary.first_dead
    if waiting is None or "classes_dropped" not in summary.last:
        return ""
    if not math.isfinite(waiting.median):
        return ", and no class died" if not math.isfinite(waiting.low) else ""
    dropped = number_text(summary.last["classes_dropped"].mean)
    mean = " on average" if len(summary.chains) > 1 else ""
    return f", and classes died from generation {time_text(waiting.median)} on ({dropped} gone at the end{mean})"
