"""Comparisons of arms with their baseline: the forest plot, a sentence, and costs beside the baseline's."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, astuple
from typing import Any

from collapsar.foundations.words import counted, listed
from collapsar.report.wording import bounds_text, number_text, p_text
from collapsar.study.analysis import OUTCOMES, read_analysis
from collapsar.study.comparison import ComparedArm, Comparison
from collapsar.study.study import Study
from collapsar.study.survival import RecallSurvival
from collapsar.study.verdicts import ArmVerdict, Effect

NAMED_IN_SENTENCE = 4
WIDTH, MARGIN = 164, 8  # of a panel, in pixels
MAX_TICKS = 4
MARKS = {  # paths around the mean
    "better": "M-3.5-5L5.5 0-3.5 5z",
    "worse": "M3.5-5L-5.5 0 3.5 5z",
    "equivalent": "M-4-4H4V4H-4z",
    "undecided": "M0-4a4 4 0 1 0 .01 0z",
}
VARIANCES = {
    "pooled": "Verdicts rest on one error variance, pooled over arms in blocks of seeds (Dunnett).",
    "moderated": "Variances may differ (Levene): those below what arms share are moderated (Smyth 2004; Holm).",
    "own": "An arm is judged by its own variance if none can be shared with it, or if its own is larger.",
}


def content(study: Study) -> dict[str, Any] | None:
    """The plots, and the words beside them."""
    if not study.comparisons:
        return None
    told = {"sentence": sentence, "notes": notes, "spendings": spendings, "survivals": survivals}
    return {**told, "outcomes": OUTCOMES, "drawing": drawing, "marks": MARKS, "width": WIDTH}


def forest_content(found: Comparison) -> dict[str, Any]:
    """Content of the forest plot: arms from top to bottom, and for each outcome their effects, None if absent."""
    return {
        "arms": [row.arm.name for row in found.arms],
        "panels": [
            {"title": OUTCOMES[outcome], "effects": [row.effects.get(outcome) for row in found.arms]}
            for outcome in found.outcomes
        ],
    }


def drawing(found: Comparison) -> dict[str, Any]:
    """The forest plot in pixels: names of arms, and for each outcome its ticks, the place of zero and the effects."""
    content = forest_content(found)
    return {"arms": content["arms"], "panels": [_drawn(**panel) for panel in content["panels"]]}


def _drawn(*, title: str, effects: Sequence[Effect | None]) -> dict[str, Any]:
    known = [effect for effect in effects if effect is not None]
    ends = [0.0, *(end for effect in known for end in (*effect.judged.interval.ends, *effect.corrected.ends))]
    lowest, highest = min(ends), max(ends)

    def place(value: float) -> float:
        return round(MARGIN + (WIDTH - 2 * MARGIN) * (value - lowest) / ((highest - lowest) or 1.0), 1)

    def drawn(effect: Effect) -> dict[str, Any]:
        thick, thin = (tuple(map(place, own.ends)) for own in (effect.judged.interval, effect.corrected))
        known = {"x": place(effect.difference.mean), "thick": thick, "thin": thin}
        return known | {"verdict": effect.verdict, "told": _told(effect)}

    return {
        "title": title,
        "zero": place(0.0),
        "ticks": [(place(tick), f"{tick:g}".replace("-", "−")) for tick in ticks(lowest, highest)],
        "effects": [effect and drawn(effect) for effect in effects],
    }


def _told(effect: Effect) -> str:
    numbers = f"{number_text(effect.difference.mean)} {bounds_text(effect.judged.interval)}"
    better = f"better in {effect.improvement.mean:.0%} of pairs of runs"
    return f"{effect.verdict}, {numbers}, {p_text(effect.judged.p_value)}, {better}"


def ticks(lowest: int | float, highest: int | float) -> list[float]:
    """At most MAX_TICKS round numbers in an interval that holds zero, which is one of them."""
    if lowest == highest:
        return [0.0]
    steps = (
        digit * 10.0**power
        for power in itertools.count(math.floor(math.log10(highest - lowest)) - 1)
        for digit in (1, 2, 5)
    )
    step = next(step for step in steps if math.floor(highest / step) - math.ceil(lowest / step) < MAX_TICKS)
    return [round(number * step, 12) for number in range(math.ceil(lowest / step), math.floor(highest / step) + 1)]


def sentence(found: Comparison) -> str:
    """Name the arms that the deciding outcome finds better or worse than the baseline, and count the others."""

    def names(verdict: ArmVerdict | None) -> list[str]:
        return [row.arm.name for row in found.arms if (row.deciding and row.deciding.verdict) == verdict]

    better, worse = names("better"), names("worse")[::-1]  # the best first, the worst first
    told = f"{_number(better)} better{_listed(better)}, {_number(worse)} worse{_listed(worse)}"
    equal = f"{_number(names('equivalent'))} equivalent to it, " if names("equivalent") else ""
    rest = f"{equal}and {_number(names('undecided'))} undecided"
    why = f"{_number(names(None))} not judged{_listed(names(None))}: too few shared seeds have the outcome that decides"
    return f"Of {len(found.arms)} arms, {told} than {found.baseline.name}, {rest}." + f" {why}." * bool(names(None))


def notes(found: Comparison) -> list[str]:
    """What was fixed before the chains ran, which variance decides, and what makes a verdict weaker."""
    fixed, primary = found.analysis, found.outcomes[0]
    said = [f"{name} {value}" for name, value in asdict(fixed).items() if value is not None]
    told = f"Fixed before the chains ran (hash {fixed.digest}): {', '.join(said).replace('_', ' ')}."
    if not fixed.digest:
        every = [found.baseline, *found.left_out, *(row.arm for row in found.arms)]
        is_fixed = any(read_analysis(chain.config).digest for arm in every for chain in arm.chains)
        why = "The chains fixed different analyses" if is_fixed else "Nothing was fixed before the chains ran"
        told = f"{why}, so {primary} decides, the first outcome that is measured."
    elif fixed.primary != primary:
        unused = ", and no arm is called equivalent" if fixed.primary and fixed.smallest_effect else ""
        told += f" {primary} decides, the first outcome that is measured{unused}."
    if (fixed.horizon or 0) > found.horizon:
        told += f" The chains reach generation {found.horizon} only."
    if found.final < found.horizon:
        told += f" All but recall survival is compared at generation {found.final}, where arms end that `extend` left."
    judged = {row.arm.name: row.deciding.judged for row in found.arms if row.deciding}
    used = {own.variance for own in judged.values()}
    texts = [told, " ".join(text for name, text in VARIANCES.items() if name in used)]
    texts += [f"{name}: {own.reason}." for name, own in judged.items() if own.reason]
    texts += [
        f"Kendall's tau of the orders of arms in this space and in {space}: {number_text(tau, num_digits=2)}."
        for space, tau in found.order_tau.items()
        if math.isfinite(tau)
    ]
    if taus := [f"{words}: {number_text(tau, num_digits=2)}" for words, tau in found.sensitivity.items()]:
        texts.append(f"Kendall's tau of the orders of arms by final recall and by recall {'; '.join(taus)}.")
    if not found.order_tau and "recall" in primary:
        texts.append("No feature space that saw no labels was measured, so verdicts rest on one space.")
    if names := [arm.name for arm in found.below_gate]:
        told = counted(len(names), "arm")
        texts.append(f"Exploratory: generation 0 fails the entry gate in {told}{_listed(names)}.")
    return texts


def survivals(found: Comparison) -> list[tuple[str, RecallSurvival]]:
    """How long recall lasts in each arm that measured it, the baseline first."""
    rows = [(found.baseline.name, found.survival), *((row.arm.name, row.survival) for row in found.arms)]
    return [(name, survival) for name, survival in rows if survival is not None]


def _number(names: Sequence[str]) -> str:
    return "none is" if not names else f"{len(names)} {'is' if len(names) == 1 else 'are'}"


def _listed(names: Sequence[str]) -> str:
    return f" ({listed(names, most=NAMED_IN_SENTENCE)})" if names else ""


def spendings(row: ComparedArm, found: Comparison) -> list[str]:
    """Seconds, training steps and real samples of an arm, each beside the baseline's."""
    pairs = zip(astuple(row.spending), astuple(found.spending), strict=True)
    return [spent_text(own, baseline=baseline) for own, baseline in pairs]


def spent_text(own: float, *, baseline: float) -> str:
    """A cost beside the baseline's: `3600, same` or `42 (+17 %)`."""
    if own == baseline:
        return f"{number_text(own)}, same"
    change = f" ({own / baseline - 1:+.0%})".replace("%", "\u202f%").replace("-", "−") if baseline else ""
    return f"{number_text(own)}{change}"
