"""The comparison table of the terminal: arms with their seeds, first and last values, half-life, first dead class."""

import math
from collections.abc import Sequence

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from collapsar.judging.metric_lookup import title_of
from collapsar.records.words import counted
from collapsar.report import predictor_words
from collapsar.report.forest import effects_table
from collapsar.report.wording import entry_gate, short_text, time_of_chain, waiting_text
from collapsar.study.chains import Chain
from collapsar.study.intervals import Interval
from collapsar.study.study import Study
from collapsar.study.summaries import ArmSummary

CAPTION = "generation 0→last, with its 95 % interval over seeds\ntimes in generations, with their range"


def report_tables(study: Study) -> Group:
    """The table of arms, their effects against baselines, and what became of predictors, as far as there are any."""
    answers = [Text(f"\n{predictor_words.answer(found)}") for found in study.keepings]
    return Group(table_of(study), *map(effects_table, study.comparisons), *answers)


def table_of(study: Study) -> Table:
    """The table of arms, with a row for each seed if there are several; the caption lists unfinished chains."""
    summaries, keys = study.summaries, study.main_metrics
    caption = Text("\n".join([CAPTION + _horizons(summaries), *_notes(summaries)]))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), caption=caption, caption_justify="left")
    table.add_column("arm", min_width=12)
    for heading in (*map(title_of, keys), "recall halved", "first dead"):
        table.add_column(_stacked(heading), justify="right", no_wrap=True)
    for summary in summaries:
        _add_arm(table, summary, keys)
    return table


def _horizons(summaries: Sequence[ArmSummary]) -> str:
    """The meaning of >N, for the caption; empty if every event happened."""
    times = [time for summary in summaries for time in (summary.half_life, summary.first_dead) if time is not None]
    never = sorted({time.num_generations for time in times if not math.isfinite(time.high)})
    if never == [0]:
        return "; >0: there is one generation only"
    if len(never) == 1:
        return f"; >{never[0]}: not in {counted(never[0], 'generation')}"
    return "; >N: not in N generations" if never else ""


def _notes(summaries: Sequence[ArmSummary]) -> list[str]:
    """What became of unfinished chains, and whether generation 0 passed the entry gate."""
    notes = []
    for summary in summaries:
        arm, counts = summary.arm, summary.arm.counted
        for chain in (chain for chain in arm.chains if chain.problem):
            told = "" if chain in counts else "; left out of means"
            told = f"; counted, last values carried on to generation {arm.horizon}" if chain in arm.carried else told
            notes.append(f"* {arm.name}, seed {chain.seed}: {chain.problem}{told}")
    return [*notes, *([entry_gate(summaries)] if any(summary.chains for summary in summaries) else [])]


def _add_arm(table: Table, summary: ArmSummary, keys: Sequence[str]) -> None:
    changes = [_change(summary.first.get(key), summary.last.get(key)) for key in keys]
    times = [_stacked(waiting_text(waiting)) for waiting in (summary.half_life, summary.first_dead)]
    # Text, not markup: names come from configs and may hold brackets.
    table.add_row(Text(summary.arm.name), *changes, *times, style="bold")
    has_problems = any(chain.problem for chain in summary.arm.chains)
    for chain in summary.arm.chains if len(summary.arm.chains) > 1 or has_problems else ():
        table.add_row(*_chain_row(chain, keys))
    table.add_section()


def _chain_row(chain: Chain, keys: Sequence[str]) -> list[str]:
    name = f"  seed {chain.seed}{' *' if chain.problem else ''}"
    if not chain.has_outcome:
        return [name]
    changes = [f"{short_text(chain.first.get(key))}→{short_text(chain.last.get(key))}" for key in keys]
    halved = time_of_chain(chain.profile.recall_half_life, chain, needs="recall")
    dead = time_of_chain(chain.profile.first_dead_generation, chain, needs="classes_dropped")
    return [name, *changes, _stacked(halved), _stacked(dead)]


def _change(first: Interval | None, last: Interval | None) -> str:
    """First and last mean, and the interval of the last on a line of its own."""
    means = f"{short_text(first.mean if first else None)}→{short_text(last.mean if last else None)}"
    is_interval = last is not None and last.low is not None
    return f"{means}\n\\[{short_text(last.low)},{short_text(last.high)}]" if last and is_interval else means


def _stacked(text: str) -> str:
    """A heading of two words, or a median with its range, on two lines, so that the table fits 80 columns."""
    text = text.replace("not in ", ">")
    if "(" in text:
        return text.replace(" (", "\n(").replace(" to ", "–")
    return text.replace(" ", "\n")
