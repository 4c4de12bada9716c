"""The README's first picture: what two regimes draw, generation by generation, as one animated WebP.

    scripts/picture DIR FILE.webp [--dark]

Each frame is a generation: the same latents under both regimes, recall so far, and a row of real images that stays.
"""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from collapsar.foundations.errors import UsageError
from collapsar.report.sections.films import stored_images, strip_columns
from collapsar.study.chains import Chain, read_chains

FED_WITH = {  # the two regimes that are pictured, and the colour of each
    "replace": ("each model sees the last one's samples only", "#d55e00", "#ff9a4d"),
    "accumulate": ("each model sees real data and all samples", "#0072b2", "#56b4e9"),
}
METRIC = "recall"
ROWS, COLUMNS = 3, 4
SIDE, GAP = 84, 6  # pixels of an image on the picture, and between two
MARGIN, BETWEEN = 28, 44
TOP = 92  # where the images begin
PLOT_WIDTH = 250
FRAME_MS, FIRST_MS, LAST_MS = 800, 1500, 2600
SMOOTH = 4  # lines are drawn this much larger, and scaled down
GRID_WIDTH = COLUMNS * (SIDE + GAP) - GAP
GRID_HEIGHT = ROWS * (SIDE + GAP) - GAP
WIDTH = 2 * MARGIN + 2 * (GRID_WIDTH + BETWEEN) + PLOT_WIDTH
REAL_TOP = TOP + GRID_HEIGHT + 42
HEIGHT = REAL_TOP + SIDE + MARGIN
LIGHT = {"page": "#ffffff", "text": "#1b1f24", "muted": "#57606a", "line": "#d8dce1"}
DARK = {"page": "#14171a", "text": "#e8eaed", "muted": "#a4adb8", "line": "#3a4149"}


def write_moving_picture(folder: Path, output: Path, *, is_dark: bool = False) -> Path:
    """Draw the chains of both regimes in a folder.

    Raises:
        UsageError: the folder holds no run, not both regimes, or chains without images.
    """
    chains = [_chain(folder, regime) for regime in FED_WITH]
    strips = [strip_columns(chain) for chain in chains]
    real = stored_images(chains[0].folder, 0, "real")
    shared = sorted(set.intersection(*map(set, strips)))
    if not shared or real is None:
        raise UsageError(f"the picture needs chains with stored images: {folder} has none, or is of an earlier version")
    frames = [
        _frame([strip[generation] for strip in strips], real, chains, generation=generation, is_dark=is_dark)
        for generation in shared
    ]
    durations = [FIRST_MS, *[FRAME_MS] * (len(frames) - 2), LAST_MS][: len(frames)]
    output.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(output, save_all=True, append_images=frames[1:], duration=durations, loop=0, lossless=True, method=6)
    return output


def _chain(folder: Path, regime: str) -> Chain:
    for chain in read_chains([folder]):
        if chain.records and chain.records[0].regime == regime:
            return chain
    raise UsageError(f"the picture needs a chain under {regime}")


def _frame(
    images: Sequence[np.ndarray], real: np.ndarray, chains: Sequence[Chain], *, generation: int, is_dark: bool
) -> Image.Image:
    palette = DARK if is_dark else LIGHT
    picture = Image.new("RGB", (WIDTH, HEIGHT), palette["page"])
    draw = ImageDraw.Draw(picture)
    for index, (regime, (fed_with, light, dark)) in enumerate(FED_WITH.items()):
        left = MARGIN + index * (GRID_WIDTH + BETWEEN)
        draw.text((left, 20), regime, font=_font(24, bold=True), fill=dark if is_dark else light)
        draw.text((left, 54), fed_with, font=_font(15), fill=palette["muted"])
        _paste(picture, images[index], left=left, top=TOP, num_rows=ROWS)
        _paste(picture, real[index * COLUMNS :], left=left, top=REAL_TOP, num_rows=1)
    draw.text((MARGIN, REAL_TOP - 26), "real images", font=_font(15), fill=palette["muted"])
    left = MARGIN + 2 * (GRID_WIDTH + BETWEEN)
    draw.text((left, 20), f"generation {generation}", font=_font(24, bold=True), fill=palette["text"])
    draw.text((left, 54), "recall: share of real images covered", font=_font(13), fill=palette["muted"])
    picture.paste(_plot(chains, generation=generation, palette=palette, is_dark=is_dark), (left, TOP))
    return picture


def _paste(picture: Image.Image, images: np.ndarray, *, left: int, top: int, num_rows: int) -> None:
    """Images, uint8 [image, channel, height, width], row by row."""
    for index, image in enumerate(images[: num_rows * COLUMNS]):
        colours = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
        row, column = divmod(index, COLUMNS)
        place = (left + column * (SIDE + GAP), top + row * (SIDE + GAP))
        picture.paste(Image.fromarray(colours).resize((SIDE, SIDE), Image.Resampling.NEAREST), place)


def _plot(chains: Sequence[Chain], *, generation: int, palette: dict[str, str], is_dark: bool) -> Image.Image:
    """Recall of each chain so far, from 0 to 1."""
    height, left, right, top, bottom = REAL_TOP + SIDE - TOP, 26, 54, 8, 24
    large = Image.new("RGB", (PLOT_WIDTH * SMOOTH, height * SMOOTH), palette["page"])
    draw = ImageDraw.Draw(large)
    last = max(chain.last_generation for chain in chains) or 1

    def at(x: float, y: float) -> tuple[float, float]:
        width = PLOT_WIDTH - left - right
        return SMOOTH * (left + width * x / last), SMOOTH * (top + (height - top - bottom) * (1 - y))

    small = _font(13 * SMOOTH)
    for y in (0.0, 0.5, 1.0):
        draw.line([at(0, y), at(last, y)], fill=palette["line"], width=SMOOTH)
        draw.text((SMOOTH * (left - 6), at(0, y)[1]), f"{y:g}", font=small, fill=palette["muted"], anchor="rm")
    for x in (0, last):
        draw.text((at(x, 0)[0], at(x, 0)[1] + 16 * SMOOTH), str(x), font=small, fill=palette["muted"], anchor="mm")
    for chain, (_, light, dark) in zip(chains, FED_WITH.values(), strict=True):
        colour = dark if is_dark else light
        points = [at(one.generation, one.metrics[METRIC]) for one in chain.records if one.generation <= generation]
        for pair in pairwise(points):
            draw.line(pair, fill=colour, width=3 * SMOOTH)
        end = points[-1]
        draw.circle(end, 5 * SMOOTH, fill=colour)
        value = chain.records[len(points) - 1].metrics[METRIC]
        draw.text(
            (end[0] + 10 * SMOOTH, end[1]), f"{value:.2f}", font=_font(15 * SMOOTH, bold=True), fill=colour, anchor="lm"
        )
    return large.resize((PLOT_WIDTH, height), Image.Resampling.LANCZOS)


@cache
def _font(pixels: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """matplotlib's own font, the same on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / name), pixels)
