"""The pictures, tables and the summary that W&B gets of a chain, made from the run folder.

What shows the whole chain so far keeps at most `MAX_ROWS` generations, evenly spaced, so that a late generation costs
no more than an early one.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
import wandb
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from collapsar.foundations.record import GenerationRecord
from collapsar.journal.rows import AXIS, floors
from collapsar.journal.store import RunFolder, tile
from collapsar.judging.metric_keys import MAIN, split_class, title_of

FILM, FILM_STRIP, CLASS_SHARES = "pictures/film", "pictures/film_strip", "pictures/class_shares"
CLASS_HISTOGRAM, RECALL_BY_CLASS = "classes/histogram", "tables/recall_by_class"
MAX_ROWS = 100
MILLISECONDS_PER_FRAME, MIN_FILM_WIDTH = 400, 400  # of the moving film strip; the width is in pixels
BAND_PIXELS = 14  # of the band with the generation's number

Row = TypeVar("Row")


class WandbRows:
    """Makes the pictures and tables of one chain, one generation after the other, in order."""

    def __init__(self) -> None:
        self._strips: dict[int, Tensor] = {}
        self.records: dict[int, GenerationRecord] = {}  # with the first and the last

    def generation_row(self, record: GenerationRecord, store: RunFolder) -> dict[str, Any]:
        """The pictures of a generation and the histogram of its classes."""
        self.records = spaced({**self.records, record.generation: record}, max_rows=MAX_ROWS)
        grid, caption = store.grid(record.generation), f"the first samples of generation {record.generation}"
        samples = {"pictures/samples": wandb.Image(grid, caption=caption)} if grid else {}
        return samples | self._strip_pictures(store, record.generation) | class_histogram(record)

    def last_row(self) -> dict[str, Any]:
        """What shows the whole chain at once: the moving film strip, classes by generation, recall by class."""
        if not self.records:
            return {}
        row = class_share_picture(self.records) | class_recall_table(self.records)
        if strips := self._strips:
            caption = f"latents that never change, generations {min(strips)} to {max(strips)}"
            row[FILM] = wandb.Video(moving_picture(strips), caption=caption, format="gif")
        return {AXIS: max(self.records), **row} if row else {}

    def _strip_pictures(self, store: RunFolder, generation: int) -> dict[str, Any]:
        strip = store.strip(generation)
        if strip is None or strip.dtype != torch.uint8:
            return {}
        self._strips = so_far = spaced({**self._strips, generation: strip}, max_rows=MAX_ROWS)
        latents = f"{len(strip)} latents that never change"
        shown = ", ".join(map(str, so_far)) if len(so_far) <= 20 else f"{min(so_far)} to {max(so_far)}"
        captioned = {
            "pictures/strip": (strip, f"generation {generation}: {latents}"),
            FILM_STRIP: (torch.cat([*so_far.values()]), f"{latents}, a row for each generation: {shown}"),
        }
        return {
            key: wandb.Image(tile(images, num_columns=len(strip)), caption=caption)
            for key, (images, caption) in captioned.items()
        }


def spaced(rows: Mapping[int, Row], *, max_rows: int) -> dict[int, Row]:
    """The last row, and those of every generation, or every 2nd, 4th, 8th ..., so that these are at most `max_rows`."""
    last, stride = max(rows), 1
    while last // stride >= max_rows:
        stride *= 2
    return {generation: row for generation, row in rows.items() if generation % stride == 0 or generation == last}


def moving_picture(strips: Mapping[int, Tensor]) -> io.BytesIO:
    """An endless GIF with a frame for each generation's strip, its number above; small images are enlarged."""
    frames = []
    for generation, strip in strips.items():
        picture = tile(strip, num_columns=(len(strip) + 1) // 2)
        picture = ImageOps.scale(picture, -(-MIN_FILM_WIDTH // picture.width), Image.Resampling.NEAREST)
        frame = ImageOps.expand(picture, (0, BAND_PIXELS, 0, 0), fill="white")
        ImageDraw.Draw(frame).text((3, 1), f"generation {generation}", fill="black")
        frames.append(frame)
    file = io.BytesIO()
    frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:], duration=MILLISECONDS_PER_FRAME, loop=0)
    file.seek(0)
    return file


def class_histogram(record: GenerationRecord) -> dict[str, Any]:
    """The share of each class among the samples; empty if classes were not measured."""
    if not record.class_shares:
        return {}
    shares = np.array(record.class_shares["synthetic"])
    return {CLASS_HISTOGRAM: wandb.Histogram(np_histogram=(shares, np.arange(len(shares) + 1) - 0.5))}


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
    axes.set_yticks(range(0, len(columns[0]), 1 + len(columns[0]) // 24))
    axes.set(xlabel="generation", ylabel="class")
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    caption = "the share of each class, as the frozen classifier reads the samples"
    return {CLASS_SHARES: wandb.Image(Image.open(file), caption=caption)}


def class_recall_table(records: Mapping[int, GenerationRecord]) -> dict[str, Any]:
    """Recall in the classifier's features by generation and class; empty if it was not measured."""
    measured = dict.fromkeys(key for record in records.values() for key in record.metrics)
    keys = [key for key in measured if (by_class := split_class(key)) and by_class[0] == "recall"]
    if not keys:
        return {}
    rows = [[record.generation, *(record.metrics.get(key) for key in keys)] for record in records.values()]
    return {RECALL_BY_CLASS: wandb.Table(columns=[AXIS, *keys], data=rows)}


def summarise(profile: Mapping[str, Any], record: GenerationRecord | None) -> dict[str, Any]:
    """A chain's summary for W&B's table of runs: its profile without the evidence, floors, and any last metrics."""
    numbers = {f"profile/{key}": value for key, value in profile.items() if key not in ("findings", "fid_growth")}
    verdicts = {f"verdict/{key}": answer["verdict"] for key, answer in profile.get("findings", {}).items()}
    final = {} if record is None else {f"final/{key}": record.metrics[key] for key in MAIN if key in record.metrics}
    growth = {"profile/fid_growth": (profile.get("fid_growth") or {}).get("slope")}
    return numbers | growth | verdicts | final | (floors(record) if record else {})


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
