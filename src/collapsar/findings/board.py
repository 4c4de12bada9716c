"""The board: findings run and judged, as a table, as JSON, and as a page without scripts."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from collapsar import __version__
from collapsar.files import write_atomically
from collapsar.findings.chains import collect
from collapsar.findings.finding import Finding, Region, key_of
from collapsar.findings.judge import BEYOND, WITHIN, ControlResult, Judged, Judgement, judge_finding
from collapsar.findings.values import Evidence, all_chains
from collapsar.records.commit import commit
from collapsar.records.words import duration_text
from collapsar.report.templating import template
from collapsar.report.wording import interval_text, number_text
from collapsar.study.hashes import records_hash, results_hash

STYLES = {"reproduced": "green", "contradicted": "red", "undecided": "yellow"}
WIDTH, MARGIN = 300.0, 12.0  # of a picture, in units of its own


@dataclass(frozen=True, kw_only=True)
class Row:
    """A finding on the board: its judgement, the chains behind it, what they cost, and the hashes of their records."""

    judgement: Judgement
    evidence: Evidence
    seconds: float
    records: str
    results: str

    @property
    def finding(self) -> Finding:
        return self.judgement.finding

    @property
    def controls_hold(self) -> bool:
        return all(control.held for control in self.judgement.controls)


def decide(finding: Finding, output: Path, *, max_look: int | None = None) -> Row:
    """Run and judge a finding, look by look until it is decided, and then its own controls.

    Raises:
        UsageError: a chain is refused, or no law holds for it.
    """
    looks = [look for look in finding.looks if max_look is None or look <= max_look] or [max_look or finding.looks[0]]
    row = _judge(finding, output / finding.folder_name, look=looks[0])
    for look in looks[1:]:
        if row.judgement.verdict == "undecided":
            row = _judge(finding, output / finding.folder_name, look=look)
    for number, control in enumerate(finding.controls, 1):
        keys = {key_of(each) for each in control.overrides}
        command = (*(each for each in finding.command if key_of(each) not in keys), *control.overrides)
        own = finding.model_copy(update={"command": command, "controls": ()})
        found = _judge(own, output / f"{finding.folder_name}_control{number}", look=row.judgement.look)
        verdict = found.judgement.verdict
        text = f"{verdict}, expected {control.expect}"
        result = ControlResult(name=" ".join(control.overrides), held=verdict == control.expect, text=text)
        controls = (*row.judgement.controls, result)
        row = replace(row, judgement=replace(row.judgement, controls=controls), seconds=row.seconds + found.seconds)
    return row


def _judge(finding: Finding, folder: Path, *, look: int) -> Row:
    evidence = collect(finding, folder, look=look)
    chains = all_chains(evidence.chains)
    records = [record for chain in chains for record in chain.records]
    return Row(
        judgement=judge_finding(finding, evidence, look=look),
        evidence=evidence,
        seconds=sum(sum(record.seconds.values()) + sum(record.shared_seconds.values()) for record in records),
        records=records_hash(chains),
        results=results_hash(chains),
    )


def as_table(rows: Sequence[Row]) -> Table:
    """The board for the terminal."""
    table = Table("row", "finding", "verdict", "statistic", "99 % interval", "decides", title="findings")
    table.add_column("seeds", justify="right")
    table.add_column("cost", justify="right")
    table.add_column("controls")
    for row in rows:
        judgement, finding = row.judgement, row.finding
        failed = [control.name for control in judgement.controls if not control.held]
        controls = f"[bold red]FAILED: {'; '.join(failed)}[/]" if failed else f"{len(judgement.controls)} hold"
        standing = "".join(f"\n({text})" for text in (finding.tier, *judgement.standing))
        for place, own in enumerate(judgement.judged):
            first = place == 0
            table.add_row(
                str(finding.row) if first else "",
                finding.name if first else "",
                f"[{STYLES[judgement.verdict]}]{judgement.verdict}[/]{standing}" if first else "",
                f"{own.statistic.name}\n[{STYLES[own.verdict]}]{own.verdict}[/]"
                + (f": {own.reason}" if own.reason else ""),
                interval_text(own.interval),
                deciding_words(own),
                str(judgement.look) if first else "",
                duration_text(row.seconds) if first else "",
                controls if first else "",
                end_section=own is judgement.judged[-1],
            )
    return table


def deciding_words(judged: Judged) -> str:
    """What decides: the law's value, or the regions."""
    if judged.expected is not None:
        return f"law {number_text(judged.expected)}"
    no = " or ".join(map(str, judged.statistic.contradicted))
    return f"yes {judged.statistic.reproduced}" + (f", no {no}" if no else "")


def as_content(rows: Sequence[Row]) -> dict[str, Any]:
    """The board as JSON values."""
    return {"collapsar": __version__, "commit": commit(), "findings": [_content_of(row) for row in rows]}


def _content_of(row: Row) -> dict[str, Any]:
    judgement, finding = row.judgement, row.finding
    return {
        **finding.model_dump(mode="json", exclude={"looks", "controls", "statistics"}),
        "hash": finding.hash,
        "verdict": judgement.verdict,
        "standing": [*judgement.standing],
        "seeds": judgement.look,
        "statistics": [
            {
                "name": own.statistic.name,
                "decides": deciding_words(own),
                **{key: getattr(own, key) for key in ("verdict", "reason", "standard_error", "expected")},
                **(asdict(own.interval) if own.interval else {}),
            }
            for own in judgement.judged
        ],
        "controls": [asdict(control) for control in judgement.controls],
        "chains": {arm: [*own] for arm, own in row.evidence.chains.items()},
        "ended_early": [*judgement.dead],
        "seconds": round(row.seconds, 1),
        "records": row.records,
        "results": row.results,
    }


def write_board(rows: Sequence[Row], output: Path) -> list[Path]:
    """Write `board.json` and `board.html`, whole or not at all; return their paths."""
    output.mkdir(parents=True, exist_ok=True)
    content = as_content(rows)
    page = template("board.html.jinja", beside="collapsar.findings.board").render(
        board=content,
        rows=rows,
        deciding_words=deciding_words,
        duration_text=duration_text,
        picture=picture,
    )
    files = {"board.json": json.dumps(content, indent=1, allow_nan=False) + "\n", "board.html": page}
    for name, text in files.items():
        write_atomically(output / name, text.encode())
    return [output / name for name in files]


def picture(judged: Judged) -> Mapping[str, Any] | None:
    """The interval against the bands, in units of the picture; None without an interval."""
    interval, statistic = judged.interval, judged.statistic
    if interval is None or interval.low is None or interval.high is None:
        return None
    if judged.expected is not None:
        error, law = judged.standard_error or 0.0, judged.expected
        yes = [Region(low=law - WITHIN * error, high=law + WITHIN * error)]
        no = [Region(low=-math.inf, high=law - BEYOND * error), Region(low=law + BEYOND * error, high=math.inf)]
    else:
        yes, no = [own for own in [statistic.reproduced] if own is not None], [*statistic.contradicted]
    ends = [end for region in (*yes, *no) for end in (region.low, region.high) if math.isfinite(end)]
    ends += [interval.low, interval.high]
    lowest, highest = min(ends), max(ends)
    spare = 0.15 * (highest - lowest) or 0.1 * abs(highest) or 1.0
    lowest, highest = lowest - spare, highest + spare

    def place(value: float) -> float:
        share = (min(max(value, lowest), highest) - lowest) / (highest - lowest)
        return round(MARGIN + share * (WIDTH - 2 * MARGIN), 2)

    def bars(regions: Sequence[Region]) -> list[tuple[float, float]]:
        return [(place(own.low), round(place(own.high) - place(own.low), 2)) for own in regions]

    return {
        "width": WIDTH,
        "yes": bars(yes),
        "no": bars(no),
        "low": place(interval.low),
        "mean": place(interval.mean),
        "high": place(interval.high),
        "law": None if judged.expected is None else place(judged.expected),
        "ends": (number_text(lowest), number_text(highest)),
    }
