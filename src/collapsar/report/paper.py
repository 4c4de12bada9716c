"""Figures for a paper, SVG and PNG through matplotlib: curves and forest plots of the page, in the same colours."""

import re
import textwrap
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from collapsar.judging.metric_keys import headline, title_of
from collapsar.report.sections.curves import chart_content, survival_curves
from collapsar.report.sections.forest import forest_content
from collapsar.study.study import Study

COLOURS = ("#0072b2", "#d55e00", "#00875f", "#b0508a", "#8a6d00", "#3a8fbf", "#555b63", "#8b4513")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2)))
LOOKS = {"better": ("#0a6650", ">"), "worse": ("#a3330a", "<"), "not told apart": ("#57606a", "o")}  # of an effect
MARKERS = ("o", "s", "D", "^", "v")
WIDTH_INCHES = 3.4  # one column of a two-column paper
HEIGHT_INCHES = 0.68 * WIDTH_INCHES
FOREST_WIDTH_INCHES = 7.0  # two columns
FOREST_ROW_INCHES, FOREST_HEAD_INCHES = 0.17, 0.55
LEGEND_COLUMNS, ROWS_THAT_FIT, ROW_INCHES = 2, 3, 0.15  # of a legend; more rows make the figure taller
MOST_BANDS = len(COLOURS)  # more would only hide each other
LABEL_CHARACTERS = 28  # what fits beside an axis
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
    content = chart_content(study.arms) | {"survival": survival_curves(study)}
    leading, laws = headline(), content["laws"]
    drawn = [key for key, curves in content["curves"].items() if curves and (key in leading or laws[key])]
    drawings = {key.replace("/", "_"): _metric_drawing(content, key) for key in drawn}
    if content["curves"].get("precision") and content["curves"].get("recall"):
        drawings["precision_recall"] = lambda axes: _draw_path(axes, content)
    if content["survival"]:
        drawings["class_survival"] = lambda axes: _draw_survival(axes, content)
    folder.mkdir(parents=True, exist_ok=True)
    forests = {f"forest_{number}" if number > 1 else "forest": one for number, one in enumerate(study.comparisons, 1)}
    with mpl.rc_context(STYLE):
        return [path for name, draw in drawings.items() for path in _write(folder / name, draw)] + [
            path for name, found in forests.items() for path in _write_forest(folder / name, forest_content(found))
        ]


def _write(stem: Path, draw: Callable[[Axes], None]) -> list[Path]:
    figure = _figure(WIDTH_INCHES, HEIGHT_INCHES)
    axes = figure.add_subplot()
    draw(axes)
    if labels := axes.get_legend_handles_labels()[1]:
        num_rows = ceil(len(labels) / LEGEND_COLUMNS)
        figure.set_figheight(HEIGHT_INCHES + max(num_rows - ROWS_THAT_FIT, 0) * ROW_INCHES)
        figure.legend(loc="outside upper left", ncols=LEGEND_COLUMNS, frameon=False, fontsize=7)
    return _save(figure, stem)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, stem: Path) -> list[Path]:
    paths = [stem.with_suffix(".svg"), stem.with_suffix(".png")]
    figure.savefig(paths[0], metadata={"Date": None})
    figure.savefig(paths[1])
    return paths


def _look(arm: int) -> dict[str, Any]:
    return {"color": COLOURS[arm % 8], "linestyle": DASHES[arm % 5], "linewidth": 1.3}


def _metric_drawing(content: dict[str, Any], metric: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        for curve in content["curves"][metric]:
            if len(content["curves"][metric]) <= MOST_BANDS:
                _draw_band(axes, curve)
            look = _look(curve["arm"]) | {"marker": MARKERS[curve["arm"] % 5], "markersize": 3}
            axes.plot(curve["generations"], curve["mean"], label=_label(content, curve), **look)
        for number, law in enumerate(content["laws"][metric]):
            label = "_law" if number else "law"  # matplotlib lists no label that starts with an underscore
            axes.plot(law["generations"], law["values"], "k", linewidth=1.1, linestyle=(0, (1, 1.2)), label=label)
        for floor in content["floors"][metric]:
            axes.axhline(floor["value"], color="0.45", linewidth=0.8, linestyle=(0, (4, 3)))
        _count_generations(axes)
        axes.set(ylabel=textwrap.fill(title_of(metric), LABEL_CHARACTERS))

    return draw


def _draw_path(axes: Axes, content: dict[str, Any]) -> None:
    recalls = {curve["arm"]: curve["mean"] for curve in content["curves"].get("recall", ())}
    for curve in content["curves"].get("precision", ()):
        if (recall := recalls.get(curve["arm"])) is not None and len(recall) == len(curve["mean"]):
            look = _look(curve["arm"]) | {"marker": MARKERS[curve["arm"] % 5], "markersize": 3}
            axes.plot(recall, curve["mean"], label=_label(content, curve), **look)
            axes.plot(recall[:1], curve["mean"][:1], "o", color=COLOURS[curve["arm"] % 8], fillstyle="none")
    axes.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))


def _draw_survival(axes: Axes, content: dict[str, Any]) -> None:
    for curve in content["survival"]:
        label = _label(content, curve)
        axes.plot(curve["generations"], curve["alive"], drawstyle="steps-post", label=label, **_look(curve["arm"]))
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


def _label(content: dict[str, Any], curve: dict[str, Any]) -> str:
    # matplotlib skips labels that start with an underscore, and reads dollars as mathematics.
    return str(content["arms"][curve["arm"]]).lstrip("_").replace("$", r"\$")


def _write_forest(stem: Path, content: dict[str, Any]) -> list[Path]:
    """A panel for each outcome, the arms from the best to the worst."""
    figure = _figure(FOREST_WIDTH_INCHES, FOREST_HEAD_INCHES + FOREST_ROW_INCHES * len(content["arms"]))
    panels = figure.subplots(1, len(content["panels"]), sharey=True, squeeze=False)[0]
    for axes, panel in zip(panels, content["panels"], strict=True):
        _draw_panel(axes, panel)
    # matplotlib reads dollars as mathematics
    panels[0].set_yticks(range(len(content["arms"])), [name.replace("$", r"\$") for name in content["arms"]])
    panels[0].set_ylim(len(content["arms"]) - 0.4, -0.6)
    return _save(figure, stem)


def _draw_panel(axes: Axes, panel: dict[str, Any]) -> None:
    """The effects of one outcome: 95 % intervals thick, corrected ones thin."""
    axes.axvline(0, color="0.45", linewidth=0.8)
    for row, effect in enumerate(panel["effects"]):
        if effect is not None:
            colour, marker = LOOKS[effect["verdict"]]
            axes.plot(effect["corrected"], [row, row], color=colour, linewidth=0.6)
            axes.plot([effect["low"], effect["high"]], [row, row], color=colour, linewidth=1.8)
            axes.plot(effect["mean"], row, color=colour, marker=marker, markersize=3.5)
    axes.set_title(re.sub(r"^(.{12,}?) ", r"\1" + "\n", panel["title"]), fontsize=7)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=4)
