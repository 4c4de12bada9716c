"""Class shares as stacked areas: each class is a band whose height is its share among the samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

WIDTH, HEIGHT = 420, 190  # of the areas, in the units of the SVG
BAR = 34  # width of the bar of real shares at the left
GAP = 10
MIN_LABELLED = 0.045  # a thinner band has no room for its name


@dataclass(frozen=True, kw_only=True)
class Band:
    """One class: its corners in SVG's notation among real samples and through the generations, and its labels.

    Attributes:
        label_y: Height of its name beside the last generation; None if its band is too thin there.
        real_y: The same beside the real bar.
    """

    name: str
    real: str
    drawn: str
    label_y: float | None
    real_y: float | None


@dataclass(frozen=True, kw_only=True)
class Areas:
    """Bands from top to bottom, and the ticks of the generations: number and place."""

    bands: list[Band]
    ticks: list[tuple[int, float]]


def areas(
    names: Sequence[str], *, real: Sequence[float], shares: Sequence[Sequence[float]], generations: Sequence[int]
) -> Areas:
    """Lay out classes; `real` are shares by class, `shares` the same for each generation."""
    first, last = generations[0], generations[-1]
    left = float(BAR + GAP)
    places = [left + (WIDTH - left) * (generation - first) / max(last - first, 1) for generation in generations]
    if len(places) == 1:
        places, shares = [left, float(WIDTH)], [shares[0], shares[0]]
    tops = [[0.0, *accumulate(row)] for row in shares]
    real_tops = [0.0, *accumulate(real)]
    bands = []
    for index, name in enumerate(names):
        upper = [f"{x:.1f},{HEIGHT * row[index]:.1f}" for x, row in zip(places, tops, strict=True)]
        lower = [f"{x:.1f},{HEIGHT * row[index + 1]:.1f}" for x, row in zip(places, tops, strict=True)]
        above, below = HEIGHT * real_tops[index], HEIGHT * real_tops[index + 1]
        bands.append(
            Band(
                name=name,
                real=f"0,{above:.1f} {BAR},{above:.1f} {BAR},{below:.1f} 0,{below:.1f}",
                drawn=" ".join([*upper, *lower[::-1]]),
                label_y=_middle(tops[-1], index),
                real_y=_middle(real_tops, index),
            )
        )
    every = -(-len(generations) // 12)
    ticks = [(generation, round(x, 1)) for generation, x in list(zip(generations, places, strict=False))[::every]]
    return Areas(bands=bands, ticks=ticks)


def _middle(tops: Sequence[float], index: int) -> float | None:
    share = tops[index + 1] - tops[index]
    return round(HEIGHT * (tops[index] + share / 2) + 4, 1) if share >= MIN_LABELLED else None
