"""The page: one HTML file that needs neither a server nor the network.

Python computes the numbers, the template lays them out, and the page's own script draws the curves with plotly.js,
which the page carries.
"""

import json
import os
import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from markupsafe import Markup

from collapsar.judging.metric_keys import MAIN, headline, title_of
from collapsar.report import forest, predictor_words, wording
from collapsar.report.charts import chart_content
from collapsar.report.class_scores import class_score_maps
from collapsar.report.classes import heat_map
from collapsar.report.commands import commands
from collapsar.report.factors import factor_map
from collapsar.report.families import families
from collapsar.report.phase import phase_maps
from collapsar.report.phase_curve import draw, phase_curves, read_threshold
from collapsar.report.pictures import film_strip
from collapsar.report.plotly_bundle import packed_plotly
from collapsar.report.sections import added_sections
from collapsar.report.templating import template
from collapsar.study.arms import Arm, differing_settings, group_arms
from collapsar.study.chains import Chain, read_chains
from collapsar.study.comparison import comparisons
from collapsar.study.costs import costs, phases, study_seconds
from collapsar.study.predictors import keepings
from collapsar.study.summaries import contrasts, summarise_arm, summarise_chain

PACKAGES = ("collapsar", "torch", "lightning", "torchmetrics", "numpy", "scipy", "statsmodels")
MAX_PICTURED_CHAINS = 24  # film strips and class heat maps take most of the page and of the time to make it
MAX_CHAINS_WITH_ALL_DIGITS = 24  # with more chains, only the download has all digits


def write_report(folders: Sequence[Path], output: Path) -> Path:
    """Write the page over all runs at and below the folders, replacing an older page in one step; return its path.

    Raises:
        UsageError: there is no such folder, no run in it, or a record cannot be read.
    """
    page = render(read_chains(folders))
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name(f".{output.name}.{os.getpid()}.part")
    unfinished.write_text(page, encoding="utf-8")
    unfinished.replace(output)
    return output


def render(chains: Sequence[Chain]) -> str:
    """The page over the chains, as HTML."""
    arms = group_arms(chains)
    summaries = [summary for summary in map(summarise_arm, arms) if summary.chains]
    pictured = _pictured(arms)
    films = _per_arm(pictured, lambda chain: film_strip(chain, num_chains=min(len(chains), MAX_PICTURED_CHAINS)))
    heat_maps = _per_arm(pictured, heat_map)
    factor_maps = _per_arm(pictured, factor_map)
    score_maps = class_score_maps(arms)
    compared = comparisons(arms)
    content = chart_content(arms) | {"forests": [forest.forest_content(found) for found in compared]}
    return template("report.html.jinja").render(
        wording=wording,
        forest=forest,
        comparisons=compared,
        title_of=title_of,
        title=_title(chains),
        arms=arms,
        chains=chains,
        summaries=summaries,
        chain_summaries=[(i, summarise_chain(c)) for i, arm in enumerate(arms) for c in arm.chains if c.has_outcome],
        keepings=keepings(arms),
        predictor_words=predictor_words,
        ranked=wording.ranked_by_loss(summaries),
        contrasts=contrasts(summaries),
        unfinished=[chain for chain in chains if chain.problem],
        not_counted=[chain for arm in arms for chain in arm.left_out],
        repeated=[chain for arm in arms for chain in arm.chains if chain not in arm.distinct],
        content=_as_script_text(content),
        plotly=packed_plotly(),
        headline=[key for key in headline() if key in content["titles"]],
        families=families(list(content["titles"])),
        laws=content["laws"],
        has_path={"precision", "recall"} <= content["titles"].keys(),
        has_survival=bool(content["survival"]),
        films=films,
        film_pixels=_widest(films),
        num_pictured=min(len(chains), MAX_PICTURED_CHAINS),
        heat_maps=heat_maps,
        factor_maps=factor_maps,
        factor_map_pixels=_widest(factor_maps),
        class_score_maps=score_maps,
        heat_map_pixels=max([_widest(heat_maps), *(found.pixels for maps in score_maps.values() for found in maps)]),
        phase_maps=phase_maps(summaries),
        phase_curves=phase_curves(arms, summaries, threshold=read_threshold([chain.folder.parent for chain in chains])),
        draw_phase_curve=draw,
        costs=costs(arms),
        phases=phases,
        study_seconds=study_seconds(arms),
        differing=differing_settings(arms),
        shared_settings=_shared_settings(arms),
        versions=_versions(chains),
        has_run_versions=any(chain.versions for chain in chains),
        commands=commands(arms),
        main_metrics=[key for key in MAIN if any(key in summary.first for summary in summaries)],
        with_all_digits=len(chains) <= MAX_CHAINS_WITH_ALL_DIGITS,
        added=_added(pictured, arms=arms, chains=chains),
        rows_say_classes=any(record.labels_from == "row" for chain in chains for record in chain.records),
    )


def _added(pictured: Sequence[Sequence[Chain]], *, arms: Sequence[Arm], chains: Sequence[Chain]) -> list[Markup]:
    """The added sections that have something to show, as HTML."""
    seen = {"wording": wording, "arms": arms, "chains": chains, "num_pictured": min(len(chains), MAX_PICTURED_CHAINS)}
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


def _per_arm(
    pictured: Sequence[Sequence[Chain]], draw: Callable[[Chain], Any]
) -> list[tuple[int, list[tuple[Chain, Any]]]]:
    """What `draw` makes of each arm's chains, with the arm's index; arms without a drawing are left out."""
    drawn = [(index, [(chain, draw(chain)) for chain in chains]) for index, chains in enumerate(pictured)]
    kept = [(index, [(chain, found) for chain, found in pairs if found is not None]) for index, pairs in drawn]
    return [(index, pairs) for index, pairs in kept if pairs]


def _widest(drawn: Sequence[tuple[int, list[tuple[Chain, Any]]]]) -> int:
    return max((found.pixels for _, pairs in drawn for _, found in pairs), default=0)


def _shared_settings(arms: Sequence[Arm]) -> dict[str, Any]:
    differing = differing_settings(arms)
    return {key: value for key, value in arms[0].settings.items() if key not in differing}


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
