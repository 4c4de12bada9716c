"""Images of a folder or an array as pixels of one size: how chains read images of one's own, and how scores do.

Torch is imported for a `.pt` file only: the settings of a chain need the shape of its images.
"""

import logging
import os
import pickle
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from PIL import Image, ImageOps

from collapsar.foundations.errors import UsageError, check_memory, printable
from collapsar.foundations.words import counted

logger = logging.getLogger(__name__)

ARRAYS = (".npz", ".npy", ".pt")
SAMPLES = ("samples", "images", "arr_0")  # names of the samples among several arrays
BESIDE = ("labels", "arr_1", "strip")  # names of arrays that are no samples
MOST_NAMED = 5
BROKEN_IMAGE = (OSError, EOFError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)
BROKEN_FILE = (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile, pickle.UnpicklingError)
Named = tuple[str, str | None, Path | np.ndarray]  # name, class, and a file or the pixels of an array


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Images of one size, each uint8 [height, width, 1 or 3]; their classes, None without one; and what was done."""

    images: list[np.ndarray]
    names: list[str]
    classes: list[str | None]
    notes: tuple[str, ...]

    @property
    def num_grey(self) -> int:
        return sum(image.shape[2] == 1 for image in self.images)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The classes, those that are numbers in their order; empty if an image has none, or if there is only one."""
        names = set(self.classes)
        return tuple(sorted(map(str, names), key=_class_order)) if len(names - {None}) == len(names) > 1 else ()

    @property
    def labels(self) -> np.ndarray | None:
        """Place of each image's class among `class_names`; None without any."""
        places = {name: place for place, name in enumerate(self.class_names)}
        return np.array([places[str(name)] for name in self.classes]) if places else None

    def stacked(self, channels: int | None = None) -> np.ndarray:
        """uint8 [sample, channel, height, width] in grey (1) or in colour (3); None: as all images are."""
        images = [image if channels is None else _in_channels(image, channels) for image in self.images]
        return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))


def find_images(folder: Path) -> tuple[list[Named], int]:
    """The images in and below a folder in the order of their names, and the number of other files.

    A class is the first folder that an image lies in. Hidden files and folders do not count.
    """
    suffixes = {suffix for suffix, form in Image.registered_extensions().items() if form in Image.OPEN}
    places: list[Path] = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        if Path(parent) != folder and Path(parent).parent.resolve().is_relative_to(Path(parent).resolve()):
            folders.clear()  # a link to a folder that it lies in
        else:
            places += [Path(parent, name).relative_to(folder) for name in names]
    seen = [place for place in places if not any(part.startswith((".", "__MACOSX")) for part in place.parts)]
    images = sorted((each for each in seen if each.suffix.lower() in suffixes), key=lambda each: natural(str(each)))
    found: list[Named] = [(str(each), each.parts[0] if each.parts[1:] else None, folder / each) for each in images]
    return found, len(seen) - len(images)


def load_arrays(path: Path, *, what: str) -> tuple[Any, Any]:
    """Samples and labels (or None) of a file of ARRAYS; UsageError if it is broken or unclear. No code of it is run."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".pt":
            import torch

            content = torch.load(path, map_location="cpu", weights_only=True)
        else:
            with path.open("rb") as file:  # np.load itself leaves a broken file open
                content = np.load(file)
                content = content if isinstance(content, np.ndarray) else {name: content[name] for name in content}
    except BROKEN_FILE as error:  # libraries advise to run the code of a file that holds some
        has_code = isinstance(error, pickle.UnpicklingError) or "pickle" in str(error)
        text = "it is damaged, or holds objects other than arrays" if has_code else _first_line(error)
        raise UsageError(f"{what} cannot be read as {suffix}: {text}") from error
    if isinstance(content, Mapping):
        return _choose_arrays(content, what=what)
    return tuple(content) if isinstance(content, Sequence) and len(content) == 2 else (content, None)


def _choose_arrays(arrays: Mapping[str, Any], *, what: str) -> tuple[Any, Any]:
    """The samples among arrays by name, or the only array; and the labels, if there are any."""
    others = [name for name in arrays if name not in BESIDE]
    name = next((name for name in SAMPLES if name in arrays), others[0] if len(others) == 1 else None)
    if name is None:
        raise UsageError(f"{what} must hold one array, or samples and labels: got {listed(list(arrays))}")
    if left := [other for other in others if other != name]:
        logger.info("%s: left alone: the arrays %s", what, listed(left))
    return arrays[name], arrays.get("labels", arrays.get("arr_1") if name == "arr_0" else None)


def as_pixels(array: np.ndarray, *, what: str) -> np.ndarray:
    """Images [N, H, W], or with 1, 3 or 4 channels second or last, as uint8 [N, H, W, C].

    Whole numbers are levels from 0 to 255. Floats lie in [0, 1] and are rounded to 256 levels, with a note.
    """
    shape = array.shape
    if array.ndim == 3:
        array = array[..., None]
    elif array.ndim == 4 and (shape[1] in (1, 3) or (shape[1] == 4 and shape[3] not in (1, 3, 4))):
        array = np.moveaxis(array, 1, 3)
    if array.ndim != 4 or array.shape[3] not in (1, 3, 4) or array.dtype.kind not in "iufb":
        problem = f"{what} must be numbers [sample, height, width], or with 1, 3 or 4 channels second or last"
        raise UsageError(f"{problem}: got {array.dtype} {list(shape)}")
    if array.dtype == np.uint8 or not array.size:
        return array.astype(np.uint8)
    low, high, is_whole = float(array.min()), float(array.max()), array.dtype.kind in "iu"
    if not (low >= 0 and high <= (255 if is_whole else 1)):
        advice = "; scale them as (x + 1) / 2" if not is_whole and low >= -1 and high <= 1 else ""
        advice = "; divide them by 255" if not is_whole and low >= 0 and high <= 255 else advice
        problem = f"images of {what} must be whole numbers from 0 to 255, or floats from 0 to 1"
        raise UsageError(f"{problem}: got {low:g} to {high:g}{advice}")
    if is_whole:
        return array.astype(np.uint8)
    logger.info("%s: floats from %g to %g, read as [0, 1] and rounded to 256 levels", what, low, high)
    return np.stack([np.rint(image.astype(np.float64) * 255).astype(np.uint8) for image in array])


def read_all(
    found: Sequence[Named],
    *,
    what: str,
    side: int | None,
    resize: str,
    skip: str = "",
    is_skipping: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> Pictures:
    """Decode images, and resize them to squares of `side` pixels; None keeps their size.

    Errors call the images `what`, and name the settings that `resize` them and `skip` broken ones: UsageError if images
    differ in size, or some are broken and `is_skipping` is false. `advance` is called after each image.
    """
    check_memory("the images", len(found) * 3 * (side or 0) ** 2, advice=f"set {resize} to fewer pixels")
    notes, broken, read = Counter[str](), list[str](), list[tuple[str, str | None, np.ndarray]]()
    with ThreadPoolExecutor() as pool:
        decoded = pool.map(partial(_decode, side=side), (source for *_, source in found))
        for (name, own, source), result in zip(found, decoded, strict=True):
            advance()
            if isinstance(result, Exception):
                broken.append(f"{name} ({_first_line(result).replace(str(source), name)})")
            else:
                read.append((name, own, result[0]))
                notes.update(note for note, is_so in result[1].items() if is_so)
    if broken and not is_skipping:
        advice = f", or set {skip} to leave it out" if skip else ""
        problem = f"{counted(len(broken), 'image')} of {what} cannot be read"
        raise UsageError(f"{problem}: {listed(broken)}; mend or remove what is broken{advice}")
    if broken:
        notes[f"left out, being broken: {listed(broken)}"] = len(broken)
    sizes = {image.shape[1::-1]: name for name, _, image in reversed(read)}
    if len(sizes) > 1:
        examples = " and ".join(f"{printable(name)} of {wide}x{high}" for (wide, high), name in [*sizes.items()][-2:])
        raise UsageError(f"images of {what} differ in size, as {examples} pixels: set {resize} to resize them")
    return Pictures(
        images=[image for *_, image in read],
        names=[name for name, *_ in read],
        classes=[own for _, own, _ in read],
        notes=tuple(f"{number:,} {note}" for note, number in notes.items()),
    )


def _decode(source: Path | np.ndarray, *, side: int | None) -> tuple[np.ndarray, dict[str, bool]] | Exception:
    """An image as [height, width, 1 or 3], with notes that hold of it or not; an exception if it is broken."""
    if isinstance(source, np.ndarray):
        return _plain(Image.fromarray(source.squeeze(2) if source.shape[2] == 1 else source), side=side)
    try:
        with Image.open(source) as file:
            upright = ImageOps.exif_transpose(file)
            image, notes = _plain(upright, side=side)
            return image, notes | {
                "animated: the first picture is taken": getattr(file, "n_frames", 1) > 1,
                "turned upright, as their EXIF says": upright.size != file.size,
            }
    except BROKEN_IMAGE as error:
        return error


def _plain(image: Image.Image, *, side: int | None) -> tuple[np.ndarray, dict[str, bool]]:
    """An image in grey or in colour, in eight bits, laid on white, and of the size that is set; and what was done."""
    mode, has_alpha, is_deep = image.mode, image.has_transparency_data, image.mode.startswith("I")
    if mode == "F":
        raise ValueError("its pixels are not whole numbers")
    if is_deep and not 0 <= np.asarray(image).min() <= np.asarray(image).max() < 2**16:
        raise ValueError("its pixels do not lie between 0 and 65535")
    notes = {
        "reduced from sixteen bits to eight": is_deep,
        "with a palette, replaced by its colours": mode == "P",
        f"converted from {mode}": not (has_alpha or is_deep or mode in ("1", "L", "RGB", "P")),
    }
    if is_deep:
        image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
    elif has_alpha:
        image = image.convert("RGBA")
        notes["transparent, laid on white"] = image.getchannel("A").getextrema() != (255, 255)
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if is_deep or mode in ("1", "L", "LA", "La") else "RGB")
    if mode == "P" and len({channel.tobytes() for channel in image.split()}) == 1:
        image = image.getchannel(0)
    if side is not None and image.size != (side, side):
        notes[f"resized to {side} pixels"] = True
        notes["cropped to a square"] = image.width != image.height
        notes["smaller before, so that they are blurred"] = min(image.size) < side
        image = ImageOps.fit(image, (side, side), method=Image.Resampling.LANCZOS)
    return np.atleast_3d(np.asarray(image)), notes


def _in_channels(image: np.ndarray, channels: int) -> np.ndarray:
    if channels == image.shape[2]:
        return image
    return image.repeat(3, axis=2) if channels == 3 else np.asarray(Image.fromarray(image).convert("L"))[..., None]


def _first_line(error: Exception) -> str:
    return printable((str(error) or type(error).__name__).splitlines()[0])


def listed(names: Iterable[object], *, most: int = MOST_NAMED, between: str = ", ") -> str:
    """The first few names on one line, and how many more there are."""
    texts = [printable(str(name)) for name in names]
    more = [f"{len(texts) - most} more"] if len(texts) > most else []
    return between.join([*texts[:most], *more]) if texts else "none"


def _class_order(name: str) -> tuple[int | float, str]:
    return int(name) if name.isascii() and name.isdigit() else float("inf"), name


def natural(text: str) -> list[tuple[int, str]]:
    """A key that sorts numbers within a text by their size."""
    return [(int(part or 0) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", text)]
