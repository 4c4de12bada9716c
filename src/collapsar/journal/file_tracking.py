"""Mirrors a chain to files of its run folder that other tools read: two CSV files, or an event file of TensorBoard.

An event file is written without TensorBoard's own package. It is a sequence of records: the length (uint64), its
checksum, an `Event` as protocol buffer, and its checksum (TFRecord). Checksums are CRC-32C, masked. Fields are those of
`event.proto` and `summary.proto` of TensorBoard:

    Event    1 wall_time (double)  2 step (int64)  3 file_version (string)  5 summary { 1 value ... }
    Value    1 tag (string)  2 simple_value (float)  4 image { 1 height  2 width  3 colorspace  4 encoded_image_string }
"""

import csv
import io
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image

from collapsar.foundations.files import write_atomically
from collapsar.foundations.record import GenerationRecord
from collapsar.journal.rows import AXIS, TRAINING_AXIS, score_row
from collapsar.journal.store import RunFolder, tile
from collapsar.journal.tracking import ChainTitle, Tracking

RGB = 3  # colorspace

TABLE = list(range(256))  # CRC-32C of each byte (Castagnoli's polynomial, reflected)
for _ in range(8):
    TABLE = [crc >> 1 ^ (0x82F63B78 if crc & 1 else 0) for crc in TABLE]


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
        self.path, self._columns, self._rows = path, list[str](), list[dict[str, Any]]()
        path.unlink(missing_ok=True)

    def add(self, row: dict[str, Any]) -> None:
        """Add a row, with empty cells for columns that it lacks."""
        new = [name for name in row if name not in self._columns]
        self._columns += new
        self._rows.append(row)
        text = io.StringIO()
        table = csv.DictWriter(text, self._columns, restval="", lineterminator="\n")
        if new:
            table.writeheader()
            table.writerows(self._rows)
            write_atomically(self.path, text.getvalue().encode())
        else:
            table.writerow(row)
            with self.path.open("a", newline="") as file:
                file.write(text.getvalue())


def crc32c(content: bytes) -> int:
    """CRC-32C of bytes (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


class EventFile:
    """A new file in a folder that TensorBoard reads while it grows; earlier event files there are deleted."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        earlier = [*folder.glob("events.out.tfevents.*")]
        self._file = (folder / f"events.out.tfevents.{time.time_ns()}.collapsar").open("wb")
        for path in earlier:
            path.unlink()
        self._write(_bytes(3, b"brain.Event:2"))

    def add_scalars(self, values: Mapping[str, int | float], *, step: int) -> None:
        summary = [
            _bytes(1, _bytes(1, tag.encode()) + b"\x15" + struct.pack("<f", value)) for tag, value in values.items()
        ]
        self._write(_number(2, step) + _bytes(5, b"".join(summary)))

    def add_picture(self, tag: str, picture: Image, *, step: int) -> None:
        png = io.BytesIO()
        picture.convert("RGB").save(png, format="PNG")
        image = _number(1, picture.height) + _number(2, picture.width) + _number(3, RGB) + _bytes(4, png.getvalue())
        self._write(_number(2, step) + _bytes(5, _bytes(1, _bytes(1, tag.encode()) + _bytes(4, image))))

    def close(self) -> None:
        self._file.close()

    def _write(self, content: bytes) -> None:
        event = b"\x09" + struct.pack("<d", time.time()) + content
        length = struct.pack("<Q", len(event))
        self._file.write(length + _masked(length) + event + _masked(event))
        self._file.flush()


def _masked(content: bytes) -> bytes:
    crc = crc32c(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def _number(field: int, value: int) -> bytes:
    return bytes([field << 3]) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(content)) + content
