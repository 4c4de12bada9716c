"""Files that are written whole or not at all, with a checksum at their end that reveals damage.

    a JSON line       {"generation": 3, ..., "checksum": "2f6c9e0b41d8a753"}
    a YAML file       ...
                      # checksum 2f6c9e0b41d8a753
    a ZIP archive     its comment: collapsar checksum 2f6c9e0b41d8a753

ZIP's own checksums cover only contents: one flipped bit in its directory loses an array. Files from before there were
checksums have none: they count as unverified, neither whole nor damaged.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from zipfile import ZipFile

ARCHIVE_MARK, ARCHIVE_CHECKSUM_BYTES = b"collapsar checksum ", 16
LINE_MARK, FILE_MARK = ', "checksum": "', "# checksum "


def checksum(text: str) -> str:
    """Sixteen hexadecimal characters; another text has the same with a probability of 2^-64."""
    return blake2b(text.encode(), digest_size=8).hexdigest()


def line_with_checksum(line: str) -> str:
    """A JSON object on one line, with its checksum as the last entry."""
    body = line.removesuffix("}")
    return f'{body}{LINE_MARK}{checksum(body)}"}}'


def file_with_checksum(text: str) -> str:
    """A file's text with its checksum in a comment on the last line."""
    return f"{text}{FILE_MARK}{checksum(text)}\n"


def line_is_whole(line: str) -> bool | None:
    """Whether a line matches its checksum; None if it has none."""
    body, mark, end = line.rpartition(LINE_MARK)
    return end == f'{checksum(body)}"}}' if mark else None


def file_is_whole(text: str) -> bool | None:
    """Whether a file's text matches its checksum; None if it has none."""
    body, mark, end = text.rpartition(FILE_MARK)
    return end == f"{checksum(body)}\n" if mark else None


def add_checksum_to_archive(path: Path) -> None:
    """Write the checksum at the end of a ZIP archive's comment."""
    with ZipFile(path, "a") as archive:
        archive.comment = ARCHIVE_MARK + bytes(ARCHIVE_CHECKSUM_BYTES)
    found, _ = _archive_checksum(path)
    with path.open("r+b") as file:
        file.seek(-ARCHIVE_CHECKSUM_BYTES, os.SEEK_END)
        file.write(found.encode())


def archive_is_whole(path: Path) -> bool | None:
    """Whether a ZIP archive matches its checksum; None if it has none."""
    found, end = _archive_checksum(path)
    return end == ARCHIVE_MARK + found.encode() if end.startswith(ARCHIVE_MARK) else None


def _archive_checksum(path: Path) -> tuple[str, bytes]:
    """The checksum of all bytes before the stored one; and the end of the file: the mark and the stored checksum."""
    content = memoryview(path.read_bytes())
    digest = blake2b(content[:-ARCHIVE_CHECKSUM_BYTES], digest_size=8).hexdigest()
    return digest, bytes(content[-ARCHIVE_CHECKSUM_BYTES - len(ARCHIVE_MARK) :])


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, flush it and rename it: readers see the old content or the new."""
    temporary = temporary_of(path)
    with disk_errors_name(path):
        temporary.write_bytes(content)
        flush_to_disk(temporary)
        temporary.replace(path)
        flush_to_disk(path.parent)  # the folder's entry, too


@contextmanager
def disk_errors_name(path: Path) -> Iterator[None]:
    """Add this path to an OSError that names no file: `write` and `fsync` know only a file descriptor."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def temporary_of(path: Path) -> Path:
    """The temporary name of a file or folder that is not yet whole."""
    return path.parent / f".{path.name}.partial"  # `with_name` refuses a path without a name


def append_flushed(path: Path, content: bytes) -> None:
    """Append to a file and flush it; the cost does not depend on the file's length."""
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def whole_lines(path: Path) -> list[str]:
    """The lines of a file that end with a newline; none if there is no file."""
    return path.read_text("utf-8", "replace").split("\n")[:-1] if path.exists() else []


def flush_to_disk(path: Path) -> None:
    """Make a written file, or the entries of a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
