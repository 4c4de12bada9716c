"""The terminal's tables: arms with their first and last values and times, and their effects against baselines."""

import math
from collections.abc import Sequence

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from collapsar.foundations.words import counted
from collapsar.judging.metric_keys import title_of
from collapsar.report.sections import predictors
from collapsar.report.sections.answer import entry_gate
from collapsar.report.sections.forest import notes, sentence, spendings
from collapsar.report.sections.worth import sentences
from collapsar.report.wording import MISSING, growth_text, p_text, short_text, time_of_chain, waiting_text
from collapsar.study.analysis import OUTCOMES, RMST
from collapsar.study.chains import Chain
from collapsar.study.comparison import Comparison
from collapsar.study.intervals import Interval
from collapsar.study.study import Study
from collapsar.study.summaries import ArmSummary
from collapsar.study.verdicts import Effect


def report_tables(study: Study) -> Group:
    """The table of arms, their effects against baselines, what became of predictors, and what pools are worth."""
    answers = [Text(f"\n{predictors.answer(found)}") for found in study.keepings]
    worth = [Text(f"\n{arm}: {said}") for curve in study.real_curves for arm, said in sentences(curve).items()]
    return Group(table_of(study), *map(effects_table, study.comparisons), *answers, *worth)


def origin(study: Study) -> Text:
    """Commit, date and hashes of the records, each on a line of its own."""
    return Text("\n".join(f"{name}: {text}" for name, text in study.provenance.items() if name != "Command"))


def table_of(study: Study) -> Table:
    """The table of arms, with a row for each seed if there are several; the caption lists unfinished chains."""
    times = f"times in generations, with their range{_horizons(study.summaries)}"
    values = "generation 0→last, with its 95 % interval over seeds"
    table = _table("\n".join([values, times, *_notes(study.summaries)]))
    for heading in (*map(title_of, study.main_metrics), "recall halved", "first dead"):
        table.add_column(_stacked(heading), justify="right", no_wrap=True)
    for summary in study.summaries:
        changes = [_change(summary.first.get(key), summary.last.get(key)) for key in study.main_metrics]
        waits = [_stacked(waiting_text(waiting)) for waiting in (summary.half_life, summary.first_dead)]
        table.add_row(Text(summary.arm.name), *changes, *waits, style="bold")
        chains = summary.arm.chains
        for chain in chains if len(chains) > 1 or any(chain.problem for chain in chains) else ():
            mark = " *" if chain.problem or chain not in summary.arm.counted else ""
            table.add_row(f"  seed {chain.seed}{mark}", *_chain_cells(chain, study.main_metrics))
        table.add_section()
    return table


def effects_table(found: Comparison) -> Table:
    """The first outcomes, and the costs beside the baseline's; page and CSV have the rest."""
    counted_to = f"recall survival is counted to generation {found.horizon}; " if RMST in found.outcomes else ""
    table = _table(
        f"arm minus {found.baseline.name}, seed by seed; 95 % intervals and p over all arms together\n"
        f"{counted_to}costs beside the baseline's\n" + "\n".join(notes(found)),
        title=sentence(found),
    )
    shown = found.outcomes[:2]  # more do not fit a terminal
    for heading in (*(OUTCOMES[outcome].partition(",")[0] for outcome in shown), "verdict", "seconds", "steps", "real"):
        table.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
    for row in found.arms:
        cells = [Text(_effect_text(row.effects.get(outcome))) for outcome in shown]
        spent = [text.rpartition(" (")[2].rstrip(")").rpartition(", ")[2] for text in spendings(row, found)]
        table.add_row(Text(row.arm.name), *cells, row.deciding.verdict if row.deciding else MISSING, *spent)
    return table


def _table(caption: str, *, title: str | None = None) -> Table:
    """A table with a column of arms. Names come from configs and may hold brackets, so texts are no markup."""
    table = Table(
        title=title and Text(title),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        caption=Text(caption),
        caption_justify="left",
    )
    table.add_column("arm", min_width=12, overflow="fold")
    return table


def _effect_text(effect: Effect | None) -> str:
    if effect is None:
        return MISSING
    judged = effect.judged
    bounds = f"[{short_text(judged.interval.low)},{short_text(judged.interval.high)}]"
    return f"{growth_text(judged.interval)}\n{bounds}\n{p_text(judged.p_value)}"


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
    notes = []
    for arm in (summary.arm for summary in summaries):
        for chain in (chain for chain in arm.chains if chain.problem or chain not in arm.counted):
            counts = "" if chain in arm.counted else "; left out of means"
            if chain in arm.carried:
                counts = f"; counted, last values carried on to generation {arm.horizon}"
            shorter = f"finished with {counted(len(chain.records), 'generation')}, fewer than others of its arm"
            why = chain.problem or (shorter if chain in arm.distinct else f"{chain.label} repeats another run")
            notes.append(f"* {arm.name}, seed {chain.seed}: {why}{counts}")
    return [*notes, *([entry_gate(summaries)] if any(summary.chains for summary in summaries) else [])]


def _chain_cells(chain: Chain, keys: Sequence[str]) -> list[str]:
    if not chain.has_outcome:
        return []
    changes = [f"{short_text(chain.first.get(key))}→{short_text(chain.last.get(key))}" for key in keys]
    times = (time_of_chain(chain, event) for event in ("recall_half_life", "first_dead_generation"))
    return [*changes, *map(_stacked, times)]


def _change(first: Interval | None, last: Interval | None) -> str:
    means = f"{short_text(first.mean if first else None)}→{short_text(last.mean if last else None)}"
    if last is None or last.low is None:
        return means
    return f"{means}\n\\[{short_text(last.low)},{short_text(last.high)}]"


def _stacked(text: str) -> str:
    """A heading of two words, or a median with its range, on two lines, so that the table fits 80 columns."""
    text = text.replace("not in ", ">")
    if "(" in text:
        return text.replace(" (", "\n(").replace(" to ", "–")
    return text.replace(" ", "\n")
