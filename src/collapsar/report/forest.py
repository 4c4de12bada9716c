"""Comparisons of arms with their baseline: the forest plot, a sentence, the terminal's table and a CSV file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from collapsar.report.wording import MISSING, growth_text, number_text, short_text
from collapsar.study.comparison import OUTCOMES, ComparedArm, Comparison, Spending
from collapsar.study.effects import ArmVerdict, Effect
from collapsar.study.intervals import Interval

VERDICTS: tuple[ArmVerdict, ...] = ("better", "worse", "not told apart")
NAMED_IN_SENTENCE = 4
NUM_OUTCOMES_IN_TABLE = 2  # more do not fit a terminal
COLUMNS = ["baseline", "arm", "outcome", "seeds", "difference", "low", "high", "corrected_low", "corrected_high"]
COLUMNS += ["p_holm", "improvement", "improvement_low", "improvement_high", "verdict"]
COLUMNS += ["seconds", "training_steps", "real_samples", "baseline_seconds", "baseline_training_steps"]
COLUMNS += ["baseline_real_samples"]


def forest_content(found: Comparison) -> dict[str, Any]:
    """Content of the forest plot: arms from top to bottom, and for each outcome their effects, None if absent."""
    return {
        "arms": [row.arm.name for row in found.arms],
        "panels": [
            {"title": OUTCOMES[outcome], "effects": [_effect_content(row.effects.get(outcome)) for row in found.arms]}
            for outcome in found.outcomes
        ],
    }


def sentence(found: Comparison) -> str:
    """Name the arms that the deciding outcome finds better or worse than the baseline, and count the others."""
    names = {verdict: [row.arm.name for row in found.arms if row.deciding.verdict == verdict] for verdict in VERDICTS}
    names["worse"].reverse()  # the worst first
    counts = {verdict: f"{_number(names[verdict])} {verdict}" for verdict in VERDICTS}
    told = [f"{counts[verdict]}{_listed(names[verdict])}" for verdict in ("better", "worse")]
    rest = f"{counts['not told apart']} from it"
    return f"Of {len(found.arms)} arms, {', '.join(told)} than {found.baseline.name}, and {rest}."


def _number(names: Sequence[str]) -> str:
    return "none is" if not names else f"{len(names)} {'is' if len(names) == 1 else 'are'}"


def spent_text(own: float, *, baseline: float) -> str:
    """A cost beside the baseline's: `3600, same` or `42 (+17 %)`."""
    if own == baseline:
        return f"{number_text(own)}, same"
    change = f" ({own / baseline - 1:+.0%})".replace("%", "\u202f%").replace("-", "−") if baseline else ""
    return f"{number_text(own)}{change}"


def spendings(row: ComparedArm, found: Comparison) -> list[str]:
    """Seconds, training steps and real samples of an arm, each beside the baseline's."""
    pairs = zip(_values(row.spending), _values(found.spending), strict=True)
    return [spent_text(own, baseline=base) for own, base in pairs]


def p_text(p_value: float) -> str:
    """A corrected p value to two digits; below .0001 only this bound."""
    return "p < .0001" if p_value < 1e-4 else f"p = {p_value:.2g}"


def write_effects(comparisons: Sequence[Comparison], output: Path) -> Path:
    """Write one CSV row for each arm and outcome of each comparison."""
    rows = [row for found in comparisons for row in _rows(found)]
    output.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=COLUMNS).to_csv(output, index=False)
    return output


def _effect_content(effect: Effect | None) -> dict[str, Any] | None:
    if effect is None:
        return None
    own, corrected = effect.difference, effect.corrected
    return {
        "mean": own.mean,
        "low": own.low,
        "high": own.high,
        "corrected": [corrected.low, corrected.high],
        "verdict": effect.verdict,
        "note": f"{p_text(effect.p_value)}, better in {effect.improvement.mean:.0%} of pairs of runs",
    }


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED_IN_SENTENCE])
    return f" ({shown}{', …' if len(names) > NAMED_IN_SENTENCE else ''})" if names else ""


def _values(spending: Spending) -> tuple[float, float, float]:
    return spending.seconds, spending.num_steps, spending.num_real


def effects_table(found: Comparison) -> Table:
    """The terminal's table: the first outcomes and the costs beside the baseline's; page and CSV have the rest."""
    caption = (
        f"arm minus {found.baseline.name}, seed by seed; 95 % intervals and p after Holm\n"
        f"half-lives are counted to generation {found.horizon}; costs beside the baseline's"
    )
    table = Table(
        title=Text(sentence(found)),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        caption=Text(caption),
        caption_justify="left",
    )
    table.add_column("arm", min_width=12)
    shown = found.outcomes[:NUM_OUTCOMES_IN_TABLE]
    for heading in (*(OUTCOMES[outcome].partition(",")[0] for outcome in shown), "verdict", "seconds", "steps", "real"):
        table.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
    for row in found.arms:
        cells = [_cell(row.effects.get(outcome)) for outcome in shown]
        spent = [text.rpartition(" (")[2].rstrip(")").rpartition(", ")[2] for text in spendings(row, found)]
        table.add_row(Text(row.arm.name), *map(Text, cells), row.deciding.verdict.replace(" told", "\ntold"), *spent)
    return table


def _cell(effect: Effect | None) -> str:
    if effect is None:
        return MISSING
    bounds = f"[{short_text(effect.corrected.low)},{short_text(effect.corrected.high)}]"
    return f"{growth_text(effect.difference)}\n{bounds}\n{p_text(effect.p_value)}"


def _rows(found: Comparison) -> list[tuple[Any, ...]]:
    return [
        (
            *(found.baseline.name, row.arm.name, outcome, effect.difference.num_seeds),
            *_three(effect.difference),
            *_three(effect.corrected)[1:],
            *(effect.p_value, *_three(effect.improvement), effect.verdict),
            *(*_values(row.spending), *_values(found.spending)),
        )
        for row in found.arms
        for outcome, effect in row.effects.items()
    ]


def _three(interval: Interval) -> tuple[float, float | None, float | None]:
    return interval.mean, interval.low, interval.high
