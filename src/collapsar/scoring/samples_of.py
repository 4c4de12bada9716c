"""Samples from whatever a user holds: a folder of images, a file, an array or a tensor.

All become the sample convention: uint8 images [N, C, H, W], or float32 vectors [N, D]. Nothing is dropped or converted
without a note; what cannot be read is refused by its name.
"""

import logging
import os
import pickle
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from collapsar.errors import UsageError, printable
from collapsar.files import archive_is_whole
from collapsar.judging.progress import advance
from collapsar.records.words import counted
from collapsar.samples import UNLABELLED, Samples

logger = logging.getLogger(__name__)

ARRAYS, TABLES = (".npz", ".npy", ".pt"), (".csv", ".parquet")
KNOWN = "a folder of images, or a file .npz, .npy, .pt, .csv or .parquet"
NAMES = ("samples", "images", "arr_0")  # of the samples in an archive of several arrays
CHUNK = 1024  # images converted at once


@dataclass(frozen=True)
class Given:
    """Samples as a user gave them.

    Attributes:
        name: How messages and tables call them.
        class_names: The names of the labels, from subfolders; empty if labels are numbers or unknown.
    """

    name: str
    samples: Samples
    class_names: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """Labels run from 0 to num_classes - 1; 0 without labels."""
        labels = self.samples.labels
        return 0 if labels is None else len(self.class_names) or int(labels.max()) + 1

    @property
    def without_labels(self) -> "Given":
        return Given(self.name, Samples(self.samples.values))


def read_samples(given: Any, *, name: str, side: int | None = None) -> Given:
    """The samples of a path, an array, a tensor, `Samples`, or a pair of samples and labels.

    `side` resizes images, after a cut to squares from their middle; None leaves them as they are.

    Raises:
        UsageError: it cannot be read; the text names the file or array.
    """
    if isinstance(given, str | os.PathLike):
        return read_path(Path(given).expanduser(), name=name, side=side)
    values, labels = (given.values, given.labels) if isinstance(given, Samples) else (given, None)
    if isinstance(given, tuple) and len(given) == 2:
        values, labels = given
    return from_arrays(values, labels, name=name, side=side)


def read_path(path: Path, *, name: str, side: int | None) -> Given:
    """The samples of a folder of images, of a stored generation, or of a file of arrays."""
    if path.is_dir() and (path / "samples.npz").is_file():
        path = path / "samples.npz"
    if path.is_dir():
        return read_folder(path, name=name, side=side)
    if not path.is_file():
        raise UsageError(f"there is no {printable(name)}: give {KNOWN}")
    suffix = path.suffix.lower()
    if suffix not in ARRAYS:
        raise UsageError(f"{printable(name)} must be {KNOWN}: got {suffix or 'no suffix'}")
    with refused(f"{printable(name)} cannot be read as {suffix}"):
        values, labels = {".npz": read_npz, ".npy": read_npy, ".pt": read_pt}[suffix](path)
    return from_arrays(values, labels, name=name, side=side)


@contextmanager
def refused(what: str) -> Iterator[None]:
    """Refuse a broken file in one line."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{what}: {error}") from error
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile, pickle.UnpicklingError) as error:
        raise UsageError(f"{what}: {printable((str(error) or type(error).__name__).splitlines()[0])}") from error


def read_npz(path: Path) -> tuple[Any, Any]:
    """Samples and labels of an archive: by their names, else its only array (and a row of whole numbers as labels)."""
    if archive_is_whole(path) is False:
        raise UsageError("it is damaged, by its checksum")
    with path.open("rb") as file, np.load(file) as archive:  # np.load itself leaves a broken file open
        return choose_arrays({name: archive[name] for name in archive.files if name != "strip"})


def read_npy(path: Path) -> tuple[Any, Any]:
    """One array, without labels."""
    return np.load(path), None


def read_pt(path: Path) -> tuple[Any, Any]:
    """A tensor, a pair of samples and labels, or tensors by name; no code of the file is run."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, Mapping):
        return choose_arrays(content)
    if isinstance(content, Sequence) and len(content) == 2:
        return content[0], content[1]
    return content, None


def choose_arrays(arrays: Mapping[str, Any]) -> tuple[Any, Any]:
    """The samples among arrays, and their labels if there are any."""
    name = next((name for name in NAMES if name in arrays), None) or (next(iter(arrays)) if len(arrays) == 1 else None)
    if name is None:
        raise UsageError(f"it must hold one array, or samples and labels: got {printable(', '.join(arrays)) or 'none'}")
    others = [other for other in arrays if other not in (name, "labels", "arr_1")]
    if others:
        logger.info("left alone: the arrays %s", printable(", ".join(others)))
    return arrays[name], arrays.get("labels", arrays.get("arr_1") if name == "arr_0" else None)


def from_arrays(values: Any, labels: Any, *, name: str, side: int | None) -> Given:
    """Arrays or tensors in the sample convention, with a note on what was converted."""
    what = printable(name)
    try:
        tensor = as_tensor(values)
        given_labels = None if labels is None else as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"{what} must be numbers in an array or a tensor: got {type(values).__name__}") from error
    if not tensor.ndim or not len(tensor):
        raise UsageError(f"{what} holds no samples: give {KNOWN}")
    samples = as_vectors(tensor, what=what) if tensor.ndim == 2 else as_images(tensor, what=what, side=side)
    return Given(name, Samples(samples, None if given_labels is None else as_labels(given_labels, samples, what=what)))


def as_tensor(values: Any) -> Tensor:
    """Numbers of any kind as a tensor on the CPU."""
    if isinstance(values, Tensor):
        return values.detach().cpu()
    return torch.from_numpy(np.require(values, requirements=["W"]))


def as_labels(labels: Tensor, samples: Tensor, *, what: str) -> Tensor:
    """Labels as whole numbers from 0 up, one a sample."""
    if labels.shape != samples.shape[:1] or labels.is_floating_point() or labels.is_complex():
        raise UsageError(
            f"labels of {what} must be {len(samples)} whole numbers, one a sample: got {labels.dtype} "
            f"{list(labels.shape)}"
        )
    if int(labels.min()) < UNLABELLED:
        raise UsageError(f"labels of {what} must be 0 or above ({UNLABELLED}: unknown): got {int(labels.min())}")
    return labels.to(torch.int64)


def as_vectors(values: Tensor, *, what: str) -> Tensor:
    """Vectors [N, D] as float32."""
    vectors = values.to(torch.float32)
    if not vectors.isfinite().all():
        raise UsageError(f"{what} holds NaN or infinite values: leave these samples out")
    return vectors.contiguous()


def as_images(values: Tensor, *, what: str, side: int | None) -> Tensor:
    """Images [N, H, W], [N, H, W, C] or [N, C, H, W] as uint8 [N, C, H, W]."""
    shape = tuple(values.shape)
    if values.ndim == 3:
        images = values.unsqueeze(1)
    elif values.ndim == 4 and shape[1] in (1, 3):
        images = values
    elif values.ndim == 4 and shape[3] in (1, 3):
        images = values.permute(0, 3, 1, 2)
    else:
        raise UsageError(
            f"{what} must have the shape [N, H, W], [N, C, H, W] or [N, H, W, C] with 1 or 3 channels, or [N, D] for "
            f"vectors: got {list(shape)}"
        )
    convert = conversion(images, what=what)
    levels = torch.cat([convert(chunk) for chunk in images.split(CHUNK)])
    if side is None or levels.shape[-2:] == (side, side):
        return levels.contiguous()
    pictures = (Image.fromarray(each.squeeze(-1).numpy()) for each in levels.permute(0, 2, 3, 1))
    return stack([fitted(picture, side) for picture in pictures])


def conversion(images: Tensor, *, what: str) -> Callable[[Tensor], Tensor]:
    """How images become levels from 0 to 255: uint8 stays, whole numbers from 0 to 255 too, floats lie in [0, 1]."""
    if images.dtype == torch.uint8:
        return lambda chunk: chunk
    if images.dtype == torch.bool:
        return lambda chunk: chunk.to(torch.uint8) * 255
    low, high = (float(bound) for bound in torch.aminmax(images))
    is_float = images.is_floating_point()
    if not low >= 0 or not high <= (1 if is_float else 255):
        allowed = "floats must lie in [0, 1]" if is_float else "whole numbers must lie in [0, 255]"
        advice = "; scale them as (x + 1) / 2" if is_float and low >= -1 and high <= 1 else ""
        raise UsageError(f"images of {what}: {allowed}: got {low:g} to {high:g}{advice}")
    if is_float:
        logger.info("%s: floats from %g to %g, read as [0, 1] and rounded to 256 levels", what, low, high)
        return lambda chunk: chunk.to(torch.float32).mul(255.0).round_().to(torch.uint8)
    return lambda chunk: chunk.to(torch.uint8)


def read_folder(folder: Path, *, name: str, side: int | None) -> Given:
    """All images in and below a folder; its subfolders are the classes, if all images lie in some."""
    paths, others = find_images(folder)
    if not paths:
        raise UsageError(f"{printable(name)} holds no images: give {KNOWN}, or a run folder")
    if others:
        logger.info("%s: %s left alone", printable(name), counted(others, "file that is no image"))
    images, is_grey = decode_all(paths, below=folder, side=side)
    if 0 < sum(is_grey) < len(is_grey):
        logger.info("%s: %s read as colour, like the others", printable(name), counted(sum(is_grey), "grey image"))
    if all(is_grey):
        values = stack(images)
    else:
        values = stack([image if image.ndim == 3 else np.stack([image] * 3, axis=-1) for image in images])
    parts = [path.relative_to(folder).parts for path in paths]
    classes = sorted({part[0] for part in parts}, key=natural)
    if min(map(len, parts)) < 2 or len(classes) < 2:
        return Given(name, Samples(values))
    places = {each: place for place, each in enumerate(classes)}
    return Given(name, Samples(values, torch.tensor([places[part[0]] for part in parts])), tuple(classes))


def find_images(folder: Path) -> tuple[list[Path], int]:
    """The images in and below a folder in natural order, and the number of other files; hidden ones do not count."""
    Image.init()
    suffixes = {suffix for suffix, form in Image.registered_extensions().items() if form in Image.OPEN}
    found = [
        Path(parent, file)
        for parent, folders, files in os.walk(folder, followlinks=True)
        for file in files
        if not file.startswith(".") and not any(part.startswith(".") for part in Path(parent).relative_to(folder).parts)
    ]
    images = [path for path in found if path.suffix.lower() in suffixes]
    return sorted(images, key=lambda path: natural(str(path))), len(found) - len(images)


def decode_all(paths: Sequence[Path], *, below: Path, side: int | None) -> tuple[list[np.ndarray], list[bool]]:
    """The pixels of all files, [H, W] or [H, W, 3], and whether each is grey; broken files are refused by name."""
    images: list[np.ndarray] = []
    broken: list[str] = []
    with ThreadPoolExecutor() as pool:
        for path, found in zip(paths, pool.map(partial(decode, side=side), paths), strict=True):
            advance("files read", of=len(paths))
            if isinstance(found, str):
                broken.append(f"{path.relative_to(below.parent)} ({found})")
            elif images and found.shape[:2] != images[0].shape[:2]:
                sizes = [f"{each.shape[1]}x{each.shape[0]}" for each in (images[0], found)]
                raise UsageError(
                    f"images of one folder must have one size: {printable(str(paths[0]))} has {sizes[0]} pixels and "
                    f"{printable(str(path))} {sizes[1]}; add --resize N (resize=N)"
                )
            else:
                images.append(found)
    if broken:
        more = f", and {len(broken) - 3} more" if len(broken) > 3 else ""
        raise UsageError(f"{printable(', '.join(broken[:3]))}{more} cannot be read as images: mend or delete them")
    return images, [image.ndim == 2 for image in images]


def decode(path: Path, *, side: int | None) -> np.ndarray | str:
    """The pixels of a file, or why it cannot be read. What is transparent becomes white."""
    try:
        with Image.open(path) as file:
            if file.mode.startswith(("I", "F")):
                return f"pixels of mode {file.mode}; 8 bits a channel are needed"
            picture, mode = ImageOps.exif_transpose(file), "L" if file.mode in ("1", "L", "LA") else "RGB"
            if picture.has_transparency_data:
                clear = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
            return fitted(picture.convert(mode), side)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        return printable(str(error).partition("\n")[0]).replace(str(path), path.name)


def fitted(picture: Image.Image, side: int | None) -> np.ndarray:
    """The pixels of a picture; with a side, the square in its middle resized to side x side."""
    if side is not None and picture.size != (side, side):
        picture = ImageOps.fit(picture, (side, side), method=Image.Resampling.BICUBIC)
    return np.asarray(picture)


def stack(images: Sequence[np.ndarray]) -> Tensor:
    """Pixels [H, W] or [H, W, C] as images [N, C, H, W]."""
    stacked = torch.from_numpy(np.stack(images))
    return stacked.unsqueeze(1) if stacked.ndim == 3 else stacked.permute(0, 3, 1, 2).contiguous()


def natural(text: str) -> list[tuple[int, str]]:
    """A key that sorts numbers within a text by their size."""
    return [(int(part or 0) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", text)]


def alike(given: Given, *, shape: tuple[int, ...], to_name: str) -> Given:
    """The samples with as many channels as those they are compared with, if only that differs; else a refusal."""
    values, what = given.samples.values, printable(given.name)
    if given.samples.shape == shape:
        return given
    if len(given.samples.shape) != len(shape):
        kinds = {1: "vectors", 3: "images"}
        raise UsageError(f"{what} holds {kinds[values.ndim - 1]} and {to_name} {kinds[len(shape)]}: give two of a kind")
    if len(shape) == 1:
        raise UsageError(f"{what} has {values.shape[1]} dimensions and {to_name} {shape[0]}: they must be equal")
    if given.samples.shape[1:] != shape[1:]:
        here, there = (f"{sides[1]}x{sides[0]}" for sides in (given.samples.shape[1:], shape[1:]))
        advice = f"add --resize {shape[1]} (resize={shape[1]})" if shape[1] == shape[2] else "add --resize N (resize=N)"
        raise UsageError(f"{what} holds images of {here} pixels and {to_name} of {there}: {advice}")
    if shape[0] == 3:
        logger.info("%s: grey images, read as colour like %s", what, to_name)
        return replace(given, samples=Samples(values.expand(-1, 3, -1, -1).contiguous(), given.samples.labels))
    if bool((values == values[:, :1]).all()):
        logger.info("%s: colour images whose channels are equal, read as grey like %s", what, to_name)
        return replace(given, samples=Samples(values[:, :1].contiguous(), given.samples.labels))
    raise UsageError(f"{what} holds colour images and {to_name} grey ones: convert one of the two")
