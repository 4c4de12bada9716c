"""Mirrors a chain to files of its run folder that other tools read: CSV, or an event file of TensorBoard.

    RUN/metrics.csv    a row for each generation: every recorded metric, pool and seconds
    RUN/losses.csv     a row for each reading of the losses, while they are made
    RUN/tensorboard/   the same numbers, under the keys that W&B has, and the pictures of each generation

Alarms stand in the folder anyway (`alarms.jsonl`), and so does the page.
"""

import csv
import io
from pathlib import Path
from typing import Any

import torch

from collapsar.files import write_atomically
from collapsar.journal.event_file import EventFile
from collapsar.journal.rows import AXIS, TRAINING_AXIS, score_row
from collapsar.journal.store import RunFolder, tile
from collapsar.journal.tracking import ChainTitle, Tracking
from collapsar.records.record import GenerationRecord


class CSVTracking(Tracking):
    """Two CSV files."""

    def begin(self, store: RunFolder, *, title: ChainTitle, config: dict[str, Any]) -> bool:
        self._metrics, self._losses = GrowingTable(store.path / "metrics.csv"), GrowingTable(store.path / "losses.csv")
        return True

    def write_reading(self, row: dict[str, int | float]) -> None:
        self._losses.add({name.partition("/")[2]: value for name, value in row.items()})

    def write_generation(self, store: RunFolder, record: GenerationRecord) -> None:
        self._metrics.add(score_row(record, is_drawn=False))


class TensorBoardTracking(Tracking):
    """An event file of TensorBoard."""

    def begin(self, store: RunFolder, *, title: ChainTitle, config: dict[str, Any]) -> bool:
        self._events = EventFile(store.path / "tensorboard")
        return True

    def write_reading(self, row: dict[str, int | float]) -> None:
        step = int(row.pop(TRAINING_AXIS))
        self._events.add_scalars(row, step=step)

    def write_generation(self, store: RunFolder, record: GenerationRecord) -> None:
        row = score_row(record)
        self._events.add_scalars(row, step=row.pop(AXIS))
        if grid := store.grid(record.generation):
            self._events.add_picture("pictures/samples", grid, step=record.generation)
        strip = store.strip(record.generation)
        if strip is not None and strip.dtype == torch.uint8:
            picture = tile(strip, num_columns=len(strip))
            self._events.add_picture("pictures/strip", picture, step=record.generation)

    def finish(self, *, has_failed: bool) -> None:
        self._events.close()


class GrowingTable:
    """A new CSV file that grows by rows; a row with a new column makes the file be written anew."""

    def __init__(self, path: Path) -> None:
        self.path, self._columns = path, list[str]()
        path.unlink(missing_ok=True)

    def add(self, row: dict[str, Any]) -> None:
        """Add a row, with empty cells for columns that it lacks."""
        new = [name for name in row if name not in self._columns]
        if not new:
            with self.path.open("a", newline="") as file:
                file.write(self._lines([row]))
            return
        earlier: list[dict[str, Any]] = []
        if self.path.exists():
            with self.path.open(newline="") as file:
                earlier = list(csv.DictReader(file))
        self._columns += new
        header = {name: name for name in self._columns}
        write_atomically(self.path, self._lines([header, *earlier, row]).encode())

    def _lines(self, rows: list[dict[str, Any]]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self._columns, restval="", lineterminator="\n").writerows(rows)
        return text.getvalue()
