"""Images of a user's own, split into training and test images by their content."""

import logging
from collections import Counter
from dataclasses import replace
from itertools import groupby

import numpy as np
import torch

from collapsar.data.real_data import RealData, Sizes, Source, StickSplit
from collapsar.data.sources.image_files import OwnImages, read_images
from collapsar.data.sources.pictures import listed
from collapsar.data.sources.real import subset_size
from collapsar.errors import UsageError, check_fraction
from collapsar.records.words import counted
from collapsar.samples import Samples

logger = logging.getLogger(__name__)

SMALLEST_SIDE = 4  # of `models.layers`


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
            raise UsageError(
                f"data.sample_shape, checksum and num_classes follow from the images, which are {shape}, "
                f"{found.checksum} and {known}: got {sample_shape}, {checksum} and {num_classes}; leave them out"
            )
        sides = shape[1:]
        if any(side % 2 or side <= SMALLEST_SIDE for side in sides) or max(sides) > 2 * min(sides):
            raise UsageError(
                f"images must have even sides above {SMALLEST_SIDE} pixels, which networks can halve, none more than "
                f"twice as long as the other: got {shape[2]}x{shape[1]}; set data.image_size to such a number"
            )
        check_classes(found)
        everything = np.arange(len(found.images))
        self._test = first_by_content(found, everything, size=round(test_fraction * len(everything)), is_test=True)
        self._train = np.setdiff1d(everything, self._test)
        if not len(self._test) or not len(self._train):
            raise UsageError(
                f"data.test_fraction must leave images for training and for tests: got {test_fraction} of "
                f"{counted(len(everything), 'image')}"
            )
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
            raise UsageError(
                f"class {name} must have at least two different images, to train and to test on: got "
                f"{different[index]}; add some, or remove the class"
            )


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
