"""Comparisons of arms with their baseline: the forest plot, a sentence, and costs beside the baseline's."""

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from collapsar.report.wording import number_text, p_text
from collapsar.study.comparison import OUTCOMES, ComparedArm, Comparison
from collapsar.study.effects import ArmVerdict, Effect
from collapsar.study.study import Study

NAMED_IN_SENTENCE = 4


def content(study: Study) -> dict[str, Any] | None:
    """The plots, and the words beside them."""
    if not study.comparisons:
        return None
    charts = {"forests": [forest_content(found) for found in study.comparisons]}
    return {"sentence": sentence, "spendings": spendings, "outcomes": OUTCOMES, "charts": charts}


def forest_content(found: Comparison) -> dict[str, Any]:
    """Content of the forest plot: arms from top to bottom, and for each outcome their effects, None if absent."""
    return {
        "arms": [row.arm.name for row in found.arms],
        "panels": [
            {"title": OUTCOMES[outcome], "effects": [_effect_content(row.effects.get(outcome)) for row in found.arms]}
            for outcome in found.outcomes
        ],
    }


def _effect_content(effect: Effect | None) -> dict[str, Any] | None:
    if effect is None:
        return None
    return {
        "mean": effect.difference.mean,
        "low": effect.difference.low,
        "high": effect.difference.high,
        "corrected": [effect.corrected.low, effect.corrected.high],
        "verdict": effect.verdict,
        "note": f"{p_text(effect.p_value)}, better in {effect.improvement.mean:.0%} of pairs of runs",
    }


def sentence(found: Comparison) -> str:
    """Name the arms that the deciding outcome finds better or worse than the baseline, and count the others."""

    def names(verdict: ArmVerdict) -> list[str]:
        return [row.arm.name for row in found.arms if row.deciding.verdict == verdict]

    better, worse = names("better"), names("worse")[::-1]  # the best first, the worst first
    told = f"{_number(better)} better{_listed(better)}, {_number(worse)} worse{_listed(worse)}"
    rest = f"{_number(names('not told apart'))} not told apart from it"
    return f"Of {len(found.arms)} arms, {told} than {found.baseline.name}, and {rest}."


def _number(names: Sequence[str]) -> str:
    return "none is" if not names else f"{len(names)} {'is' if len(names) == 1 else 'are'}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED_IN_SENTENCE])
    return f" ({shown}{', …' if len(names) > NAMED_IN_SENTENCE else ''})" if names else ""


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
