"""The first thing on the page: what the arm that lost most and the one that kept most draw, beside real images.

A reel is one PNG with a frame for each generation. The page's script plays it; without a script it scrolls sideways and
shows the last generation first.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from collapsar.report.sections.answer import ranked_by_kept
from collapsar.report.sections.films import data_uri, encode, evenly, stored_images, strip_columns
from collapsar.study.arms import Arm
from collapsar.study.chains import Chain
from collapsar.study.study import Study

ROWS, COLUMNS = 3, 4  # images of a frame
MAX_BYTES = 250_000  # of a reel, before base64 adds a third


@dataclass(frozen=True, kw_only=True)
class Reel:
    """The frames of one chain, generations from left to right, as a PNG in a data URI.

    Attributes:
        kept: How much of its recall the arm kept, in words; empty if that is unknown.
    """

    arm: Arm
    chain: Chain
    kept: str
    uri: str
    generations: tuple[int, ...]


def content(study: Study) -> dict[str, Any] | None:
    """The reels of at most two arms, and real images if they were stored; None without images."""
    reels = _ends(study)
    if not reels:
        return None
    if len(reels) == 1:
        title = "What the models draw"
    elif reels[0].kept:
        title = "What the arm that lost most and the arm that kept most draw"
    else:
        title = "What the models of two arms draw"
    return {
        "title": title,
        "reels": reels,
        "real": _real_images(reels[0].chain),
        "generations": sorted({generation for reel in reels for generation in reel.generations}),
    }


def _ends(study: Study) -> list[Reel]:
    """Of the arms with images, the one that lost most and the one that kept most; without recall, first and last."""
    ranked = [(one.arm, one.kept_recall) for one in ranked_by_kept(study.counted)]
    arms = [(arm, f"{100 * kept.mean:.0f}\u202f% of recall left" if kept else "") for arm, kept in ranked]
    arms = arms or [(arm, "") for arm in study.arms]
    first, last = _first_drawn(arms), _first_drawn(arms[::-1])
    if first is None or last is None:
        return []
    return [first] if first.arm is last.arm else [first, last]


def _first_drawn(arms: Iterable[tuple[Arm, str]]) -> Reel | None:
    """The reel of the first arm that has one, from its first seed that counts."""
    for arm, kept in arms:
        for chain in arm.counted or arm.distinct:
            if columns := strip_columns(chain):
                return _reel(columns, arm=arm, chain=chain, kept=kept)
    return None


def _reel(columns: dict[int, np.ndarray], *, arm: Arm, chain: Chain, kept: str) -> Reel:
    generations, stack = tuple(columns), np.stack(list(columns.values()))
    png = encode(_framed(stack))
    if len(png) > MAX_BYTES:
        png = encode(_framed(stack), num_colours=48)
    if len(png) > MAX_BYTES:
        chosen = evenly(len(generations), max(2, len(generations) * MAX_BYTES // len(png)))
        generations = tuple(generations[index] for index in chosen)
        png = encode(_framed(stack[chosen]), num_colours=48)
    return Reel(arm=arm, chain=chain, kept=kept, uri=data_uri(png), generations=generations)


def _framed(stack: np.ndarray) -> np.ndarray:
    """Columns of images [generation * column, row, ...] of frames, laid out row by row; absent images are black."""
    stack = stack[:, : ROWS * COLUMNS]
    missing = ROWS * COLUMNS - stack.shape[1]
    stack = np.pad(stack, ((0, 0), (0, missing), (0, 0), (0, 0), (0, 0)))
    image = stack.shape[2:]
    return stack.reshape(-1, ROWS, COLUMNS, *image).swapaxes(1, 2).reshape(-1, ROWS, *image)


def _real_images(chain: Chain) -> str:
    """A frame of real images that the chain was measured against; empty if none were stored."""
    stored = (stored_images(chain.folder, record.generation, "real") for record in chain.records)
    real = next((images for images in stored if images is not None), None)
    return "" if real is None else data_uri(encode(_framed(real[None])))
