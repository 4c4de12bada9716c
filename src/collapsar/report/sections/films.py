"""Film strips: the same latents decoded in every generation, as one small PNG for each chain."""

import base64
import io
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from collapsar.report.sections import MAX_PICTURED_CHAINS, panels
from collapsar.study.chains import Chain
from collapsar.study.study import Study

TOTAL_BYTES = 3_000_000  # of all strips of a page, before base64 adds a third
GAP = 1  # transparent pixels between images, at their own resolution


@dataclass(frozen=True, kw_only=True)
class FilmStrip:
    """A film strip as a PNG in a data URI: rows are latents, columns generations.

    An image is shown `cell_pixels` wide, a whole multiple of its own width.
    """

    uri: str
    generations: tuple[int, ...]
    num_latents: int
    cell_pixels: int

    @property
    def pixels(self) -> int:
        """Width of the whole strip."""
        return self.cell_pixels * len(self.generations)


def content(study: Study) -> dict[str, Any] | None:
    """The strips of the chains that stored images."""
    return panels(study, partial(film_strip, num_chains=min(len(study.chains), MAX_PICTURED_CHAINS)))


def film_strip(chain: Chain, *, num_chains: int) -> FilmStrip | None:
    """The strip of a chain, smaller if more chains share the page; None if there are no images."""
    columns = strip_columns(chain)
    if not columns:
        return None
    budget = min(250_000, TOTAL_BYTES // num_chains)
    generations, stack = tuple(columns), np.stack(list(columns.values()))
    if stack.shape[-1] > 16:  # larger images are shown larger, so fewer of them fill a screen
        stack = stack[:, :8]
    png = encode(stack)
    if len(png) > budget and stack.shape[2] == 3:
        png = encode(stack, num_colours=48)
    if len(png) > budget:
        keep = max(4, stack.shape[1] * budget // len(png))
        png, stack = encode(stack[:, :keep], num_colours=48), stack[:, :keep]
    if len(png) > budget:
        chosen = evenly(len(generations), max(2, len(generations) * budget // len(png)))
        generations, stack = tuple(generations[index] for index in chosen), stack[chosen]
        png = encode(stack, num_colours=48)
    side = stack.shape[-1]
    return FilmStrip(
        uri=data_uri(png),
        generations=generations,
        num_latents=stack.shape[1],
        cell_pixels=cell_pixels(side),
    )


def strip_columns(chain: Chain) -> dict[int, np.ndarray]:
    """Strips of at most 24 generations, evenly spread; those unlike the first in shape are left out."""
    records = [chain.records[index] for index in evenly(len(chain.records), 24)]
    read = {record.generation: stored_images(chain.folder, record.generation, "strip") for record in records}
    found = {generation: strip for generation, strip in read.items() if strip is not None}
    shape = next(iter(found.values())).shape if found else ()
    return {generation: strip for generation, strip in found.items() if strip.shape == shape}


def stored_images(folder: Path, generation: int, name: str) -> np.ndarray | None:
    """The images of a generation of a run folder under a name, such as "strip"; None without any that can be read."""
    path = folder / f"generation_{generation:03d}" / "samples.npz"
    try:
        # Opened here, because np.load leaves a broken archive open.
        with path.open("rb") as file, np.load(file) as arrays:
            images = arrays[name]
    except (OSError, KeyError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile):
        return None
    return images if images.dtype == np.uint8 and images.ndim == 4 and images.size else None


def evenly(count: int, most: int) -> list[int]:
    """At most so many indices below `count`, with the first and the last."""
    return sorted({round(index) for index in np.linspace(0, count - 1, min(count, most))})


def encode(stack: np.ndarray, *, num_colours: int | None = None) -> bytes:
    """PNG of uint8 [column, row, channel, height, width], such as generations from left to right."""
    num_columns, num_rows, channels, height, width = stack.shape
    colours = stack if channels == 3 else stack[:, :, :1]
    opaque = np.full((num_columns, num_rows, 1, height, width), 255, np.uint8)
    cells = np.concatenate([colours, opaque], axis=2)
    cells = np.pad(cells, ((0, 0), (0, 0), (0, 0), (0, GAP), (0, GAP)))
    # [column, row, channel, height, width] -> [row, height, column, width, channel]
    pixels = cells.transpose(1, 3, 0, 4, 2).reshape(num_rows * (height + GAP), num_columns * (width + GAP), -1)
    picture = Image.fromarray(pixels, mode=None)
    if num_colours is not None and channels == 3:
        picture = picture.quantize(num_colours, method=Image.Quantize.FASTOCTREE)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=False, compress_level=9)
    return buffer.getvalue()


def data_uri(png: bytes) -> str:
    """A PNG as a part of the page."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def cell_pixels(side: int) -> int:
    """How wide an image with its gap is shown: a whole multiple of its own width, and at least 40 pixels."""
    return (side + GAP) * max(1, -(-40 // side))
