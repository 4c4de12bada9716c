"""The page: one HTML file that needs neither a server nor the network.

Python computes the numbers, the template lays them out, and the page's own script draws the curves with plotly.js,
which the page carries.
"""

import json
import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from markupsafe import Markup

from collapsar.judging.metric_keys import headline
from collapsar.judging.metric_lookup import title_of
from collapsar.report import forest, predictor_words, wording
from collapsar.report.charts import chart_content
from collapsar.report.class_scores import class_score_maps
from collapsar.report.classes import heat_map
from collapsar.report.commands import commands
from collapsar.report.factors import factor_map
from collapsar.report.families import families
from collapsar.report.phase import phase_maps
from collapsar.report.phase_curve import draw, phase_curves
from collapsar.report.pictures import film_strip
from collapsar.report.plotly_bundle import packed_plotly
from collapsar.report.sections import added_sections, per_arm
from collapsar.report.templating import template
from collapsar.study.arms import Arm
from collapsar.study.chains import Chain
from collapsar.study.costs import phases
from collapsar.study.study import Study, read_study

PACKAGES = ("collapsar", "torch", "lightning", "torchmetrics", "numpy", "scipy", "statsmodels")
MAX_PICTURED_CHAINS = 24  # film strips and class heat maps take most of the page and of the time to make it
MAX_CHAINS_WITH_ALL_DIGITS = 24  # with more chains, only the download has all digits


def write_report(folders: Sequence[Path], output: Path) -> Path:
    """Write the page over all runs at and below the folders; return its path.

    Raises:
        UsageError: there is no such folder, no run in it, or a record cannot be read.
    """
    return write_page(read_study(folders), output)


def write_page(study: Study, output: Path) -> Path:
    """Write the page over a study, replacing an older page in one step; return its path."""
    page = render(study)
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name(f".{output.name}.{os.getpid()}.part")
    unfinished.write_text(page, encoding="utf-8")
    unfinished.replace(output)
    return output


def render(study: Study) -> str:
    """The page over a study, as HTML."""
    arms, chains = study.arms, study.chains
    pictured = _pictured(arms)
    num_pictured = min(len(chains), MAX_PICTURED_CHAINS)
    films = per_arm(pictured, lambda chain: film_strip(chain, num_chains=num_pictured))
    heat_maps, factor_maps = per_arm(pictured, heat_map), per_arm(pictured, factor_map)
    score_maps = class_score_maps(arms)
    charts = chart_content(arms) | {"forests": [forest.forest_content(found) for found in study.comparisons]}
    seen = {"wording": wording, "arms": arms, "chains": chains, "num_pictured": num_pictured}
    return template("report.html.jinja").render(
        **seen,
        study=study,
        forest=forest,
        predictor_words=predictor_words,
        title_of=title_of,
        title=_title(chains),
        with_outcome=[(arm, chain) for arm in arms for chain in arm.chains if chain.has_outcome],
        ranked=wording.ranked_by_loss(study.counted),
        unfinished=[chain for chain in chains if chain.problem],
        not_counted=[chain for arm in arms for chain in arm.left_out],
        repeated=[chain for arm in arms for chain in arm.chains if chain not in arm.distinct],
        content=_as_script_text(charts),
        plotly=packed_plotly(),
        headline=[key for key in headline() if key in charts["titles"]],
        families=families(list(charts["titles"])),
        laws=charts["laws"],
        has_path={"precision", "recall"} <= charts["titles"].keys(),
        has_survival=bool(charts["survival"]),
        films=films,
        film_pixels=_widest(films),
        heat_maps=heat_maps,
        factor_maps=factor_maps,
        factor_map_pixels=_widest(factor_maps),
        class_score_maps=score_maps,
        heat_map_pixels=max([_widest(heat_maps), *(found.pixels for maps in score_maps.values() for found in maps)]),
        phase_maps=phase_maps(study.counted),
        phase_curves=phase_curves(study),
        draw_phase_curve=draw,
        phases=phases(study.costs),
        versions=_versions(chains),
        commands=commands(arms),
        with_all_digits=len(chains) <= MAX_CHAINS_WITH_ALL_DIGITS,
        added=_added(pictured, seen),
        rows_say_classes=any(record.labels_from == "row" for chain in chains for record in chain.records),
    )


def _added(pictured: Sequence[Sequence[Chain]], seen: dict[str, Any]) -> list[Markup]:
    """The added sections that have something to show, as HTML."""
    shown = [(section, section.content(pictured)) for section in added_sections()]
    return [
        Markup(template(section.template, package=section.package).render(**seen, **content))
        for section, content in shown
        if content
    ]


def _title(chains: Sequence[Chain]) -> str:
    """The names of the studies; without one, the label of a lone chain."""
    names = list(dict.fromkeys(str(name) for chain in chains if (name := chain.config.get("name"))))
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "") or (chains[0].label if len(chains) == 1 else "runs")


def _pictured(arms: Sequence[Arm]) -> list[list[Chain]]:
    """The chains of each arm that get pictures: first seeds before second ones, at most MAX_PICTURED_CHAINS."""
    ranked = sorted((rank, index) for index, arm in enumerate(arms) for rank in range(len(arm.chains)))
    kept = [index for _, index in ranked[:MAX_PICTURED_CHAINS]]
    return [list(arm.chains[: kept.count(index)]) for index, arm in enumerate(arms)]


def _widest(drawn: Sequence[tuple[int, list[tuple[Chain, Any]]]]) -> int:
    return max((found.pixels for _, pairs in drawn for _, found in pairs), default=0)


def _versions(chains: Sequence[Chain]) -> dict[str, str]:
    """Package versions of the runs; of this process if no run stored them."""
    for chain in chains:
        if chain.versions:
            return chain.versions
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):  # collapsar itself, when it is run from a checkout
            versions[name] = metadata.version(name)
    return versions


def _as_script_text(content: dict[str, Any]) -> Markup:
    """JSON that cannot end its script element: <, > and & are escaped inside its strings; numbers keep all digits."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
