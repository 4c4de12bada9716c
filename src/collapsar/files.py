"""Files that know when they are damaged: a checksum at the end, over all that stands before it.

    a JSON line       {"generation": 3, ..., "checksum": "2f6c9e0b41d8a753"}
    a YAML file       ...
                      # checksum 2f6c9e0b41d8a753
    a ZIP archive     its comment: collapsar checksum 2f6c9e0b41d8a753

The checksums that ZIP has itself are of contents: by one flipped bit in its directory an array is gone. What was
written before there were checksums has none: it is neither whole nor damaged, but unverified.
"""

import os
import re
from hashlib import blake2b
from pathlib import Path
from zipfile import ZipFile

ARCHIVE_MARK, ARCHIVE_CHECKSUM_BYTES = b"collapsar checksum ", 16
IN_LINE = re.compile(r'(?P<body>.*), "checksum": "(?P<checksum>[0-9a-f]{16})"\}')
IN_FILE = re.compile(r"(?P<body>.*)# checksum (?P<checksum>[0-9a-f]{16})\n", re.DOTALL)


def checksum(text: str) -> str:
    """Sixteen characters that another text has with a probability of 2^-64."""
    return blake2b(text.encode(), digest_size=8).hexdigest()


def line_with_checksum(line: str) -> str:
    """A JSON object on one line, with its checksum as the last entry."""
    body = line.removesuffix("}")
    return f'{body}, "checksum": "{checksum(body)}"}}'


def file_with_checksum(text: str) -> str:
    """The text of a file with its checksum in a comment on the last line."""
    return f"{text}# checksum {checksum(text)}\n"


def line_is_whole(line: str) -> bool | None:
    """Whether a line is as it was written; None where it has no checksum."""
    return _is_whole(IN_LINE, line, mark=', "checksum": "')


def file_is_whole(text: str) -> bool | None:
    """Whether a file's text is as it was written; None where it has no checksum."""
    return _is_whole(IN_FILE, text, mark="# checksum ")


def add_checksum_to_archive(path: Path) -> None:
    """Put the checksum into a ZIP archive, as the end of its comment."""
    with ZipFile(path, "a") as archive:
        archive.comment = ARCHIVE_MARK + bytes(ARCHIVE_CHECKSUM_BYTES)
    found, _ = _archive_checksum(path)
    with path.open("r+b") as file:
        file.seek(-ARCHIVE_CHECKSUM_BYTES, os.SEEK_END)
        file.write(found.encode())


def archive_is_whole(path: Path) -> bool | None:
    """Whether a ZIP archive is as it was written; None where it has no checksum."""
    found, end = _archive_checksum(path)
    return end == ARCHIVE_MARK + found.encode() if end.startswith(ARCHIVE_MARK) else None


def _archive_checksum(path: Path) -> tuple[str, bytes]:
    """The checksum of all bytes but the last ones, which are to hold it; and those, with the mark before them."""
    digest, end = blake2b(digest_size=8), path.stat().st_size - ARCHIVE_CHECKSUM_BYTES
    left = end
    with path.open("rb") as file:
        while left > 0:
            chunk = file.read(min(left, 1 << 20))
            digest.update(chunk)
            left -= len(chunk)
        file.seek(max(0, end - len(ARCHIVE_MARK)))
        return digest.hexdigest(), file.read()


def _is_whole(pattern: re.Pattern[str], text: str, *, mark: str) -> bool | None:
    found = pattern.fullmatch(text)
    if found is None:
        return False if mark in text else None
    return checksum(found["body"]) == found["checksum"]
