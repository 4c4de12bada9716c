"""The rows of numbers, pictures, tables and the summary that W&B gets of a chain, made from the run folder.

Film strips and recall by class show the whole chain so far. They keep at most `MAX_ROWS` generations, evenly spaced, so
that a late generation costs no more than an early one.
"""

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch
import wandb
from torch import Tensor

from collapsar.journal.store import RunFolder, tile
from collapsar.judging.metric_keys import MAIN
from collapsar.judging.metric_lookup import split_class
from collapsar.records.record import GenerationRecord

AXIS, TRAINING_AXIS = "generation", "training/total_step"
MAX_ROWS = 100

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
    def rows(self) -> list[Row]:
        """The rows kept, in order."""
        return list((self._spaced | self._last).values())


class WandbRows:
    """Makes the rows of one chain, one generation after the other, in order."""

    def __init__(self) -> None:
        self._steps_before: float = 0
        self._strips = SpacedRows[Tensor](max_rows=MAX_ROWS)
        self._class_recalls = SpacedRows[GenerationRecord](max_rows=MAX_ROWS)

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
        seconds = {f"seconds/{phase}": value for phase, value in record.seconds.items()}
        pool = {"pool/size": record.pool["size"], "pool/real_fraction": record.pool["real_fraction"]}
        pictures = samples_picture(store, record.generation) | self._strip_pictures(store, record.generation)
        classes = class_histogram(record) | self._class_recall_table(record)
        return {AXIS: record.generation, **record.metrics, **pool, **seconds, **pictures, **classes}

    def _strip_pictures(self, store: RunFolder, generation: int) -> dict[str, Any]:
        """The film strip of a generation, and the film strips so far, a row for each generation."""
        strip = store.strip(generation)
        if strip is None or strip.dtype != torch.uint8:
            return {}
        self._strips.add(generation, strip)
        so_far = torch.cat(self._strips.rows)
        return {
            "strip": wandb.Image(tile(strip, num_columns=len(strip))),
            "film_strip": wandb.Image(tile(so_far, num_columns=len(strip))),
        }

    def _class_recall_table(self, record: GenerationRecord) -> dict[str, Any]:
        """Recall by generation and class so far."""
        keys = [key for key in record.metrics if is_class_recall(key)]
        if not keys:
            return {}
        self._class_recalls.add(record.generation, record)
        rows = [[past.generation, *(past.metrics.get(key) for key in keys)] for past in self._class_recalls.rows]
        return {"recall_by_class": wandb.Table(columns=[AXIS, *keys], data=rows)}


def samples_picture(store: RunFolder, generation: int) -> dict[str, Any]:
    """The first samples of a generation; empty for vectors."""
    grid = store.grid(generation)
    return {"samples": wandb.Image(grid)} if grid else {}


def class_histogram(record: GenerationRecord) -> dict[str, Any]:
    """The share of each class among the samples; empty if classes were not measured."""
    if not record.class_shares:
        return {}
    shares = np.array(record.class_shares["synthetic"])
    return {"class_histogram": wandb.Histogram(np_histogram=(shares, np.arange(len(shares) + 1) - 0.5))}


def is_class_recall(key: str) -> bool:
    """Whether a metric key is the recall of one class in the classifier's features."""
    by_class = split_class(key)
    return by_class is not None and by_class[0] == "recall"


def summarise(profile: dict[str, Any], record: GenerationRecord | None) -> dict[str, Any]:
    """A chain's summary for W&B's table of runs: its profile without the evidence, and any last metrics."""
    numbers = {f"profile/{key}": value for key, value in profile.items() if key not in ("findings", "fid_growth")}
    growth = profile.get("fid_growth") or {}
    verdicts = {f"verdict/{key}": finding["verdict"] for key, finding in profile.get("findings", {}).items()}
    metrics = record.metrics if record else {}
    final = {f"final/{key}": metrics[key] for key in MAIN if key in metrics}
    return {**numbers, "profile/fid_growth": growth.get("slope"), **verdicts, **final}
