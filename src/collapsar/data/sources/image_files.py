"""A user's own images, from a folder or an array: read, brought to one shape, and put in the order of their content.

Order, split and checksum depend on the pixels and classes alone, never on names or on the order of files. Torch is not
imported: the settings of a chain need the shape.
"""

import os
import struct
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from PIL import Image, ImageOps

from collapsar.errors import UsageError, printable
from collapsar.records.words import counted

ARRAYS = (".npz", ".npy")
ARRAY_NAMES = ("samples", "images")
MOST_NAMED = 5
SPLITS = ("train", "training", "test", "testing", "val", "valid", "validation")
BROKEN = (OSError, EOFError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)
Named = tuple[str, str | None, Any]  # name, class, and a file or an array


@dataclass(frozen=True, kw_only=True)
class OwnImages:
    """Images in the order of their content.

    Attributes:
        images: uint8 [sample, channel, height, width].
        labels: Index of each image's class; None without classes.
        contents: Hash of each image's pixels; exact copies share one, and stand side by side.
        notes: What was done to the files, in words.
        checksum: Of all pixels and classes.
    """

    images: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    contents: tuple[str, ...]
    notes: tuple[str, ...]
    checksum: str


def read_images(path: str | None, *, image_size: int | None, channels: int | None, skip_broken: bool) -> OwnImages:
    """All images of a folder or of an array; kept in memory until the folder changes.

    Raises:
        UsageError: there are none, a file is broken, or their shapes differ; the text says what to set.
    """
    if path is None:
        raise UsageError("data=images needs images: set data.path to a folder, or to FILE.npz or FILE.npy")
    if image_size is not None and not (isinstance(image_size, int) and image_size >= 1):
        raise UsageError(f"data.image_size must be a number of pixels, or null for that of the files: got {image_size}")
    if channels not in (None, 1, 3):
        raise UsageError(f"data.channels must be 1 (grey), 3 (colour), or null for that of the files: got {channels}")
    place = Path(path).expanduser().absolute()
    if not (place.is_dir() or (place.is_file() and place.suffix in ARRAYS)):
        what = "is neither a folder nor .npz or .npy" if place.exists() else "does not exist"
        raise UsageError(f"data.path={printable(path)} {what}: set data.path to a folder of images, or to an array")
    return _read(place, _changed_at(place), image_size, channels, skip_broken)


def _changed_at(place: Path) -> tuple[int, ...]:
    """When a file, or a folder and the folders in it, last changed."""
    changed = place.stat().st_mtime_ns
    folders = _folders_in(place, changed) if place.is_dir() else ()
    return (changed, *(folder.stat().st_mtime_ns for folder in folders))


@cache
def _folders_in(place: Path, _changed: int) -> tuple[Path, ...]:
    return tuple(Path(entry.path) for entry in os.scandir(place) if entry.is_dir() and not entry.name.startswith("."))


@lru_cache(maxsize=2)
def _read(
    place: Path, _changed: tuple[int, ...], image_size: int | None, channels: int | None, skip_broken: bool
) -> OwnImages:
    reader = Reader(image_size)
    found = find_files(place, reader.notes) if place.is_dir() else read_array(place)
    arrays, classes, names = reader.read_all(found, skip_broken=skip_broken)
    if not arrays:
        raise UsageError(f"data.path={place} has no images: set data.path to a folder of PNG, JPEG or other images")
    images = np.stack([array.transpose(2, 0, 1) for array in with_channels(arrays, channels)])
    class_names = sorted({name for name in classes if name is not None}, key=lambda name: (_number(name), name))
    if len(class_names) == 1:
        reader.notes[f"of one class, {class_names[0]}, which counts as none"] = len(images)
        class_names = []
    labels = np.array([class_names.index(str(name)) for name in classes]) if class_names else np.zeros(len(images), int)
    contents = [blake2b(image.tobytes(), digest_size=12).hexdigest() for image in images]
    order = sorted(range(len(images)), key=lambda index: (contents[index], labels[index]))
    lines = [f"{contents[index]} {class_names[labels[index]] if class_names else ''}" for index in order]
    return OwnImages(
        images=np.ascontiguousarray(images[order]),
        labels=labels[order] if class_names else None,
        class_names=tuple(class_names),
        contents=tuple(contents[index] for index in order),
        notes=(*reader.described(), *describe_copies(contents, labels, names)),
        checksum=blake2b("\n".join([str(images.shape), *lines]).encode(), digest_size=8).hexdigest(),
    )


def find_files(folder: Path, notes: Counter[str]) -> list[Named]:
    """The images of a folder, by name: those in its folders have their class, those directly in it have none."""
    suffixes = Image.registered_extensions()
    found: list[Named] = []
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if any(part.startswith((".", "__MACOSX")) for part in place.parts) or path.is_dir():
            continue
        if path.suffix.lower() in suffixes:
            found.append((str(place), place.parts[0] if len(place.parts) > 1 else None, path))
        else:
            notes["left out, being no images"] += 1
    classes = {own for _, own, _ in found}
    if classes & set(SPLITS) and classes <= {*SPLITS, None}:
        raise UsageError(
            f"data.path={folder} has the folders {listed(sorted(map(str, classes - {None})))}, which name no classes: "
            "set data.path to one of them; the split is made by content"
        )
    if None in classes and len(classes) > 1:
        loose = [name for name, own, _ in found if own is None]
        raise UsageError(
            f"data.path={folder} has {counted(len(loose), 'image')} beside its folders of classes ({listed(loose)}): "
            "move them into a folder of their class"
        )
    return found


def read_array(path: Path) -> list[Named]:
    """The images of an array in a file, and their classes if labels stand beside it."""
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            is_one = isinstance(content, np.ndarray)
            arrays = {"images": content} if is_one else {name: content[name] for name in content}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise UsageError(f"data.path={path} cannot be read as {path.suffix[1:]}: {error}") from error
    labels, others = arrays.get("labels"), [name for name in arrays if name != "labels"]
    chosen = next((name for name in ARRAY_NAMES if name in arrays), others[0] if len(others) == 1 else None)
    if chosen is None:
        raise UsageError(f"data.path={path} must hold images or samples, and labels if any: got {listed(others)}")
    pixels = as_bytes(arrays[chosen], name=f"{chosen} of data.path={path}")
    if labels is not None and labels.shape != (len(pixels),):
        raise UsageError(f"labels of data.path={path} must be one for each of {len(pixels)}: got {list(labels.shape)}")
    if labels is not None and (labels.dtype.kind not in "iuUb" or (labels.dtype.kind == "i" and (labels < 0).any())):
        raise UsageError(f"labels of data.path={path} must be whole numbers from 0, or texts: got {labels.dtype}")
    classes = [None] * len(pixels) if labels is None else [str(label) for label in labels.tolist()]
    return [(f"number {index}", *each) for index, each in enumerate(zip(classes, pixels, strict=True))]


def as_bytes(array: np.ndarray, *, name: str) -> np.ndarray:
    """Pixels as uint8 [sample, height, width, channel]."""
    if array.ndim == 3:
        array = array[..., None]
    elif array.ndim == 4 and array.shape[1] in (1, 3, 4) and array.shape[3] not in (1, 3, 4):
        array = array.transpose(0, 2, 3, 1)
    if array.ndim != 4 or array.shape[3] not in (1, 3, 4):
        raise UsageError(
            f"{name} must be [sample, height, width], with 1, 3 or 4 channels last or second: got {list(array.shape)}"
        )
    if array.dtype == np.uint8 or not array.size:
        return array.astype(np.uint8)
    low, high = float(array.min()), float(array.max())
    most = 255 if array.dtype.kind in "iu" else 1
    if array.dtype.kind not in "iufb" or not 0 <= low <= high <= most:
        raise UsageError(f"{name} must hold bytes from 0 to 255, or numbers from 0 to 1: got {low:g} to {high:g}")
    return (array.astype(np.float64) * (255 // most)).round().astype(np.uint8)


class Reader:
    """Reads images one by one, resizes them, and counts what it had to do.

    Args:
        image_size: Pixels of a side: images are resized to cover it, and cropped in the middle; None keeps them.
    """

    def __init__(self, image_size: int | None) -> None:
        self.image_size = image_size
        self.notes: Counter[str] = Counter()

    def read_all(
        self, found: Iterable[Named], *, skip_broken: bool
    ) -> tuple[list[np.ndarray], list[str | None], list[str]]:
        """Arrays [height, width, 1 or 3] of one size, and their classes and names; refuses broken files by name."""
        arrays, classes, names, broken = list[np.ndarray](), list[str | None](), list[str](), list[str]()
        for name, own, source in found:
            try:
                array = self.read(source)
            except BROKEN as error:
                broken.append(f"{name} ({str(error).partition(chr(10))[0].replace(str(source), name)})")
                continue
            if arrays and array.shape[:2] != arrays[0].shape[:2]:
                first, other = ("x".join(map(str, each.shape[1::-1])) for each in (arrays[0], array))
                raise UsageError(
                    f"the images differ in size, as {names[0]} of {first} and {name} of {other} pixels: set "
                    f"data.image_size={min(*arrays[0].shape[:2], *array.shape[:2])}, or another size, to resize them"
                )
            arrays.append(array)
            classes.append(own)
            names.append(name)
        if broken and not skip_broken:
            raise UsageError(
                f"{counted(len(broken), 'image')} cannot be read: {listed(broken)}; mend or remove what is broken, or "
                "set data.skip_broken=true to leave it out"
            )
        if broken:
            self.notes[f"left out, being broken: {listed(broken)}"] = len(broken)
        return arrays, classes, names

    def read(self, source: Any) -> np.ndarray:
        """One image of a file or an array, as [height, width, 1 or 3]."""
        if isinstance(source, np.ndarray):
            return self.sized(self.plain(Image.fromarray(source.squeeze(2) if source.shape[2] == 1 else source)))
        with Image.open(source) as image:
            self.notes["animated: the first picture is taken"] += getattr(image, "n_frames", 1) > 1
            upright = ImageOps.exif_transpose(image)
            self.notes["turned upright, as their EXIF says"] += upright.size != image.size
            return self.sized(self.plain(upright))

    def plain(self, image: Image.Image) -> Image.Image:
        """The image in grey (L) or in colour (RGB): without palette and transparency, in eight bits."""
        if image.mode in ("L", "RGB"):
            return image
        if image.mode == "1":
            return image.convert("L")
        if image.mode == "F":
            raise ValueError("its pixels are not whole numbers")
        if image.mode.startswith("I"):
            self.notes["reduced from sixteen bits to eight"] += 1
            return Image.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8))
        has_alpha = image.has_transparency_data
        is_grey, has_palette = image.mode in ("LA", "La"), image.mode == "P"
        if has_palette:
            self.notes["with a palette, replaced by its colours"] += 1
        elif not has_alpha:
            self.notes[f"converted from {image.mode}"] += 1
        if has_alpha:
            image = image.convert("RGBA")
            if image.getchannel("A").getextrema() != (255, 255):
                self.notes["transparent, laid on white"] += 1
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        coloured = image.convert("RGB")
        red, green, blue = coloured.split()
        return red if is_grey or (has_palette and red == green == blue) else coloured

    def sized(self, image: Image.Image) -> np.ndarray:
        """The pixels at the size that is set."""
        side = self.image_size
        if side is not None and image.size != (side, side):
            self.notes[f"resized to {side} pixels"] += 1
            self.notes["cropped to a square"] += image.width != image.height
            self.notes["smaller before, so that they are blurred"] += min(image.size) < side
            image = ImageOps.fit(image, (side, side), method=Image.Resampling.LANCZOS)
        return np.atleast_3d(np.asarray(image))

    def described(self) -> Iterator[str]:
        """What was done, in words, with the number of images."""
        for what, number in self.notes.items():
            if number:
                yield f"{number:,} {what}"


def with_channels(arrays: list[np.ndarray], channels: int | None) -> list[np.ndarray]:
    """The images in grey or in colour; None is that of the files, and refuses files of both kinds."""
    num_grey = sum(array.shape[2] == 1 for array in arrays)
    if channels is None and 0 < num_grey < len(arrays):
        raise UsageError(
            f"{num_grey} of the {len(arrays)} images are grey and the others in colour: set data.channels=1 or 3"
        )
    if channels == 1:
        luma = ((array, Image.fromarray(array)) for array in arrays if array.shape[2] == 3)
        converted = {id(array): np.atleast_3d(np.asarray(image.convert("L"))) for array, image in luma}
        return [converted.get(id(array), array) for array in arrays]
    return [array.repeat(3, axis=2) if channels == 3 and array.shape[2] == 1 else array for array in arrays]


def describe_copies(contents: list[str], labels: np.ndarray, names: list[str]) -> Iterator[str]:
    """How many images are exact copies of others, in words, with an example."""
    places = defaultdict[str, list[int]](list)
    for index, content in enumerate(contents):
        places[content].append(index)
    copied = [own for own in places.values() if len(own) > 1]
    if copied:
        num_copies, example = len(contents) - len(places), " and ".join(names[index] for index in copied[0][:2])
        text = f"{num_copies:,} exact copies of others, such as {example}; copies stay on one side of the split"
        num_unclear = sum(len(set(labels[own].tolist())) > 1 for own in copied)
        yield f"{text}; {num_unclear} of them in several classes" if num_unclear else text


def listed(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = [f"{len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else []
    return printable(", ".join([*names[:MOST_NAMED], *more]) or "none")


def _number(name: str) -> int | float:
    """Classes that are numbers stand in their order."""
    return int(name) if name.isascii() and name.isdigit() else float("inf")
