"""The board: findings are run as far as their chains are not stored, judged, and shown: a table, JSON, and a page."""

import json
import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from hydra.errors import HydraException
from rich.markup import escape
from rich.table import Table

from collapsar.config.command_line import parse
from collapsar.findings.finding import Finding, Region, key_of
from collapsar.findings.judge import BEYOND, WITHIN, ControlResult, Judged, Judgement, judge_finding
from collapsar.findings.values import Chains, Evidence, is_dead, summarised
from collapsar.foundations import __version__
from collapsar.foundations.commit import commit
from collapsar.foundations.errors import UsageError
from collapsar.foundations.files import write_atomically
from collapsar.foundations.settings import CONFIG
from collapsar.foundations.words import duration_text
from collapsar.library.composing import run
from collapsar.report.templating import template
from collapsar.report.wording import interval_text, number_text
from collapsar.study.chains import Chain
from collapsar.study.study import read_study

logger = logging.getLogger(__name__)

STYLES = {"reproduced": "green", "contradicted": "red", "undecided": "yellow"}
WIDTH, MARGIN = 300.0, 12.0  # of a picture, in units of its own


def decide(finding: Finding, output: Path, *, max_look: int | None = None) -> Judgement:
    """Judge a finding look by look until decided with controls that hold; UsageError for a refused chain or no law."""
    looks = [look for look in finding.looks if max_look is None or look <= max_look] or [max_look or finding.looks[0]]
    for look in looks:
        found = judge_finding(finding, collect(finding, output / finding.folder_name, look=look), look=look)
        if found.verdict != "undecided" and found.controls_hold:  # more seeds may reject a law off by 2 %
            break
    for number, control in enumerate(finding.controls, 1):
        keys = {key_of(each) for each in control.overrides}
        command = (*(each for each in finding.command if key_of(each) not in keys), *control.overrides)
        own = finding.model_copy(update={"command": command, "controls": ()})
        evidence = collect(own, output / f"{finding.folder_name}_control{number}", look=found.look)
        apart = judge_finding(own, evidence, look=found.look)
        text = f"{apart.verdict}, expected {control.expect}"
        result = ControlResult(name=" ".join(control.overrides), held=apart.verdict == control.expect, text=text)
        found = replace(found, controls=(*found.controls, result), seconds=found.seconds + apart.seconds)
    return found


def collect(finding: Finding, folder: Path, *, look: int) -> Evidence:
    """The chains of the first `look` seeds of each arm, after running what is missing; UsageError if refused."""
    evidence, refusal = stored_evidence(finding, folder, look=look), ""
    if missing := _missing(evidence, look=look):
        refusal = _run(finding, missing, folder)
        evidence = stored_evidence(finding, folder, look=look)
    for arm, seeds in _missing(evidence, look=look).items():
        text = f"{finding.name}: arm {arm}, seed {seeds[0]} did not end; the same command continues"
        raise UsageError(refusal or text)
    return evidence


def _missing(evidence: Evidence, *, look: int) -> dict[str, list[int]]:
    arms = evidence.chains.items()
    ended = {arm: [seed for seed, chain in own.items() if not chain.is_open or is_dead(chain)] for arm, own in arms}
    return {arm: left for arm, own in ended.items() if (left := sorted({*range(look)} - {*own}))}


def _run(finding: Finding, seeds: Mapping[str, Sequence[int]], folder: Path) -> str:
    """Run these seeds of the arms; returns why some were refused, empty if none was."""
    refusals = []
    for wanted in dict.fromkeys(map(tuple, seeds.values())):
        arms = [arm for arm, own in seeds.items() if tuple(own) == wanted]
        texts = ",".join(f'"{" ".join(finding.arms[arm])}"' for arm in arms)
        sweep = ["hydra/sweeper=arms", f"hydra.sweeper.arms=[{texts}]", f"hydra.sweep.dir={folder.resolve()}"]
        sweep += ["hydra/launcher=joblib", "+hydra.callbacks.study.is_table_printed=false"]
        logger.info("%s: %s, seeds %s", finding.name, ", ".join(arms), ", ".join(map(str, wanted)))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # chains that broke down are outcomes, which the board shows
                run([*finding.command, f"seed={','.join(map(str, wanted))}", *sweep], is_multirun=True)
        except UsageError as error:
            refusals.append(str(error).splitlines()[0])
    return "; ".join(refusals)


def stored_evidence(finding: Finding, folder: Path, *, look: int) -> Evidence:
    """The stored chains of the first `look` seeds; of several of one seed, the one that was begun last."""
    found: dict[str, dict[int, Chain]] = {arm: {} for arm in finding.arms}
    expected = {
        meaning((*finding.command, *own, f"seed={seed}")): (arm, seed)
        for arm, own in finding.arms.items()
        for seed in range(look)
    }
    keys = [own.metric for own in finding.statistics]
    stored = read_study(folder).chains if any(folder.glob(f"*/{CONFIG}")) else []
    for chain in sorted(stored, key=lambda chain: (chain.folder / CONFIG).stat().st_mtime):
        place = expected.get(meaning(chain.overrides))
        if place is not None:
            found[place[0]][place[1]] = summarised(chain, keys=keys)
    chains: Chains = {arm: dict(sorted(own.items())) for arm, own in found.items()}
    configs = {arm: next(iter(own.values())).config for arm, own in chains.items() if own}
    return Evidence(chains=chains, configs=configs)


def meaning(overrides: Sequence[str]) -> frozenset[str]:
    """The overrides in one spelling: Hydra's sweepers write False where false was typed. None if one is broken."""
    try:
        return frozenset(f"{own.key_or_group}={own.value()!r}" for own in map(parse, overrides))
    except HydraException:
        return frozenset()


def as_table(rows: Sequence[Judgement]) -> Table:
    """The board for the terminal."""
    table = Table("row", "finding", "verdict", "statistic", "99 % interval", "decides", title="findings")
    table.add_column("seeds", justify="right")
    table.add_column("cost", justify="right")
    table.add_column("controls")
    for row in rows:
        failed = [control.name for control in row.controls if not control.held]
        controls = f"[bold red]FAILED: {escape('; '.join(failed))}[/]" if failed else f"{len(row.controls)} hold"
        standing = "".join(f"\n({escape(text)})" for text in (row.finding.tier, *row.standing))
        start = [str(row.finding.row), row.finding.name, f"[{STYLES[row.verdict]}]{row.verdict}[/]{standing}"]
        end = [str(row.look), duration_text(row.seconds), controls]
        for own in row.judged:
            verdict = f"[{STYLES[own.verdict]}]{own.verdict}[/]" + (f": {escape(own.reason)}" if own.reason else "")
            cells = [f"{escape(own.statistic.name)}\n{verdict}", interval_text(own.interval), deciding_words(own)]
            table.add_row(*start, *cells, *end, end_section=own is row.judged[-1])
            start = end = [""] * 3  # once for all statistics of a finding
    return table


def deciding_words(judged: Judged) -> str:
    """What decides: the law's value, or the regions."""
    if judged.expected is not None:
        return f"law {number_text(judged.expected)}"
    no = " or ".join(map(str, judged.statistic.contradicted))
    return f"yes {judged.statistic.reproduced}" + (f", no {no}" if no else "")


def as_content(rows: Sequence[Judgement]) -> dict[str, Any]:
    """The board as JSON values."""
    findings = [
        {
            **row.finding.model_dump(mode="json", exclude={"looks", "controls", "statistics"}),
            "hash": row.finding.hash,
            "verdict": row.verdict,
            "standing": [*row.standing],
            "seeds": row.look,
            "statistics": [
                {
                    "name": own.statistic.name,
                    "decides": deciding_words(own),
                    **{key: getattr(own, key) for key in ("verdict", "reason", "standard_error", "expected")},
                    **(asdict(own.interval) if own.interval else {}),
                }
                for own in row.judged
            ],
            "controls": [asdict(control) for control in row.controls],
            "chains": {arm: [*own] for arm, own in row.evidence.chains.items()},
            "ended_early": row.dead,
            "seconds": round(row.seconds, 1),
            "records": row.records,
            "results": row.results,
        }
        for row in rows
    ]
    return {"collapsar": __version__, "commit": commit(), "findings": findings}


def write_board(rows: Sequence[Judgement], output: Path) -> list[Path]:
    """Write `board.json` and `board.html`, whole or not at all; return their paths."""
    output.mkdir(parents=True, exist_ok=True)
    content = as_content(rows)
    page = template("board.html.jinja", beside="collapsar.findings.board").render(
        board=content, rows=rows, deciding_words=deciding_words, duration_text=duration_text, picture=picture
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
        yes, no = [statistic.reproduced] if statistic.reproduced else [], [*statistic.contradicted]
    ends = [end for region in (*yes, *no) for end in (region.low, region.high) if math.isfinite(end)]
    ends += [interval.low, interval.high]
    lowest, highest = min(ends), max(ends)
    spare = 0.15 * (highest - lowest) or 0.1 * abs(highest) or 1.0
    lowest, highest = lowest - spare, highest + spare

    def place(value: float) -> float:
        return round(float(np.interp(value, (lowest, highest), (MARGIN, WIDTH - MARGIN))), 2)

    def bars(regions: Sequence[Region]) -> list[tuple[float, float]]:
        return [(place(own.low), round(place(own.high) - place(own.low), 2)) for own in regions]

    marks = {"low": interval.low, "mean": interval.mean, "high": interval.high, "law": judged.expected}
    return {
        **{name: None if value is None else place(value) for name, value in marks.items()},
        "width": WIDTH,
        "yes": bars(yes),
        "no": bars(no),
        "ends": (number_text(lowest), number_text(highest)),
    }
