"""Images of a user's own, from a folder or an array, split into training and test images by their content.

Order, split and checksum depend on the pixels and classes alone, never on names or on the order of files.
"""

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from itertools import groupby
from pathlib import Path

import numpy as np
import torch

from collapsar.data.real_data import RealData, Sizes, Source, StickSplit
from collapsar.data.sources.pictures import ARRAYS, Named, as_pixels, find_images, listed, load_arrays, read_all
from collapsar.data.sources.real import subset_size
from collapsar.foundations.errors import UsageError, check_fraction, printable
from collapsar.foundations.samples import Samples
from collapsar.foundations.words import counted

logger = logging.getLogger(__name__)

SMALLEST_SIDE = 4  # of `models.layers`
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
    folders = [Path(entry.path) for entry in os.scandir(place) if entry.is_dir()] if place.is_dir() else []
    changed_at = tuple(each.stat().st_mtime_ns for each in (place, *folders))
    return _read(place, changed_at, image_size, channels, skip_broken)


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
        problem = f"{num_grey} of the {num_images} images are grey and the others in colour"
        raise UsageError(f"{problem}: set data.channels=1 or 3")
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
        problem = f"{what} has the folders {listed(sorted(map(str, classes - {None})))}, which name no classes"
        raise UsageError(f"{problem}: set data.path to one of them; the split is made by content")
    if None in classes and len(classes) > 1:
        loose = [name for name, own, _ in found if own is None]
        problem = f"{what} has {counted(len(loose), 'image')} beside its folders of classes ({listed(loose)})"
        raise UsageError(f"{problem}: move them into a folder of their class")


def _named_images(path: Path, *, what: str) -> list[Named]:
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


class Images(Source):
    """Images of a folder, with a class for each folder in it, or of an array.

    In each class, the images whose content has the lowest hashes are held out; exact copies stay on one side. So the
    split is the same for the same images, whatever their names. `conf/data/images.yaml` explains each setting.
    """

    name = "images"

    def __init__(
        self,
        *,
        sample_shape: list[int],
        path: str | None,
        checksum: str | None,
        image_size: int | None,
        channels: int | None,
        skip_broken: bool,
        num_classes: int | None,
        test_fraction: float,
        num_train: int | float | None,
    ) -> None:
        check_fraction(**{"data.test_fraction": test_fraction})
        found = read_images(path, image_size=image_size, channels=channels, skip_broken=skip_broken)
        shape, known = list(found.images.shape[1:]), len(found.class_names)
        if sample_shape != shape or checksum != found.checksum or num_classes not in (None, known):
            which = f"which are {shape}, {found.checksum} and {known}"
            problem = f"data.sample_shape, checksum and num_classes follow from the images, {which}"
            raise UsageError(f"{problem}: got {sample_shape}, {checksum} and {num_classes}; leave them out")
        sides = shape[1:]
        if any(side % 2 or side <= SMALLEST_SIDE for side in sides) or max(sides) > 2 * min(sides):
            allowed = f"even sides above {SMALLEST_SIDE} pixels, which networks can halve"
            problem = f"images must have {allowed}, none more than twice as long as the other"
            raise UsageError(f"{problem}: got {shape[2]}x{shape[1]}; set data.image_size to such a number")
        check_classes(found)
        everything = np.arange(len(found.images))
        self._test = first_by_content(found, everything, size=round(test_fraction * len(everything)), is_test=True)
        self._train = np.setdiff1d(everything, self._test)
        if not len(self._test) or not len(self._train):
            problem = "data.test_fraction must leave images for training and for tests"
            raise UsageError(f"{problem}: got {test_fraction} of {counted(len(everything), 'image')}")
        size = subset_size(num_train, num_available=len(self._train), num_classes=max(1, known))
        self._found, self._chosen = found, first_by_content(found, self._train, size=size)
        sizes = Sizes(len(self._chosen), len(self._test), len(self._train) - len(self._chosen))
        super().__init__(sample_shape=shape, sizes=sizes, num_classes=known)
        for line in (describe(self, found), *found.notes):
            logger.info("%s: %s", path, line)

    def read(self) -> RealData:
        found, train = self._found, self._train
        labels = None if found.labels is None else torch.from_numpy(found.labels)
        everything, at = Samples(torch.from_numpy(found.images), labels), torch.from_numpy
        real = RealData(everything[at(train)], everything[at(self._test)], self.num_classes)
        if self.num_classes:
            unseen = first_by_content(found, train, size=min(self.sizes.test, len(train) // 4))
            split = StickSplit(official=real.train, unseen_indices=at(np.searchsorted(train, unseen)))
            real = replace(real, stick_split=split)
        if not self.sizes.reserve:
            return real
        rest = np.setdiff1d(train, self._chosen)
        return replace(real, train=everything[at(self._chosen)], reserve=everything[at(rest)])


def check_classes(found: OwnImages) -> None:
    """Refuse a class that has no two different images: one to train on, and one to test on."""
    if found.labels is None:
        return
    different = Counter(dict(zip(found.contents, found.labels.tolist(), strict=True)).values())
    for index, name in enumerate(found.class_names):
        if different[index] < 2:
            problem = f"class {name} must have at least two different images, to train and to test on"
            raise UsageError(f"{problem}: got {different[index]}; add some, or remove the class")


def describe(source: Images, found: OwnImages) -> str:
    """What was found, in one line."""
    channels, height, width = found.images.shape[1:]
    sizes = source.sizes
    names = listed([f"{index} {name}" for index, name in enumerate(found.class_names)])
    classes = f"{counted(len(found.class_names), 'class')} ({names})" if found.class_names else "no classes"
    return (
        f"{counted(len(found.images), 'image')} of {width}x{height} pixels in {'grey' if channels == 1 else 'colour'}, "
        f"{classes}: {sizes.train:,} to train on, {sizes.test:,} held out"
        + (f", {sizes.reserve:,} in reserve" if sizes.reserve else "")
    )


def first_by_content(found: OwnImages, among: np.ndarray, *, size: int, is_test: bool = False) -> np.ndarray:
    """Indices of `size` images, the first of each class by content, with exact copies together; in rising order.

    The classes keep their proportions as far as copies let them. A test set leaves each class something to train on.
    """
    labels = np.zeros(len(found.contents), int) if found.labels is None else found.labels
    contents = [list(copies) for _, copies in groupby(among.tolist(), key=lambda index: found.contents[index])]
    left = Counter(labels[copies[0]] for copies in contents)
    room = shares(np.bincount(labels[among]), size=size)
    chosen: list[int] = []
    for is_by_class in (True, False):  # then what copies have left open
        taken = set(chosen)
        for copies in [copies for copies in contents if copies[0] not in taken]:
            own = labels[copies[0]]
            if len(copies) <= (room[own] if is_by_class else size - len(chosen)) and left[own] > is_test:
                chosen += copies
                left[own] -= 1
                room[own] -= len(copies)
    return np.sort(np.array(chosen, dtype=np.int64))


def shares(counts: np.ndarray, *, size: int) -> np.ndarray:
    """How many of `size` each class gets: in proportion to its count, and one at least if there is room."""
    exact = counts * (size / max(1, counts.sum()))
    whole = np.maximum(np.floor(exact).astype(int), (counts > 0) & (size >= len(counts)))
    for index in np.argsort(whole - exact, kind="stable")[: max(0, size - int(whole.sum()))]:
        whole[index] += 1
    while whole.sum() > size:
        whole[np.argmax(whole)] -= 1
    return whole
