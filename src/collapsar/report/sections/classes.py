"""Heat maps and areas: which classes and levels of factors shrank, grew or died, which scores of classes were lost."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate
from typing import Any, Literal

import numpy as np

from collapsar.foundations.record import GenerationRecord
from collapsar.journal.definitions import GONE_FRACTION
from collapsar.judging.metric_keys import SHARE, bounds_of, split_class, split_column
from collapsar.report.sections import panels
from collapsar.report.wording import MISSING
from collapsar.study.arms import Arm
from collapsar.study.chains import Chain
from collapsar.study.intervals import CONFIDENCE
from collapsar.study.study import Study

MAX_CLASSES, MAX_LEVELS = 24, 40  # on the page
AREAS_PIXELS = 480  # width of the areas on the page
OPEN_ARMS = 4  # with more arms, the numbers of their classes are folded

Tone = Literal["over", "under", "dead", ""]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A value as it is shown."""

    text: str
    tone: Tone = ""  # the colour: above or below what the value is compared with, or dead
    shade: int = 0  # strength of the colour, up to 100
    is_drift: bool = False  # whether neutral drift explains the value


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """Rows of shaded cells, which the macro `heat` lays out."""

    heads: tuple[str, ...]  # of the names of rows, and of what is known about them
    columns: Sequence[Any]  # headings of the cells, such as generations
    rows: list[tuple[Any, list[str], list[Cell]]]  # each name, with what is known about it as text, and its cells
    num_rows: int  # all that there are, shown or not
    # of stacked areas, the names of the bands, and their edges in [0, 1] among real samples and in each column
    areas: dict[str, Any] = field(default_factory=dict)

    @property
    def pixels(self) -> int:
        """Approximate width on the page, where a cell with its gap has 40 pixels (report.css)."""
        return max(AREAS_PIXELS if self.areas else 0, 40 * (len(self.columns) + 2 * max(1, len(self.heads) - 1)))


def class_shares(study: Study) -> dict[str, Any] | None:
    """Stacked areas and heat maps of the classes, if any were counted."""
    content = panels(study, class_map)
    return content and content | {
        "is_open": len(study.arms) <= OPEN_ARMS,
        "rows_say_classes": any(record.labels_from == "row" for chain in study.chains for record in chain.records),
    }


def factor_shares(study: Study) -> dict[str, Any] | None:
    """Heat maps of the levels of known factors."""
    return panels(study, factor_map)


def class_map(chain: Chain) -> HeatMap | None:
    """The classes of a chain, the most common ones if there are many; None if none were counted."""
    if not (records := [record for record in chain.records if record.class_shares]):
        return None
    real = records[0].class_shares["real"]
    shown = sorted(sorted(range(len(real)), key=lambda index: -real[index])[:MAX_CLASSES])

    def of_shown(shares: Sequence[float]) -> list[float]:
        own = [shares[index] for index in shown]
        return own if len(own) == len(shares) else [*own, sum(shares) - sum(own)]

    shares = [of_shown(record.class_shares["synthetic"]) for record in records]
    found = _share_map(
        chain,
        records,
        heads=("class", "real"),
        levels=[(index, [real[index]], [row[place] for row in shares]) for place, index in enumerate(shown)],
        num_rows=len(real),
    )
    tops = [[0.0, *accumulate(row)] for row in (of_shown(real), *shares)]
    names = [*map(str, shown), "others"][: len(shares[0])]
    return replace(found, areas={"names": names, "real": tops[0], "drawn": tops[1:]})


def factor_map(chain: Chain) -> HeatMap | None:
    """A chain's levels of factors, if any, beside the known share, and that which the classifier reads of real data."""
    if not (records := [record for record in chain.records if record.factor_shares]):
        return None
    first = records[0].factor_shares
    levels = [
        (level, [own["known"], own["real"]], [record.factor_shares[level]["synthetic"] for record in records])
        for level, own in list(first.items())[:MAX_LEVELS]
    ]
    return _share_map(
        chain, records, heads=("level", "known", "read"), levels=levels, num_rows=len(first), num_decimals=1
    )


def _share_map(
    chain: Chain,
    records: Sequence[GenerationRecord],
    *,
    heads: tuple[str, ...],
    levels: Sequence[tuple[Any, list[float], list[float]]],
    num_rows: int,
    num_decimals: int = 0,
) -> HeatMap:
    """A map of shares: each level has real shares, of which the first one counts, and the share in each record."""
    taken = [record.pool.get("origins", {}).get(str(record.generation - 1)) for record in chain.records]
    # the fewest samples that a pool took from the generation before; the first pool's size if none took any
    num_samples = min((size for size in taken if size), default=int(chain.records[0].pool["size"]))
    rows = []
    for name, known, shares in levels:
        band = neutral_band(
            known[0],
            num_samples=num_samples,
            num_evaluated=records[0].num_evaluated,
            num_generations=records[-1].generation + 1,
        )
        cells = []
        for record, share in zip(records, shares, strict=True):
            low, high = band[record.generation]
            text = f"{100 * share:.{num_decimals}f}"
            cells.append(_cell(share, known[0], text=text, is_drift=low <= share <= high))
        rows.append((name, [f"{100 * share:.{num_decimals}f}" for share in known], cells))
    return HeatMap(heads=heads, columns=[record.generation for record in records], rows=rows, num_rows=num_rows)


def _cell(share: float, real: float, *, text: str, is_drift: bool) -> Cell:
    if share < GONE_FRACTION * real:
        return Cell(text=text, tone="dead", shade=100, is_drift=is_drift)
    doublings = math.log2(share / real) if real > 0 and share > 0 else 0.0
    shade = round(100 * min(1.0, abs(doublings) / 3))  # a share eight times too large or too small has the full shade
    return Cell(text=text, tone="over" if doublings > 0 else "under", shade=shade, is_drift=is_drift)


@lru_cache(maxsize=4096)
def neutral_band(
    share: float,
    *,
    num_samples: int,
    num_evaluated: int,
    num_generations: int,
    coverage: float = CONFIDENCE,
    num_chains: int = 2_000,
) -> tuple[tuple[float, float], ...]:
    """Lower and upper quantile of a class's measured share in each generation, if sampling alone moves it.

    The neutral chain is Wright-Fisher's under replace (Wright 1931): model t draws the class exactly as often as its
    pool holds it, and the next pool has `num_samples` draws. Counting the share on `num_evaluated` samples is one more
    draw, the only one of generation 0. A share outside the band was pushed by the model; a class that dies within the
    band may have died of chance. `share` is that of the real training set; `coverage` is the probability of lying in
    the band, generation by generation. With 2,000 simulated chains the quantiles scatter by a few per mille.
    """
    generator = np.random.default_rng(0)
    tail = (1 - coverage) / 2
    shares = np.full(num_chains, share)
    band = []
    for _ in range(num_generations):
        low, high = np.quantile(generator.binomial(num_evaluated, shares) / num_evaluated, [tail, 1 - tail])
        band.append((float(low), float(high)))
        shares = generator.binomial(num_samples, shares) / num_samples
    return tuple(band)


def scores(study: Study) -> dict[str, Any] | None:
    """Heat maps of each score that classes have, such as recall, or columns of a table, means over seeds."""
    maps = score_maps(study.arms)
    if not (every := [found for of_metric in maps.values() for _, found in of_metric]):
        return None
    title = f"Scores by {' and '.join(sorted({found.heads[0] for found in every}))}"
    return {"title": title, "maps_by_metric": maps, "panel_pixels": max(found.pixels for found in every)}


def score_maps(arms: Sequence[Arm]) -> dict[str, list[tuple[int, HeatMap]]]:
    """By metric key (without the class), the map of every arm that measured it, with the arm's index.

    Cells are means over seeds in percent, shaded by the loss since generation 0. Of many classes, those that end lowest
    are shown.
    """
    maps: dict[str, list[tuple[int, HeatMap]]] = {}
    for index, arm in enumerate(arms):
        of_metrics: dict[str, dict[int | str, str]] = {}  # the record key of each class, or of each column
        for key in dict.fromkeys(key for chain in arm.counted if chain.records for key in chain.records[-1].metrics):
            if of_part := split_class(key) or (split_column(key) if bounds_of(key) == SHARE else None):
                metric, part = of_part
                of_metrics.setdefault(metric, {})[part] = key
        for metric, keys in of_metrics.items():
            maps.setdefault(metric, []).append((index, _score_map(arm, keys)))
    return maps


def _score_map(arm: Arm, keys: Mapping[int | str, str]) -> HeatMap:
    generations = list(range(max(chain.last_generation for chain in arm.counted) + 1))
    scores = {part: [_mean(arm, key, generation) for generation in generations] for part, key in keys.items()}
    lowest = set(sorted(scores, key=lambda part: scores[part][-1] or 0.0)[:MAX_CLASSES])
    is_of_classes = isinstance(next(iter(keys)), int)
    parts = [part for part in (sorted(keys) if is_of_classes else keys) if part in lowest]  # type: ignore[type-var]
    cells = {part: [_score_cell(score, first=own[0]) for score in own] for part, own in scores.items()}
    rows: list[Any] = [(part, [], cells[part]) for part in parts]
    head = "class" if is_of_classes else "column"
    return HeatMap(heads=(head,), columns=generations, rows=rows, num_rows=len(keys))


def _mean(arm: Arm, key: str, generation: int) -> float | None:
    values = [value for chain in arm.counted if (value := chain.metrics_at(generation).get(key)) is not None]
    return float(np.mean(values)) if values else None


def _score_cell(score: float | None, *, first: float | None) -> Cell:
    if score is None:
        return Cell(text=MISSING)
    kept = min(score / first, 1.0) if first else 1.0
    tone: Tone = "dead" if kept < GONE_FRACTION else "under"
    return Cell(text=f"{100 * score:.0f}", tone=tone, shade=round(100 * (1 - kept)))
