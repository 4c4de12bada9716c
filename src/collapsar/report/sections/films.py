"""Stored images on the page, as PNGs in data URIs: reels of two arms, film strips, and nearest real images.

A reel has a frame for each generation. The page's script plays it; without a script it scrolls sideways and shows the
last generation first.
"""

import base64
import io
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from collapsar.report.sections import MAX_PICTURED_CHAINS, panels
from collapsar.report.sections.answer import ranked_by_kept
from collapsar.study.arms import Arm
from collapsar.study.chains import Chain
from collapsar.study.study import Study

TOTAL_BYTES = 3_000_000  # of all strips of a page, before base64 adds a third
MAX_BYTES = 250_000  # of a picture, before base64 adds a third
ROWS, COLUMNS = 3, 4  # images of a frame of a reel
GAP = 1  # transparent pixels between images, at their own resolution


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Images in columns and rows; each is shown `cell_pixels` wide, a whole multiple of its own width."""

    uri: str
    generations: tuple[int, ...]
    num_columns: int
    num_rows: int
    cell_pixels: int

    @property
    def pixels(self) -> int:
        """Width of the whole picture."""
        return self.cell_pixels * self.num_columns


def reels(study: Study) -> dict[str, Any] | None:
    """The arm that lost most and the one that kept most, without recall the first and the last; and real images."""
    ranked = [(one.arm, one.kept_recall) for one in ranked_by_kept(study.counted)]
    arms = [(arm, f"{100 * kept.mean:.0f}\u202f% of recall left" if kept else "") for arm, kept in ranked]
    arms = arms or [(arm, "") for arm in study.arms]
    first, last = _first_reel(arms), _first_reel(arms[::-1])
    if first is None or last is None:
        return None
    title, found = "What the models draw", [first]
    if first["arm"] is not last["arm"]:
        found.append(last)
        kept = "What the arm that lost most and the arm that kept most draw"
        title = kept if first["kept"] else "What the models of two arms draw"
    generations = sorted({generation for reel in found for generation in reel["generations"]})
    chain = first["chain"]
    stored = (stored_images(chain.folder, record.generation, "real") for record in chain.records)
    real = next((data_uri(encode(_framed(images[None]))) for images in stored if images is not None), "")
    return {"title": title, "reels": found, "real": real, "generations": generations}


def _first_reel(arms: Iterable[tuple[Arm, str]]) -> dict[str, Any] | None:
    for arm, kept in arms:
        for chain in arm.counted or arm.distinct:
            if columns := strip_columns(chain):
                png, generations, _ = _fitted(columns, max_bytes=MAX_BYTES, min_rows=ROWS * COLUMNS, lay_out=_framed)
                return {"arm": arm, "kept": kept, "chain": chain, "uri": data_uri(png), "generations": generations}
    return None


def _framed(stack: np.ndarray) -> np.ndarray:
    """Columns of images [generation * column, row, ...] of frames, laid out row by row; absent images are black."""
    stack = stack[:, : ROWS * COLUMNS]
    missing = ROWS * COLUMNS - stack.shape[1]
    stack = np.pad(stack, ((0, 0), (0, missing), (0, 0), (0, 0), (0, 0)))
    image = stack.shape[2:]
    return stack.reshape(-1, ROWS, COLUMNS, *image).swapaxes(1, 2).reshape(-1, ROWS, *image)


def film_strips(study: Study) -> dict[str, Any] | None:
    """The strips of the chains that stored images."""
    return panels(study, partial(film_strip, num_chains=min(len(study.chains), MAX_PICTURED_CHAINS)))


def film_strip(chain: Chain, *, num_chains: int) -> Picture | None:
    """Rows of latents, columns of generations, smaller if more chains share the page; None if there are no images."""
    if not (columns := strip_columns(chain)):
        return None
    if next(iter(columns.values())).shape[-1] > 16:  # larger images are shown larger, so fewer of them fill a screen
        columns = {generation: strip[:8] for generation, strip in columns.items()}
    png, generations, stack = _fitted(columns, max_bytes=min(MAX_BYTES, TOTAL_BYTES // num_chains))
    return _picture(png, stack, generations=generations)


def nearest(study: Study) -> dict[str, Any] | None:
    """Samples of the last generation of each chain beside the real images nearest to them, if these were stored."""
    return panels(study, pairs)


def pairs(chain: Chain) -> Picture | None:
    """The last generation's first samples, and below each its nearest real image; None if these were not stored."""
    generation = chain.last_generation
    real = stored_images(chain.folder, generation, "nearest")
    samples = stored_images(chain.folder, generation, "samples") if real is not None else None
    if real is None or samples is None or real.shape[1:] != samples.shape[1:]:
        return None
    count = min(len(samples), len(real), 10 if real.shape[-1] <= 32 else 6)
    stack = np.stack([samples[:count], real[:count]], axis=1)  # [sample, row, channel, height, width]
    return _picture(encode(stack), stack, generations=(generation,))


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


def _fitted(
    columns: dict[int, np.ndarray],
    *,
    max_bytes: int,
    min_rows: int = 4,
    lay_out: Callable[[np.ndarray], np.ndarray] = lambda stack: stack,
) -> tuple[bytes, tuple[int, ...], np.ndarray]:
    """A PNG of the columns, and what it shows: if it is too large, it gets fewer colours, then rows, then columns."""
    generations, stack = tuple(columns), np.stack(list(columns.values()))
    png = encode(lay_out(stack))
    if len(png) > max_bytes:
        png = encode(lay_out(stack), num_colours=48)
    if len(png) > max_bytes:
        stack = stack[:, : max(min_rows, stack.shape[1] * max_bytes // len(png))]
        png = encode(lay_out(stack), num_colours=48)
    if len(png) > max_bytes:
        chosen = evenly(len(generations), max(2, len(generations) * max_bytes // len(png)))
        generations, stack = tuple(generations[index] for index in chosen), stack[chosen]
        png = encode(lay_out(stack), num_colours=48)
    return png, generations, stack


def encode(stack: np.ndarray, *, num_colours: int | None = None) -> bytes:
    """PNG of uint8 [column, row, channel, height, width], such as generations from left to right."""
    num_columns, num_rows, channels, height, width = stack.shape
    colours = stack if channels == 3 else stack[:, :, :1]
    cells = np.pad(colours, ((0, 0), (0, 0), (0, 1), (0, 0), (0, 0)), constant_values=255)  # opaque
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


def _picture(png: bytes, stack: np.ndarray, *, generations: tuple[int, ...]) -> Picture:
    num_columns, num_rows, *_, side = stack.shape
    cell_pixels = (side + GAP) * max(1, -(-40 // side))  # at least 40
    return Picture(
        uri=data_uri(png), generations=generations, num_columns=num_columns, num_rows=num_rows, cell_pixels=cell_pixels
    )
