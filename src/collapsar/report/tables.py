"""The comparison table of the terminal: arms with their seeds, first and last values, half-life, first dead class."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from collapsar.report.arms import group_arms
from collapsar.report.chains import Chain, read_chains
from collapsar.report.intervals import Interval
from collapsar.report.summaries import MAIN_METRICS, ArmSummary, summarise_arm, summarise_chain
from collapsar.report.wording import MISSING, bounds_text, metric_title, number_text, spell_text, time_text


def comparison_table(folders: Sequence[Path]) -> Table:
    """The table over all runs at and below the folders; unfinished chains are rows that say so.

    Raises:
        UsageError: there is no such folder, no run in it, or a record cannot be read.
    """
    return table_of([summarise_arm(arm) for arm in group_arms(read_chains(folders))])


def table_of(summaries: Sequence[ArmSummary]) -> Table:
    """The table of arms; a row for each seed follows where an arm has several, or a chain that is not finished."""
    keys = [key for key in MAIN_METRICS if any(key in summary.first for summary in summaries)]
    table = Table(caption="generation 0 → last; 95 % intervals over seeds", caption_justify="left")
    table.add_column("arm", min_width=18)
    for heading in (*map(metric_title, keys), "recall halved after", "first dead class"):
        table.add_column(heading, justify="right")
    for summary in summaries:
        _add_arm(table, summary, keys)
    return table


def _add_arm(table: Table, summary: ArmSummary, keys: Sequence[str]) -> None:
    changes = [_change(summary.first.get(key), summary.last.get(key)) for key in keys]
    # Text, not markup: names come from configs and may hold brackets.
    table.add_row(
        Text(summary.arm.name), *changes, spell_text(summary.half_life), spell_text(summary.first_dead), style="bold"
    )
    has_problems = any(chain.problem for chain in summary.arm.chains)
    for chain in summary.arm.chains if len(summary.arm.chains) > 1 or has_problems else ():
        table.add_row(*_chain_row(chain, keys))
    table.add_section()


def _chain_row(chain: Chain, keys: Sequence[str]) -> list[Text | str]:
    name = Text(f"  seed {chain.seed}" + (f"\n  {chain.problem.partition(':')[0]}" if chain.problem else ""))
    if not chain.records:
        return [name]
    summary = summarise_chain(chain)
    changes = [f"{number_text(summary.first.get(key))} → {number_text(summary.last.get(key))}" for key in keys]
    dead = summary.profile.first_dead_generation
    half_life = summary.profile.recall_half_life
    return [name, *changes, time_text(half_life), MISSING if dead is None else str(dead)]


def _change(first: Interval | None, last: Interval | None) -> str:
    """First and last mean, and the interval of the last on a line of its own."""
    means = f"{number_text(first.mean if first else None)} → {number_text(last.mean if last else None)}"
    return f"{means}\n{bounds_text(last)}" if last and last.low is not None else means
