"""The README's picture: a chain that dies beside one that lives, and the recall of every arm, as one SVG.

    scripts/picture [DIR [FILE [--dark]]]

A FILE that ends in .webp is drawn by `moving_picture`.
It follows the reader's light or dark theme. Each pixel of an image is a square of ink, so the picture stays crisp.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import FileSystemLoader

from collapsar.foundations.errors import UsageError
from collapsar.foundations.words import counted
from collapsar.report.sections.curves import chart_content
from collapsar.report.sections.films import strip_columns
from collapsar.report.templating import environment
from collapsar.study.arms import Arm
from collapsar.study.study import read_study
from moving_picture import write_moving_picture

MODEL = "vae"
FED_WITH = {  # the two regimes that are pictured
    "replace": "the last model's samples only",
    "accumulate": "real data, all samples so far",
}
METRIC = "recall"
NUM_LATENTS = 8
INKS = 16  # shades of an image; digits have no more
GAP = 1  # image pixels between two images
PLOT_WIDTH, PLOT_HEIGHT = 240.0, 248.5
LABEL_HEIGHT = 17.0  # two labels at the end of their curves stay this far apart


@dataclass(frozen=True, kw_only=True)
class InkedStrip:
    """A film strip as paths.

    Attributes:
        arm: Index of its arm, which gives the colour of its name.
        name: The arm's name.
        fed_with: What each model is trained on.
        fate: How many classes are gone at the end.
        num_columns: Generations.
        num_rows: Latents.
        side: Pixels of an image along one edge.
        inks: Opacity and SVG path of each shade, in image pixels.
    """

    arm: int
    name: str
    fed_with: str
    fate: str
    num_columns: int
    num_rows: int
    side: int
    inks: list[tuple[float, str]]


def write_picture(folder: Path, output: Path) -> Path:
    """Draws the study in a folder.

    Raises:
        UsageError: the folder holds no run, or none of the two chains that are pictured.
    """
    arms = read_study([folder]).arms
    content = chart_content(arms)
    picture = (
        environment(FileSystemLoader(Path(__file__).parent))
        .get_template("picture.svg.jinja")
        .render(
            strips=[_strip(arms, regime) for regime in FED_WITH],
            curves=_curves(content),
            floors=[_height(floor["value"]) for floor in content["floors"][METRIC]],
            ticks=[(f"{value:g}", _height(value)) for value in (0.0, 0.5, 1.0)],
            generations=_generations(content),
            plot_width=PLOT_WIDTH,
            plot_height=PLOT_HEIGHT,
            gap=GAP,
        )
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(picture, encoding="utf-8")
    return output


def _strip(arms: Sequence[Arm], regime: str) -> InkedStrip:
    """The strip of the first chain of the model under this regime."""
    for index, arm in enumerate(arms):
        chain = arm.chains[0]
        if chain.records and (chain.records[0].model, chain.records[0].regime) == (MODEL, regime):
            columns = np.stack(list(strip_columns(chain).values()))[:, :NUM_LATENTS, 0]
            return InkedStrip(
                arm=index,
                name=arm.name,
                fed_with=FED_WITH[regime],
                fate=_fate(chain.records[-1].metrics, num_classes=len(chain.records[-1].class_shares["real"])),
                num_columns=columns.shape[0],
                num_rows=columns.shape[1],
                side=columns.shape[-1],
                inks=_inks(columns),
            )
    raise UsageError(f"the picture needs a chain of {MODEL} under {regime}")


def _fate(last: dict[str, float], *, num_classes: int) -> str:
    return f"{last['classes_dropped']:.0f} of {counted(num_classes, 'class')} dropped"


def _inks(columns: np.ndarray) -> list[tuple[float, str]]:
    """Each shade's opacity and path, from images [generation, latent, height, width], generations left to right."""
    padded = np.pad(columns, ((0, 0), (0, 0), (0, GAP), (0, GAP)))
    # [generation, latent, height, width] -> [latent, height, generation, width]
    picture = padded.transpose(1, 2, 0, 3).reshape(padded.shape[1] * padded.shape[2], -1)
    shades = np.rint(picture / 255 * INKS).astype(int)
    paths: dict[int, list[str]] = {shade: [] for shade in range(1, INKS + 1)}
    for row, values in enumerate(shades.tolist()):
        for shade, run in groupby(enumerate(values), key=lambda pair: pair[1]):
            columns_of_run = [column for column, _ in run]
            if shade:
                paths[shade].append(f"M{columns_of_run[0]} {row}h{len(columns_of_run)}v1h-{len(columns_of_run)}z")
    return [(shade / INKS, "".join(path)) for shade, path in paths.items() if path]


def _curves(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Points, name and final value of each arm's curve, the label beside its end but clear of the others."""
    last = max(_generations(content))
    curves = [
        {
            "arm": curve["arm"],
            "name": content["arms"][curve["arm"]],
            "final": f"{curve['mean'][-1]:.2f}",
            "points": [
                (round(PLOT_WIDTH * generation / last, 1), _height(value))
                for generation, value in zip(curve["generations"], curve["mean"], strict=True)
            ],
        }
        for curve in content["curves"][METRIC]
    ]
    curves.sort(key=lambda curve: -curve["points"][-1][1])
    free_above = PLOT_HEIGHT + LABEL_HEIGHT
    for curve in curves:
        curve["label_y"] = free_above = min(curve["points"][-1][1], free_above - LABEL_HEIGHT)
    return curves


def _generations(content: dict[str, Any]) -> list[int]:
    return sorted({generation for curve in content["curves"][METRIC] for generation in curve["generations"]})


def _height(share: float) -> float:
    """Where a share of 0 to 1 lies in the plot, from its top."""
    return round(PLOT_HEIGHT * (1 - share), 1)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; 2 with one line on stderr where the folder has no such study."""
    parser = argparse.ArgumentParser(prog="scripts/picture", description="The README's pictures.")
    parser.add_argument("folder", metavar="DIR", type=Path, help="the run folders")
    parser.add_argument("output", metavar="FILE", type=Path, help="an SVG, or a WebP that moves")
    parser.add_argument("--dark", action="store_true", help="the colours of a dark page; an SVG follows its reader's")
    options = parser.parse_args(argv)
    try:
        if options.output.suffix == ".webp":
            written = write_moving_picture(options.folder, options.output, is_dark=options.dark)
        elif options.output.suffix == ".svg" and not options.dark:
            written = write_picture(options.folder, options.output)
        else:
            raise UsageError(f"FILE must be an SVG without --dark, or a WebP: got {options.output.name}")
        sys.stdout.write(f"{written}\n")
    except UsageError as error:
        sys.stderr.write(f"scripts/picture: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
