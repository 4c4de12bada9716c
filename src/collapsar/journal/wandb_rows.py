"""The keys of W&B, and the rows of numbers, pictures, tables and the summary under them, made from the run folder.

Film strips and recall by class show the whole chain so far. They keep at most `MAX_ROWS` generations, evenly spaced, so
that a late generation costs no more than an early one.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
import wandb
from torch import Tensor

from collapsar.journal.store import RunFolder, tile
from collapsar.judging.metric_keys import MAIN
from collapsar.judging.metric_lookup import split_class
from collapsar.records.record import GenerationRecord

AXIS, TRAINING_AXIS = "generation", "training/total_step"
FILM_STRIP, CLASS_HISTOGRAM, RECALL_BY_CLASS = "film_strip", "class_histogram", "recall_by_class"
MAX_ROWS = 100

Row = TypeVar("Row")


class WandbRows:
    """Makes the rows of one chain, one generation after the other, in order."""

    def __init__(self) -> None:
        self._steps_before: float = 0
        self._strips: dict[int, Tensor] = {}
        self._class_recalls: dict[int, GenerationRecord] = {}

    def training_rows(self, record: GenerationRecord, curve: Sequence[dict[str, int | float]]) -> list[dict[str, Any]]:
        """The losses of a generation, each with the number of steps that the chain has taken by then."""
        rows = [
            {
                TRAINING_AXIS: self._steps_before + reading["step"],
                **{f"training/{name}": value for name, value in reading.items() if name != "step"},
            }
            for reading in curve
        ]
        self._steps_before += record.training.get("steps", 0)
        return rows

    def generation_row(self, record: GenerationRecord, store: RunFolder) -> dict[str, Any]:
        """All values that are drawn over the generations."""
        row: dict[str, Any] = {AXIS: record.generation, **record.metrics}
        row |= {f"pool/{key}": record.pool[key] for key in ("size", "real_fraction")}
        row |= {f"seconds/{phase}": value for phase, value in record.seconds.items()}
        if grid := store.grid(record.generation):
            row["samples"] = wandb.Image(grid)
        if record.class_shares:
            shares = np.array(record.class_shares["synthetic"])
            row[CLASS_HISTOGRAM] = wandb.Histogram(np_histogram=(shares, np.arange(len(shares) + 1) - 0.5))
        return row | self._strip_pictures(store, record.generation) | self._class_recall_table(record)

    def _strip_pictures(self, store: RunFolder, generation: int) -> dict[str, Any]:
        """The film strip of a generation, and the film strips so far, a row for each generation."""
        strip = store.strip(generation)
        if strip is None or strip.dtype != torch.uint8:
            return {}
        self._strips = spaced({**self._strips, generation: strip}, max_rows=MAX_ROWS)
        so_far = torch.cat(list(self._strips.values()))
        return {
            "strip": wandb.Image(tile(strip, num_columns=len(strip))),
            FILM_STRIP: wandb.Image(tile(so_far, num_columns=len(strip))),
        }

    def _class_recall_table(self, record: GenerationRecord) -> dict[str, Any]:
        """Recall in the classifier's features, by generation and class so far."""
        keys = [key for key in record.metrics if (by_class := split_class(key)) and by_class[0] == "recall"]
        if not keys:
            return {}
        self._class_recalls = spaced({**self._class_recalls, record.generation: record}, max_rows=MAX_ROWS)
        rows = [[past.generation, *map(past.metrics.get, keys)] for past in self._class_recalls.values()]
        return {RECALL_BY_CLASS: wandb.Table(columns=[AXIS, *keys], data=rows)}


def spaced(rows: Mapping[int, Row], *, max_rows: int) -> dict[int, Row]:
    """The last row, and those of every generation, or every 2nd, 4th, 8th ..., so that these are at most `max_rows`."""
    last, stride = max(rows), 1
    while last // stride >= max_rows:
        stride *= 2
    return {generation: row for generation, row in rows.items() if generation % stride == 0 or generation == last}


def summarise(profile: dict[str, Any], record: GenerationRecord | None) -> dict[str, Any]:
    """A chain's summary for W&B's table of runs: its profile without the evidence, and any last metrics."""
    numbers = {f"profile/{key}": value for key, value in profile.items() if key not in ("findings", "fid_growth")}
    growth = profile.get("fid_growth") or {}
    verdicts = {f"verdict/{key}": finding["verdict"] for key, finding in profile.get("findings", {}).items()}
    metrics = record.metrics if record else {}
    final = {f"final/{key}": metrics[key] for key in MAIN if key in metrics}
    return {**numbers, "profile/fid_growth": growth.get("slope"), **verdicts, **final}
