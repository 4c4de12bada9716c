"""The run folder: what is on disk after each generation, and where a killed run continues.

Files are written under a temporary name, flushed and renamed; files of JSON lines grow by whole lines. A generation is
finished once its line stands in `records.jsonl`, which is written last; a generation folder without a line is made
again. A line without a newline at its end was cut short by a kill, and does not count. If a line fails its checksum,
that generation and all after it are made again.
"""

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from collapsar.errors import UsageError
from collapsar.files import (
    add_checksum_to_archive,
    append_flushed,
    archive_is_whole,
    cut_torn_line,
    file_is_whole,
    file_with_checksum,
    flush_to_disk,
    line_is_whole,
    temporary_of,
    whole_lines,
    write_atomically,
)
from collapsar.journal.lock import held
from collapsar.records.record import GenerationRecord
from collapsar.records.settings import binding_settings
from collapsar.records.words import counted
from collapsar.samples import Samples

logger = logging.getLogger(__name__)

RECORDS, CONFIG = "records.jsonl", "config.yaml"
EARLIER = "0.1."  # folders of this version cannot be continued
MODEL, SAMPLES, GRID = "model.ckpt", "samples.npz", "grid.png"  # in the folder of a generation
GRID_IMAGES = 64
GRID_SIDE_PIXELS = 32  # smaller images are enlarged by a whole factor up to this side


class RunFolder:
    """One chain's folder, made if it does not exist; `claim` locks it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._whole: set[int] = set()  # generations whose samples were read and found undamaged
        self._last_strip: dict[int, Tensor | None] = {}  # of the generation that was written last
        try:
            path.mkdir(parents=True, exist_ok=True)
            write_atomically(path / ".writable", b"")
            (path / ".writable").unlink()
        except OSError as error:
            raise UsageError(f"cannot write to the run folder {path}: {error.strerror}") from error

    @contextmanager
    def claim(self, config: dict[str, Any]) -> Iterator[None]:
        """Hold the folder for one process; raise UsageError if it was made with other settings.

        If another process holds it, wait for that process if `wait_for_lock` is set, else raise UsageError.
        """
        with held(self.path, waits=bool(config.get("wait_for_lock"))):
            self._check_settings(config)
            cut_torn_line(self.path / RECORDS)
            cut_damaged_lines(self.path / RECORDS)
            text = file_with_checksum(yaml.safe_dump(config, sort_keys=False))
            write_atomically(self.path / CONFIG, text.encode())
            yield

    def records(self) -> list[GenerationRecord]:
        """The finished generations, in order; raise UsageError for a damaged line, which `claim` would have cut off."""
        return [GenerationRecord.from_json(line) for line in whole_lines(self.path / RECORDS)]

    def generation_path(self, generation: int) -> Path:
        """The folder of one generation."""
        return self.path / f"generation_{generation:03d}"

    def model_path(self, generation: int) -> Path:
        """The Lightning checkpoint of its model."""
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
        return samples_of(self._arrays(generation, "samples", "labels"))

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
        save_model: Callable[[Path], None],
        curve: Sequence[dict[str, float]] = (),
        pictures: Mapping[str, Tensor] = MappingProxyType({}),
        table: dict[str, Any] | None = None,
    ) -> None:
        """Write one finished generation, its line last; the arguments are those of `Journal.keep`."""
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
        self.append_lines(RECORDS, [record.to_json()])
        self._whole.discard(record.generation)
        self._last_strip = {record.generation: strip}

    def read_json(self, name: str) -> dict[str, Any]:
        """A small JSON file of the folder; empty if it is missing or damaged, since all of them are made anew."""
        try:
            content = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def append_lines(self, name: str, lines: Sequence[str]) -> None:
        """Append lines to a file of JSON lines (records.jsonl, alarms.jsonl); without lines, make no file."""
        if lines:
            append_flushed(self.path / name, text_of(lines))

    def rewrite_lines(self, name: str, lines: Sequence[str]) -> None:
        """Write a file of JSON lines anew; without lines, empty an existing file, but make none."""
        if lines or (self.path / name).exists():
            write_atomically(self.path / name, text_of(lines))

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a small JSON file of the folder (profile.json, status.json)."""
        write_atomically(self.path / name, json.dumps(content, indent=1).encode())

    def _arrays(self, generation: int, *names: str) -> dict[str, Tensor]:
        """Those of the named arrays that a generation has; the whole file's checksum is computed at the first read."""
        arrays = read_arrays(self.path, generation, *names, is_whole=generation in self._whole)
        self._whole.add(generation)
        return arrays

    def _check_settings(self, config: dict[str, Any]) -> None:
        if not (self.path / CONFIG).exists():
            return
        version = str(self.read_json("versions.json").get("collapsar"))
        if version.startswith(EARLIER) and (self.path / RECORDS).exists():
            raise UsageError(
                f"{self.path} was made by an earlier version of collapsar: choose another folder with hydra.run.dir"
            )
        before, now = binding_settings(read_config(self.path / CONFIG)), binding_settings(config)
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                raise UsageError(
                    f"{self.path} was made with other settings: {key} was {before.get(key)!r} and is now "
                    f"{now.get(key)!r}; set it back, or choose another folder with hydra.run.dir"
                )


def read_samples(folder: Path, generation: int) -> Samples:
    """What `RunFolder.synthetic` gives, of a run folder that need not be writable."""
    return samples_of(read_arrays(folder, generation, "samples", "labels"))


def read_arrays(folder: Path, generation: int, *names: str, is_whole: bool = False) -> dict[str, Tensor]:
    """Those of the named arrays that a generation has; UsageError if their file is missing or damaged.

    The checksum is computed unless the file is known to be whole.
    """
    path = folder / f"generation_{generation:03d}" / SAMPLES
    try:
        if not is_whole and archive_is_whole(path) is False:
            raise BadZipFile("damaged, by its checksum")
        with path.open("rb") as file, np.load(file) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in names if name in arrays or name == "samples"}
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile) as error:
        raise UsageError(
            f"cannot continue: the samples of generation {generation} are missing or damaged in {path}; "
            "restore the file, or start again in another folder"
        ) from error


def samples_of(arrays: dict[str, Tensor]) -> Samples:
    """Samples with their labels, if there are any."""
    return Samples(arrays["samples"], arrays.get("labels"))


def read_config(path: Path) -> dict[str, Any]:
    """The resolved configuration of a run folder; raise UsageError if the file is damaged."""
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        config = yaml.safe_load(text) if file_is_whole(text) is not False else None
    except yaml.YAMLError:
        config = None
    if not isinstance(config, dict):
        raise UsageError(f"{path} is damaged: delete it, and the command that made the chain writes it anew")
    return config


def cut_damaged_lines(path: Path) -> None:
    """Cut off the first damaged line of the records and all after it, keep them in another file, and log it."""
    lines = whole_lines(path)
    first = next((number for number, line in enumerate(lines) if not is_record(line)), None)
    unverified = sum(line_is_whole(line) is None for line in lines[:first])
    if unverified:
        logger.info(
            "%s: %s without a checksum, as in earlier versions, taken as they are", path, counted(unverified, "line")
        )
    if first is None:
        return
    content = path.read_bytes()
    start = sum(len(line) + 1 for line in content.split(b"\n")[:first])
    kept = path.with_name(f"damaged_{path.name}")
    append_flushed(kept, content[start:])
    write_atomically(path, content[:start])
    logger.warning(
        "%s, line %d is damaged: generation %d and those after it are made again; what stood there is kept in %s",
        path, first + 1, first, kept.name,
    )  # fmt: skip


def is_record(line: str) -> bool:
    """Whether a line can be read as a record; a line that matches its checksum is not parsed."""
    if line_is_whole(line):
        return True
    try:
        GenerationRecord.from_json(line)
    except UsageError:
        return False
    return True


def text_of(lines: Sequence[str]) -> bytes:
    """Lines as the content of a file."""
    return "".join(f"{line}\n" for line in lines).encode()


def image_grid(images: Tensor) -> Image.Image:
    """The first images in rows of eight."""
    return tile(images[:GRID_IMAGES], num_columns=8)


def tile(images: Tensor, *, num_columns: int) -> Image.Image:
    """Images in rows; small ones are enlarged by a whole factor, so that each pixel stays a square."""
    factor = max(1, GRID_SIDE_PIXELS // images.shape[-1])
    enlarged = images.repeat_interleave(factor, dim=-1).repeat_interleave(factor, dim=-2)
    grid = make_grid(enlarged, nrow=num_columns, padding=2, pad_value=128)
    return Image.fromarray(grid.permute(1, 2, 0).numpy())
