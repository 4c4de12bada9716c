"""The run folder: what is on disk after each generation, and where a killed run continues.

Files are written under a temporary name, flushed and renamed; files of JSON lines grow by whole lines. A generation is
finished once its line stands in `records.jsonl`, which is written last; one without a line is made again.
"""

import errno
import json
import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
import yaml
from filelock import FileLock, Timeout
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from collapsar.foundations.errors import UsageError
from collapsar.foundations.files import (
    add_checksum_to_archive,
    append_flushed,
    archive_is_whole,
    file_with_checksum,
    flush_to_disk,
    line_is_whole,
    temporary_of,
    whole_lines,
    write_atomically,
)
from collapsar.foundations.record import GenerationRecord
from collapsar.foundations.samples import Samples
from collapsar.foundations.settings import CONFIG, binding_settings, read_config
from collapsar.foundations.words import counted

logger = logging.getLogger(__name__)

RECORDS = "records.jsonl"
EARLIER = "0.1."  # folders of this version cannot be continued
LOCK, HOLDER = ".lock", ".holder"  # the operating system gives the lock back when its process ends for any reason
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
MODEL, SAMPLES, GRID = "model.ckpt", "samples.npz", "grid.png"  # in the folder of a generation
GRID_IMAGES = 64
GRID_SIDE_PIXELS = 32  # smaller images are enlarged by a whole factor up to this side


class RunFolder:
    """One chain's folder; `claim` makes and locks it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._whole: set[int] = set()  # generations whose samples were read and found undamaged
        self._last_strip: dict[int, Tensor | None] = {}  # of the generation that was written last

    @contextmanager
    def claim(self, config: dict[str, Any]) -> Iterator[None]:
        """Hold the folder for one process; raise UsageError if it cannot be written or was made with other settings.

        If another process holds it, wait for that process if `wait_for_lock` is set, else raise UsageError.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / ".writable", b"")
            (self.path / ".writable").unlink()
        except OSError as error:
            raise UsageError(f"cannot write to the run folder {self.path}: {error.strerror}") from error
        with held(self.path, waits=bool(config.get("wait_for_lock"))):
            self._check_settings(config)
            cut_damaged_lines(self.path / RECORDS)
            text = file_with_checksum(yaml.safe_dump(config, sort_keys=False))
            write_atomically(self.path / CONFIG, text.encode())
            yield

    def records(self) -> list[GenerationRecord]:
        """The finished generations, in order; raise UsageError for a damaged line, which `claim` would have cut off."""
        return [GenerationRecord.from_json(line) for line in whole_lines(self.path / RECORDS)]

    def generation_path(self, generation: int) -> Path:
        return self.path / f"generation_{generation:03d}"

    def model_path(self, generation: int) -> Path:
        return self.generation_path(generation) / MODEL

    @property
    def unfinished_path(self) -> Path:
        """The checkpoint inside a generation that is still in training (`collapsar.training.unfinished`)."""
        return self.path / "unfinished.ckpt"

    def forget_unfinished(self) -> None:
        """Delete that checkpoint, and its temporary file."""
        for path in (self.unfinished_path, temporary_of(self.unfinished_path)):
            path.unlink(missing_ok=True)

    def synthetic(self, generation: int) -> Samples:
        """The samples that a finished generation gave to the next pool, with labels if there were any."""
        arrays = self._arrays(generation, "samples", "labels")
        return Samples(arrays["samples"], arrays.get("labels"))

    def strip(self, generation: int) -> Tensor | None:
        """The images of the latents that never change; None if a generation has none."""
        if generation in self._last_strip:
            return self._last_strip[generation]
        return self._arrays(generation, "strip").get("strip")

    def grid(self, generation: int) -> Image.Image | None:
        """The first samples of a finished generation, tiled; None if they are no images."""
        path = self.generation_path(generation) / GRID
        if path.exists():
            with Image.open(path) as grid:
                return grid.copy()
        values = self.synthetic(generation).values
        return image_grid(values) if values.dtype == torch.uint8 else None

    def curve(self, generation: int) -> list[dict[str, float]]:
        """The training losses of a finished generation, by "step"; empty if nothing was trained in steps."""
        path = self.generation_path(generation) / "curve.json"
        return list(json.loads(path.read_text())) if path.exists() else []

    def write_generation(
        self,
        record: GenerationRecord,
        *,
        samples: Samples,
        strip: Tensor | None = None,
        save_model: Callable[[Path], object],
        curve: Sequence[dict[str, float]] = (),
        pictures: Mapping[str, Tensor] = MappingProxyType({}),
        table: dict[str, Any] | None = None,
    ) -> None:
        """Write one finished generation, its line last.

        `samples` are what the next pool gets, `strip` the images of the latents that never change (None: the model has
        none); `pictures` and `table` are for the page (`judging.evaluator.Scores`).
        """
        final = self.generation_path(record.generation)
        temporary = temporary_of(final)
        for stale in (temporary, final):
            shutil.rmtree(stale, ignore_errors=True)
        temporary.mkdir()
        save_model(temporary / MODEL)
        parts = {"samples": samples.values, "labels": samples.labels, "strip": strip, **pictures}
        arrays: dict[str, Any] = {name: part.numpy() for name, part in parts.items() if part is not None}
        np.savez(temporary / SAMPLES, **arrays)
        add_checksum_to_archive(temporary / SAMPLES)
        if samples.values.dtype == torch.uint8:
            image_grid(samples.values).save(temporary / GRID)
        if curve:
            (temporary / "curve.json").write_text(json.dumps(list(curve)))
        if table:
            (temporary / "table.json").write_text(json.dumps(table, allow_nan=False))
        for path in (*temporary.iterdir(), temporary):
            flush_to_disk(path)
        temporary.rename(final)
        flush_to_disk(self.path)
        append_flushed(self.path / RECORDS, f"{record.to_json()}\n".encode())
        self._whole.discard(record.generation)
        self._last_strip = {record.generation: strip}

    def read_json(self, name: str) -> dict[str, Any]:
        """A small JSON file of the folder; empty if it is missing or damaged, since all of them are made anew."""
        try:
            content = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def rewrite_lines(self, name: str, lines: Sequence[str]) -> None:
        """Write a file of JSON lines anew; without lines, empty an existing file, but make none."""
        if lines or (self.path / name).exists():
            write_atomically(self.path / name, "".join(f"{line}\n" for line in lines).encode())

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a small JSON file of the folder (profile.json, status.json)."""
        write_atomically(self.path / name, json.dumps(content, indent=1).encode())

    def _arrays(self, generation: int, *names: str) -> dict[str, Tensor]:
        """Those of the named arrays that a generation has; the whole file's checksum is computed at the first read."""
        path = self.generation_path(generation) / SAMPLES
        try:
            if generation not in self._whole and archive_is_whole(path) is False:
                raise BadZipFile("damaged, by its checksum")
            with path.open("rb") as file, np.load(file) as arrays:
                found = {name: torch.from_numpy(arrays[name]) for name in names if name in arrays or name == "samples"}
        except (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile) as error:
            problem = f"cannot continue: the samples of generation {generation} are missing or damaged in {path}"
            raise UsageError(f"{problem}; restore the file, or start again in another folder") from error
        self._whole.add(generation)
        return found

    def _check_settings(self, config: dict[str, Any]) -> None:
        if not (self.path / CONFIG).exists():
            return
        version = str(self.read_json("versions.json").get("collapsar"))
        if version.startswith(EARLIER) and (self.path / RECORDS).exists():
            problem = f"{self.path} was made by an earlier version of collapsar"
            raise UsageError(f"{problem}: choose another folder with hydra.run.dir")
        before, now = binding_settings(read_config(self.path / CONFIG)), binding_settings(config)
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                change = f"{key} was {before.get(key)!r} and is now {now.get(key)!r}"
                advice = "set it back, or choose another folder with hydra.run.dir"
                raise UsageError(f"{self.path} was made with other settings: {change}; {advice}")


@contextmanager
def held(folder: Path, *, waits: bool) -> Iterator[None]:
    """Hold a run folder for this process; if `waits`, wait for another process that holds it, else raise UsageError."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        holder = "another process"
        with suppress(OSError, ValueError, KeyError, TypeError):
            noted = json.loads((folder / HOLDER).read_text())
            holder = f"process {int(noted['process'])} on {noted['host']}"
        if not waits:
            advice = "set wait_for_lock=true to wait for it, or choose another folder with hydra.run.dir"
            raise UsageError(f"{holder} is working in {folder}: {advice}") from error
        logger.info("waiting for %s, which is working in %s", holder, folder)
        lock.acquire()
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in WITHOUT_LOCKS:
            raise
        problem = f"{folder} cannot be locked ({error}): its file system has no locks"
        raise UsageError(f"{problem}; choose a folder on another one with hydra.run.dir") from error
    try:
        (folder / HOLDER).write_text(json.dumps({"host": socket.gethostname(), "process": os.getpid()}))
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def cut_damaged_lines(path: Path) -> None:
    """Cut off an incomplete last line, and the first damaged line with all after it, which are kept in another file."""
    content = path.read_bytes() if path.exists() else b""
    *whole, torn = content.split(b"\n")
    lines = [line.decode("utf-8", "replace") for line in whole]
    first = next((number for number, line in enumerate(lines) if not is_record(line)), len(lines))
    if unverified := sum(line_is_whole(line) is None for line in lines[:first]):
        text = "%s: %s without a checksum, as in earlier versions, taken as they are"
        logger.info(text, path, counted(unverified, "line"))
    start = sum(len(line) + 1 for line in whole[:first])
    if first < len(lines):
        kept = path.with_name(f"damaged_{path.name}")
        append_flushed(kept, content[start : len(content) - len(torn)])
        text = "%s, line %d is damaged: generation %d and those after it are made again; what stood there is kept in %s"
        logger.warning(text, path, first + 1, first, kept.name)
    if start < len(content):
        write_atomically(path, content[:start])


def is_record(line: str) -> bool:
    """Whether a line can be read as a record; a line that matches its checksum is not parsed."""
    with suppress(UsageError):
        return bool(line_is_whole(line) or GenerationRecord.from_json(line))
    return False


def image_grid(images: Tensor) -> Image.Image:
    """The first images in rows of eight."""
    return tile(images[:GRID_IMAGES], num_columns=8)


def tile(images: Tensor, *, num_columns: int) -> Image.Image:
    """Images in rows; small ones are enlarged by a whole factor, so that each pixel stays a square."""
    factor = max(1, GRID_SIDE_PIXELS // images.shape[-1])
    enlarged = images.repeat_interleave(factor, dim=-1).repeat_interleave(factor, dim=-2)
    grid = make_grid(enlarged, nrow=num_columns, padding=2, pad_value=128)
    return Image.fromarray(grid.permute(1, 2, 0).numpy())
