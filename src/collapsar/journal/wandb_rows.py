"""The pictures, tables and the summary that W&B gets of a chain, made from the run folder.

Film strips and classes show the whole chain so far. They keep at most `MAX_ROWS` generations, evenly spaced, so that a
late generation costs no more than an early one. What shows the whole chain at once is made at its end.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch
import wandb
from PIL import Image, ImageDraw
from torch import Tensor

from collapsar.journal.rows import AXIS, floors
from collapsar.journal.store import RunFolder, tile
from collapsar.judging.metric_keys import MAIN
from collapsar.judging.metric_lookup import split_class, title_of
from collapsar.records.record import GenerationRecord

MAX_ROWS = 100
MILLISECONDS_PER_FRAME, BAND_PIXELS = 400, 14  # of the moving film strip, and of the band with the generation's number

Row = TypeVar("Row")


class SpacedRows(Generic[Row]):
    """One row a generation; beyond `max_rows`, rows of every 2nd, 4th, 8th ... generation and of the last one.

    Args:
        max_rows: Most rows that are kept, beside the last one.
    """

    def __init__(self, *, max_rows: int) -> None:
        self._max_rows, self._stride = max_rows, 1
        self._spaced: dict[int, Row] = {}
        self._last: dict[int, Row] = {}

    def add(self, generation: int, row: Row) -> None:
        """Keep a generation's row; add generations in order."""
        self._last = {generation: row}
        if generation % self._stride == 0:
            self._spaced[generation] = row
        while len(self._spaced) > self._max_rows:
            self._stride *= 2
            self._spaced = {kept: row for kept, row in self._spaced.items() if kept % self._stride == 0}

    @property
    def rows(self) -> dict[int, Row]:
        """The rows kept, by generation, in order."""
        return self._spaced | self._last


class WandbRows:
    """Makes the pictures and tables of one chain, one generation after the other, in order."""

    def __init__(self) -> None:
        self._strips = SpacedRows[Tensor](max_rows=MAX_ROWS)
        self._records = SpacedRows[GenerationRecord](max_rows=MAX_ROWS)

    def generation_row(self, record: GenerationRecord, store: RunFolder) -> dict[str, Any]:
        """The pictures of a generation and the histogram of its classes."""
        self._records.add(record.generation, record)
        pictures = samples_picture(store, record.generation) | self._strip_pictures(store, record.generation)
        return pictures | class_histogram(record)

    def last_row(self) -> dict[str, Any]:
        """What shows the whole chain at once: the moving film strip, classes by generation, recall by class."""
        if not self._records.rows:
            return {}
        row = self._film() | class_share_picture(self._records.rows) | class_recall_table(self._records.rows)
        return {AXIS: max(self._records.rows), **row} if row else {}

    def _strip_pictures(self, store: RunFolder, generation: int) -> dict[str, Any]:
        """The film strip of a generation, and the film strips so far, a row for each generation."""
        strip = store.strip(generation)
        if strip is None or strip.dtype != torch.uint8:
            return {}
        self._strips.add(generation, strip)
        so_far = self._strips.rows
        latents = f"{len(strip)} latents that never change"
        shown = ", ".join(map(str, so_far)) if len(so_far) <= 20 else f"{min(so_far)} to {max(so_far)}"
        return {
            "pictures/strip": wandb.Image(
                tile(strip, num_columns=len(strip)), caption=f"generation {generation}: {latents}"
            ),
            "pictures/film_strip": wandb.Image(
                tile(torch.cat([*so_far.values()]), num_columns=len(strip)),
                caption=f"{latents}, a row for each generation: {shown}",
            ),
        }

    def _film(self) -> dict[str, Any]:
        """The film strips as one moving picture."""
        strips = self._strips.rows
        if not strips:
            return {}
        return {
            "pictures/film": wandb.Video(
                moving_picture(strips),
                caption=f"latents that never change, generations {min(strips)} to {max(strips)}",
                format="gif",
            )
        }


def moving_picture(strips: Mapping[int, Tensor]) -> io.BytesIO:
    """An endless GIF with a frame for each generation's strip, its number above; small images are enlarged."""
    frames = []
    for generation, strip in strips.items():
        picture = tile(strip, num_columns=(len(strip) + 1) // 2)
        frame = Image.new("RGB", (picture.width, picture.height + BAND_PIXELS), "white")
        frame.paste(picture, (0, BAND_PIXELS))
        ImageDraw.Draw(frame).text((3, 1), f"generation {generation}", fill="black")
        frames.append(frame)
    file = io.BytesIO()
    frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:], duration=MILLISECONDS_PER_FRAME, loop=0)
    file.seek(0)
    return file


def samples_picture(store: RunFolder, generation: int) -> dict[str, Any]:
    """The first samples of a generation; empty for vectors."""
    grid = store.grid(generation)
    caption = f"the first samples of generation {generation}"
    return {"pictures/samples": wandb.Image(grid, caption=caption)} if grid else {}


def class_histogram(record: GenerationRecord) -> dict[str, Any]:
    """The share of each class among the samples; empty if classes were not measured."""
    if not record.class_shares:
        return {}
    shares = np.array(record.class_shares["synthetic"])
    return {"classes/histogram": wandb.Histogram(np_histogram=(shares, np.arange(len(shares) + 1) - 0.5))}


def class_share_picture(records: Mapping[int, GenerationRecord]) -> dict[str, Any]:
    """A heat map of the share of each class in each generation, beside the real shares."""
    with_classes = [record for record in records.values() if record.class_shares]
    if not with_classes:
        return {}
    from matplotlib.figure import Figure  # takes half a second

    columns = [with_classes[0].class_shares["real"], *(record.class_shares["synthetic"] for record in with_classes)]
    figure = Figure(figsize=(min(3 + 0.3 * len(columns), 16), min(1.5 + 0.25 * len(columns[0]), 16)))
    axes = figure.subplots()
    picture = axes.imshow(np.array(columns).T, aspect="auto", cmap="viridis", vmin=0.0)
    figure.colorbar(picture, label="share of the samples")
    labels = ["real", *(str(record.generation) for record in with_classes)]
    ticks = range(0, len(labels), 1 + len(labels) // 24)
    axes.set_xticks(ticks, [labels[tick] for tick in ticks])
    axes.set(xlabel="generation", ylabel="class")
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    caption = "the share of each class, as the frozen classifier reads the samples"
    return {"pictures/class_shares": wandb.Image(Image.open(file), caption=caption)}


def class_recall_table(records: Mapping[int, GenerationRecord]) -> dict[str, Any]:
    """Recall by generation and class; empty if it was not measured."""
    keys = list(dict.fromkeys(key for record in records.values() for key in record.metrics if is_class_recall(key)))
    if not keys:
        return {}
    rows = [[record.generation, *(record.metrics.get(key) for key in keys)] for record in records.values()]
    return {"tables/recall_by_class": wandb.Table(columns=[AXIS, *keys], data=rows)}


def is_class_recall(key: str) -> bool:
    """Whether a metric key is the recall of one class in the classifier's features."""
    by_class = split_class(key)
    return by_class is not None and by_class[0] == "recall"


def summarise(profile: Mapping[str, Any], record: GenerationRecord | None) -> dict[str, Any]:
    """A chain's summary for W&B's table of runs: its profile without the evidence, floors, and any last metrics."""
    numbers = {f"profile/{key}": value for key, value in profile.items() if key not in ("findings", "fid_growth")}
    growth = profile.get("fid_growth") or {}
    verdicts = {f"verdict/{key}": finding["verdict"] for key, finding in profile.get("findings", {}).items()}
    metrics = record.metrics if record else {}
    final = {f"final/{key}": metrics[key] for key in MAIN if key in metrics}
    return {
        **numbers,
        "profile/fid_growth": growth.get("slope"),
        **verdicts,
        **final,
        **(floors(record) if record else {}),
    }


def notes_of(command: str, records: Sequence[GenerationRecord]) -> str:
    """The notes of a run: the command, and the main metrics of the first and last of these generations."""
    if not records:
        return command
    first, last = records[0], records[-1]
    changes = ", ".join(
        f"{title_of(key)} {first.metrics[key]:.3g} to {last.metrics[key]:.3g}"
        for key in MAIN
        if key in first.metrics and key in last.metrics
    )
    headline = f"Generations {first.generation} to {last.generation}: {changes}." if changes else ""
    return "\n\n".join(filter(None, [command, headline]))
