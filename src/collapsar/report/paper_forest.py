"""The forest plot as a figure for a paper: a panel for each outcome, the arms from the best to the worst."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from collapsar.report.forest import VERDICTS, forest_content
from collapsar.report.paper import STYLE, save_figure
from collapsar.study.comparison import Comparison

LOOKS = dict(zip(VERDICTS, (("#0a6650", ">"), ("#a3330a", "<"), ("#57606a", "o")), strict=True))  # as on the page
WIDTH_INCHES = 7.0  # two columns
ROW_INCHES, HEAD_INCHES = 0.17, 0.55


def write_forests(comparisons: Sequence[Comparison], folder: Path) -> list[Path]:
    """Write one SVG and one PNG for each comparison, the first as `forest`, the others with their number."""
    with mpl.rc_context(STYLE):
        return [
            path
            for number, found in enumerate(comparisons)
            for path in _write(folder, forest_content(found), number=number)
        ]


def _write(folder: Path, content: dict[str, Any], *, number: int) -> list[Path]:
    figure = Figure(figsize=(WIDTH_INCHES, HEAD_INCHES + ROW_INCHES * len(content["arms"])), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(content["panels"]), sharey=True, squeeze=False)[0]
    for axes, panel in zip(panels, content["panels"], strict=True):
        _draw_panel(axes, panel)
    # matplotlib reads dollars as mathematics
    panels[0].set_yticks(range(len(content["arms"])), [name.replace("$", r"\$") for name in content["arms"]])
    panels[0].set_ylim(len(content["arms"]) - 0.4, -0.6)
    return save_figure(figure, folder / (f"forest_{number + 1}" if number else "forest"))


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
