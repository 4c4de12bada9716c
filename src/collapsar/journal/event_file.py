"""An event file of TensorBoard: scalars and PNG pictures by tag and step, written without TensorBoard's own package.

A file is a sequence of records: the length (uint64), its checksum, an `Event` as protocol buffer, and its checksum
(TFRecord). Checksums are CRC-32C, masked. Fields are those of `event.proto` and `summary.proto` of TensorBoard:

    Event    1 wall_time (double)  2 step (int64)  3 file_version (string)  5 summary { 1 value ... }
    Value    1 tag (string)  2 simple_value (float)  4 image { 1 height  2 width  3 colorspace  4 encoded_image_string }
"""

import io
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from PIL.Image import Image

RGB = 3  # colorspace


TABLE = list(range(256))  # CRC-32C of each byte (Castagnoli's polynomial, reflected)
for _ in range(8):
    TABLE = [crc >> 1 ^ (0x82F63B78 if crc & 1 else 0) for crc in TABLE]


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
        """Add values at a step, by tag."""
        summary = [
            _bytes(1, _bytes(1, tag.encode()) + b"\x15" + struct.pack("<f", value)) for tag, value in values.items()
        ]
        self._write(_number(2, step) + _bytes(5, b"".join(summary)))

    def add_picture(self, tag: str, picture: Image, *, step: int) -> None:
        """Add a picture at a step."""
        png = io.BytesIO()
        picture.convert("RGB").save(png, format="PNG")
        image = _number(1, picture.height) + _number(2, picture.width) + _number(3, RGB) + _bytes(4, png.getvalue())
        self._write(_number(2, step) + _bytes(5, _bytes(1, _bytes(1, tag.encode()) + _bytes(4, image))))

    def close(self) -> None:
        """Close the file."""
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
