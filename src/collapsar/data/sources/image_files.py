"""A user's own images, from a folder or an array, in the order of their content.

Order, split and checksum depend on the pixels and classes alone, never on names or on the order of files. Torch is not
imported: the settings of a chain need the shape.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import numpy as np

from collapsar.data.sources.pictures import ARRAYS, Named, as_pixels, find_images, listed, load_arrays, read_all
from collapsar.errors import UsageError, printable
from collapsar.records.words import counted

SPLITS = ("train", "training", "test", "testing", "val", "valid", "validation")


@dataclass(frozen=True, kw_only=True)
class OwnImages:
    """Images in the order of their content."""

    images: np.ndarray  # uint8 [sample, channel, height, width]
    labels: np.ndarray | None  # index of each image's class; None without classes
    class_names: tuple[str, ...]
    contents: tuple[str, ...]  # hash of each image's pixels; exact copies share one, and stand side by side
    notes: tuple[str, ...]  # what was done to the files, in words
    checksum: str  # of all pixels and classes


def read_images(path: str | None, *, image_size: int | None, channels: int | None, skip_broken: bool) -> OwnImages:
    """All images of a folder or of an array; kept in memory until the folder changes. UsageErrors say what to set."""
    if path is None:
        raise UsageError("data=images needs images: set data.path to a folder, or to FILE.npz or FILE.npy")
    if image_size is not None and not (isinstance(image_size, int) and image_size >= 1):
        raise UsageError(f"data.image_size must be a number of pixels, or null for that of the files: got {image_size}")
    if channels not in (None, 1, 3):
        raise UsageError(f"data.channels must be 1 (grey), 3 (colour), or null for that of the files: got {channels}")
    place = Path(path).expanduser().absolute()
    if not (place.is_dir() or (place.is_file() and place.suffix in ARRAYS)):
        what = f"is neither a folder nor {', '.join(ARRAYS)}" if place.exists() else "does not exist"
        raise UsageError(f"data.path={printable(path)} {what}: set data.path to a folder of images, or to an array")
    return _read(place, _changed_at(place), image_size, channels, skip_broken)


def _changed_at(place: Path) -> tuple[int, ...]:
    """When a file, or a folder and the folders in it, last changed."""
    folders = [Path(entry.path) for entry in os.scandir(place) if entry.is_dir()] if place.is_dir() else []
    return tuple(each.stat().st_mtime_ns for each in (place, *folders))


@lru_cache(maxsize=2)
def _read(
    place: Path, _changed: tuple[int, ...], image_size: int | None, channels: int | None, skip_broken: bool
) -> OwnImages:
    what, others = f"data.path={printable(str(place))}", 0
    if place.is_dir():
        found, others = find_images(place)
        _check_folders(found, what=what)
    else:
        found = _named_images(place, what=what)
    pictures = read_all(
        found,
        what=what,
        side=image_size,
        resize="data.image_size",
        skip="data.skip_broken=true",
        is_skipping=skip_broken,
    )
    num_images, num_grey = len(pictures.images), pictures.num_grey
    if not num_images:
        raise UsageError(f"{what} has no images: set data.path to a folder of PNG, JPEG or other images")
    if channels is None and 0 < num_grey < num_images:
        raise UsageError(
            f"{num_grey} of the {num_images} images are grey and the others in colour: set data.channels=1 or 3"
        )
    images, notes = pictures.stacked(channels), [f"{others:,} left out, being no images"] if others else []
    class_names, known = pictures.class_names, pictures.labels
    if not class_names and pictures.classes[0] is not None:
        notes.append(f"{num_images:,} of one class, {pictures.classes[0]}, which counts as none")
    labels = np.zeros(num_images, int) if known is None else known
    contents = [blake2b(image.tobytes(), digest_size=12).hexdigest() for image in images]
    order = sorted(range(num_images), key=lambda index: (contents[index], labels[index]))
    lines = [f"{contents[index]} {class_names[labels[index]] if class_names else ''}" for index in order]
    return OwnImages(
        images=np.ascontiguousarray(images[order]),
        labels=None if known is None else known[order],
        class_names=class_names,
        contents=tuple(contents[index] for index in order),
        notes=(*notes, *pictures.notes, *_describe_copies(contents, labels, pictures.names)),
        checksum=blake2b("\n".join([str(images.shape), *lines]).encode(), digest_size=8).hexdigest(),
    )


def _check_folders(found: list[Named], *, what: str) -> None:
    classes = {own for _, own, _ in found}
    if classes & set(SPLITS) and classes <= {*SPLITS, None}:
        raise UsageError(
            f"{what} has the folders {listed(sorted(map(str, classes - {None})))}, which name no classes: "
            "set data.path to one of them; the split is made by content"
        )
    if None in classes and len(classes) > 1:
        loose = [name for name, own, _ in found if own is None]
        raise UsageError(
            f"{what} has {counted(len(loose), 'image')} beside its folders of classes ({listed(loose)}): "
            "move them into a folder of their class"
        )


def _named_images(path: Path, *, what: str) -> list[Named]:
    """The images of an array in a file, and their classes if labels stand beside it."""
    values, labels = (None if array is None else np.asarray(array) for array in load_arrays(path, what=what))
    pixels = as_pixels(np.asarray(values), what=what)
    if labels is not None and labels.shape != (len(pixels),):
        raise UsageError(f"labels of {what} must be one for each of {len(pixels)}: got {list(labels.shape)}")
    if labels is not None and (labels.dtype.kind not in "iuUb" or (labels.dtype.kind == "i" and (labels < 0).any())):
        raise UsageError(f"labels of {what} must be whole numbers from 0, or texts: got {labels.dtype}")
    classes = [None] * len(pixels) if labels is None else map(str, labels.tolist())
    return [(f"number {index}", *each) for index, each in enumerate(zip(classes, pixels, strict=True))]


def _describe_copies(contents: list[str], labels: np.ndarray, names: list[str]) -> Iterator[str]:
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
