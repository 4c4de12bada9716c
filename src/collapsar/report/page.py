"""The page: one HTML file without a server or the network; plotly.js, which it carries, draws its curves."""

import os
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from markupsafe import Markup

from collapsar.foundations.words import listed
from collapsar.judging.metric_keys import load_cases
from collapsar.report.sections import SECTIONS
from collapsar.report.templating import packed_plotly, template
from collapsar.study.study import Study, read_study


def write_report(folders: Sequence[Path], output: Path) -> Path:
    """Write the page over all runs at and below the folders; return its path. Errors are those of `read_study`."""
    return write_page(read_study(folders), output)


def write_page(study: Study, output: Path, *, notice: str = "") -> Path:
    """Write the page over a study, replacing an older page in one step; `notice` says how far a running study is."""
    page = render(study, notice=notice)
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.parent / f".{output.name}.{os.getpid()}.part"
    try:
        unfinished.write_text(page, encoding="utf-8")
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)
    return output


def render(study: Study, *, notice: str = "") -> str:
    """The page over a study, as HTML: a notice if there is one, and the sections that have something to show."""
    load_cases()
    shown: list[dict[str, Any]] = []
    charts: dict[str, Any] = {}
    for section in SECTIONS:
        content = resolve_name(section.content)(study)
        if content is not None:
            charts |= content.get("charts", {})
            layout = template(f"{section.name}.html.jinja", beside=section.content.partition(":")[0])
            body = Markup(layout.render(study=study, arms=study.arms, **content))
            title = content.get("title", section.title)
            shown.append({"name": section.name, "entry": section.title, "title": title, "body": body})
    names = [*dict.fromkeys(str(name) for chain in study.chains if (name := chain.config.get("name")))]
    return template("report.html.jinja").render(
        study=study,
        title=listed(names, most=3) or (study.chains[0].label if len(study.chains) == 1 else "runs"),
        sections=shown,
        notice=notice,
        has_charts=bool(charts),
        charts=charts | {"arms": [arm.name for arm in study.arms]},
        plotly=packed_plotly(),
    )
