"""Figures for a paper, SVG and PNG through matplotlib: curves and forest plots of the page, in the same colours."""

import re
import textwrap
from collections.abc import Callable
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from collapsar.judging.metric_keys import headline, title_of
from collapsar.report.sections.curves import chart_content, survival_curves
from collapsar.report.sections.forest import forest_content
from collapsar.study.study import Study

COLOURS = ("#0072b2", "#d55e00", "#00875f", "#b0508a", "#8a6d00", "#3a8fbf", "#555b63", "#8b4513")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2)))
LOOKS = {"better": ("#0a6650", ">"), "worse": ("#a3330a", "<")} | {  # of an effect
    "equivalent": ("#57606a", "s"),
    "undecided": ("#57606a", "o"),
}
MARKERS = ("o", "s", "D", "^", "v")
WIDTH_INCHES = 3.4  # one column of a two-column paper
HEIGHT_INCHES = 0.68 * WIDTH_INCHES
STYLE: Any = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "collapsar",  # the same records give the same file
    "figure.dpi": 300,
}


def write_figures(study: Study, folder: Path) -> list[Path]:
    """Write one SVG and one PNG for each headline metric, law and comparison, the precision-recall path and survival.

    The first comparison is `forest`, the others have their number.
    """
    content = chart_content(study.arms)
    leading, curves, laws = headline(), content["curves"], content["laws"]
    drawings: dict[str, Callable[[Axes], None]] = {
        key.replace("/", "_"): partial(_draw_metric, content=content, metric=key)
        for key, own in curves.items()
        if own and (key in leading or laws[key])
    }
    if curves.get("precision") and curves.get("recall"):
        drawings["precision_recall"] = partial(_draw_path, content=content)
    if survival := survival_curves(study):
        drawings["class_survival"] = partial(_draw_survival, content=content, survival=survival)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with mpl.rc_context(STYLE):
        figures = {name: _figure(draw) for name, draw in drawings.items()}
        for number, found in enumerate(study.comparisons, 1):
            figures[f"forest_{number}" if number > 1 else "forest"] = _forest(forest_content(found))
        for name, figure in figures.items():
            paths += [folder / f"{name}.svg", folder / f"{name}.png"]
            figure.savefig(paths[-2], metadata={"Date": None})
            figure.savefig(paths[-1])
    return paths


def _figure(draw: Callable[[Axes], None]) -> Figure:
    figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    if labels := axes.get_legend_handles_labels()[1]:
        more_rows = max(ceil(len(labels) / 2) - 3, 0)  # than fit above the figure
        figure.set_figheight(HEIGHT_INCHES + 0.15 * more_rows)
        figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=7)
    return figure


def _draw_metric(axes: Axes, *, content: dict[str, Any], metric: str) -> None:
    curves = content["curves"][metric]
    for curve in curves:
        if len(curves) <= len(COLOURS):  # more bands would only hide each other
            _draw_band(axes, curve)
        axes.plot(curve["generations"], curve["mean"], marker=MARKERS[curve["arm"] % 5], **_look(content, curve))
    for number, law in enumerate(content["laws"][metric]):
        label = "_law" if number else "law"  # matplotlib lists no label that starts with an underscore
        axes.plot(law["generations"], law["values"], "k", linewidth=1.1, linestyle=(0, (1, 1.2)), label=label)
    for floor in content["floors"][metric]:
        axes.axhline(floor["value"], color="0.45", linewidth=0.8, linestyle=(0, (4, 3)))
    _count_generations(axes)
    axes.set(ylabel=textwrap.fill(title_of(metric), 28))


def _draw_path(axes: Axes, *, content: dict[str, Any]) -> None:
    recalls = {curve["arm"]: curve["mean"] for curve in content["curves"]["recall"]}
    for curve in content["curves"]["precision"]:
        recall = recalls.get(curve["arm"], ())
        if len(recall) == len(curve["mean"]):
            axes.plot(recall, curve["mean"], marker=MARKERS[curve["arm"] % 5], **_look(content, curve))
            axes.plot(recall[:1], curve["mean"][:1], "o", color=COLOURS[curve["arm"] % 8], fillstyle="none")
    axes.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))


def _draw_survival(axes: Axes, *, content: dict[str, Any], survival: list[dict[str, Any]]) -> None:
    for curve in survival:
        axes.plot(curve["generations"], curve["alive"], drawstyle="steps-post", **_look(content, curve))
    _count_generations(axes)
    axes.set(ylabel="share of classes alive", ylim=(-0.02, 1.04))


def _count_generations(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.set_xlabel("generation")


def _draw_band(axes: Axes, curve: dict[str, Any]) -> None:
    columns = zip(curve["generations"], curve["low"], curve["high"], strict=True)
    known = [(generation, low, high) for generation, low, high in columns if low is not None and high is not None]
    if len(known) > 1:
        generations, low, high = zip(*known, strict=True)
        axes.fill_between(generations, low, high, color=COLOURS[curve["arm"] % 8], alpha=0.16, linewidth=0)


def _look(content: dict[str, Any], curve: dict[str, Any]) -> dict[str, Any]:
    arm = curve["arm"]
    label = _plain(content["arms"][arm].lstrip("_"))  # matplotlib lists no label that starts with an underscore
    return {"color": COLOURS[arm % 8], "linestyle": DASHES[arm % 5], "linewidth": 1.3, "label": label, "markersize": 3}


def _plain(name: str) -> str:
    return name.replace("$", r"\$")  # matplotlib reads dollars as mathematics


def _forest(content: dict[str, Any]) -> Figure:
    """A panel for each outcome, the arms from the best to the worst; 95 % intervals thick, corrected ones thin."""
    arms = content["arms"]
    figure = Figure(figsize=(7.0, 0.55 + 0.17 * len(arms)), layout="constrained")  # inches: two columns wide
    panels = figure.subplots(1, len(content["panels"]), sharey=True, squeeze=False)[0]
    for axes, panel in zip(panels, content["panels"], strict=True):
        axes.axvline(0, color="0.45", linewidth=0.8)
        for row, effect in enumerate(panel["effects"]):
            if effect is not None:
                colour, marker = LOOKS[effect.verdict]
                axes.plot(effect.corrected.ends, [row, row], color=colour, linewidth=0.6)
                axes.plot(effect.judged.interval.ends, [row, row], color=colour, linewidth=1.8)
                axes.plot(effect.difference.mean, row, color=colour, marker=marker, markersize=3.5)
        axes.set_title(re.sub(r"^(.{12,}?) ", r"\1" + "\n", panel["title"]), fontsize=7)
        axes.tick_params(axis="y", length=0)
        axes.locator_params(axis="x", nbins=4)
    panels[0].set_yticks(range(len(arms)), [_plain(name) for name in arms])
    panels[0].set_ylim(len(arms) - 0.4, -0.6)
    return figure
