"""Class shares as stacked areas: each class is a band whose height is its share among the samples."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

WIDTH, HEIGHT = 420, 190  # of the areas, in the units of the SVG
BAR = 34  # width of the bar of real shares at the left
GAP = 10
MIN_LABELLED = 0.045  # a thinner band has no room for its name


def areas(
    names: Sequence[str], *, real: Sequence[float], shares: Sequence[Sequence[float]], generations: Sequence[int]
) -> dict[str, Any]:
    """Lay out classes; `real` are shares by class, `shares` the same for each generation.

    A band has its `name`, and its corners in SVG's notation among `real` samples and `drawn` ones. Its names stand at
    the heights `real_y` and `label_y`, None if it is too thin there. `ticks` are the generations with their places.
    """
    first, last = generations[0], generations[-1]
    left = float(BAR + GAP)
    places = [left + (WIDTH - left) * (generation - first) / max(last - first, 1) for generation in generations]
    every = -(-len(generations) // 12)
    ticks = [(generation, round(x, 1)) for generation, x in zip(generations, places, strict=True)][::every]
    if len(places) == 1:
        places, shares = [left, float(WIDTH)], [shares[0], shares[0]]
    tops, real_tops = [[0.0, *accumulate(row)] for row in shares], [0.0, *accumulate(real)]

    def edge(index: int) -> list[str]:
        return [f"{x:.1f},{HEIGHT * row[index]:.1f}" for x, row in zip(places, tops, strict=True)]

    bands = []
    for index, name in enumerate(names):
        above, below = (f"{HEIGHT * top:.1f}" for top in real_tops[index : index + 2])
        corners = f"0,{above} {BAR},{above} {BAR},{below} 0,{below}"
        drawn = " ".join([*edge(index), *edge(index + 1)[::-1]])
        heights = {"label_y": _middle(tops[-1], index), "real_y": _middle(real_tops, index)}
        bands.append({"name": name, "real": corners, "drawn": drawn, **heights})
    return {"bands": bands, "ticks": ticks}


def _middle(tops: Sequence[float], index: int) -> float | None:
    share = tops[index + 1] - tops[index]
    return round(HEIGHT * (tops[index] + share / 2) + 4, 1) if share >= MIN_LABELLED else None
