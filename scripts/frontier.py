"""Draw what was tried as recipes: seconds of training against precision, recall and coverage of generation 0.

The only source are the tables of `conf/recipe/README.md` that have these columns. What a row has in bold is the shipped
recipe. Seconds that are "shared" or "converted" were not timed on idle cores. A cell with "a; b" is two points.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from collapsar.report.paper import STYLE

ROOT = Path(__file__).resolve().parents[1]
METRICS = ("precision", "recall", "coverage")
KINDS = {"VAE": ("#0072b2", "o"), "GAN": ("#d55e00", "s"), "conditional": ("#00875f", "D")}
INK = "#6e7781"  # can be read on white and on black
Point = dict[str, float]


def tables(text: str) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """The section of each table that has seconds and the metrics, its header, and its rows."""
    for part in re.split(r"^### ", text, flags=re.MULTILINE):
        for table in re.findall(r"(?:^\|.*\n)+", part, flags=re.MULTILINE):
            header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
            if {"seconds", "precision", "recall", "coverage"} <= {title.split(",")[0] for title in header}:
                yield part, header, rows


def points(section: str, header: list[str], rows: list[list[str]]) -> Iterator[tuple[str, bool, bool, Point]]:
    """The kind of model, whether it is shipped, whether it was timed on idle cores, and its numbers."""
    kind, are_shared = header[0], "Seconds are of one core that other work shared" in section.replace("\n", " ")
    for row in rows:
        kind = next((each for each in reversed(KINDS) if each in row[0]), kind)
        cells = {title.split(",")[0]: _numbers(cell) for title, cell in zip(header, row, strict=True)}
        seconds = row[[title.split(",")[0] for title in header].index("seconds")]
        for n in range(max(len(cells[metric]) for metric in METRICS)):
            point = {key: cells[key][min(n, len(cells[key]) - 1)] for key in ("seconds", *METRICS)}
            parts = row[0].split(":")[-1].split(";")
            is_shipped = row[0].startswith("**") or "**" in parts[min(n, len(parts) - 1)]
            yield kind, is_shipped, not (are_shared or re.search("shared|converted", seconds + " ".join(header))), point


def _numbers(cell: str) -> list[float]:
    """The numbers of a cell; of a range, its middle."""
    parts = [[float(number) for number in re.findall(r"\d*\.?\d+", part)] for part in cell.split(";")]
    return [sum(part) / len(part) for part in parts if part]


def draw(text: str) -> Figure:
    """One row of panels for each data set, one column for each metric."""
    found: dict[str, list[tuple[str, bool, bool, Point]]] = {}
    for section, header, rows in tables(text):
        name = next(data for data in ("MNIST", "digits", "CIFAR-10") if data in section.partition("\n")[0])
        found.setdefault(name, []).extend(points(section, header, rows))
    figure = Figure(figsize=(9, 2.4 * len(found)), layout="constrained")
    grid = figure.subplots(len(found), len(METRICS), squeeze=False, sharex="row")
    for axes, (data, own) in zip(grid, found.items(), strict=True):
        for panel, metric in zip(axes, METRICS, strict=True):
            for kind, is_shipped, is_timed_alone, point in own:
                colour, marker = KINDS[kind]
                size, face = (9 if is_shipped else 5), (colour if is_timed_alone else "none")
                panel.plot(point["seconds"], point[metric], marker, color=colour, mfc=face, ms=size)
            panel.set(xscale="log", ylim=(0, 1.03), title=f"{data}: {metric}", xlabel="seconds of training")
            panel.xaxis.set_major_formatter("{x:g}")
            panel.xaxis.set_minor_formatter(NullFormatter())
            panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    looks = [(kind, *look, look[0], 5) for kind, look in KINDS.items()]
    looks += [("not timed on idle cores", INK, "o", "none", 5), ("shipped (large)", INK, "o", INK, 9)]
    handles = [Line2D([], [], ls="", color=c, marker=m, mfc=f, ms=s, label=label) for label, c, m, f, s in looks]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(looks), frameon=False)
    return figure


if __name__ == "__main__":
    colours = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK)
    with mpl.rc_context(STYLE | colours):
        output = sys.argv[1] if len(sys.argv) > 1 else ROOT / ".github" / "frontier.svg"
        readme = (ROOT / "conf" / "recipe" / "README.md").read_text(encoding="utf-8")
        draw(readme).savefig(output, transparent=True, metadata={"Date": None})
