"""Samples from whatever a user holds: a folder of images, a file, an array or a tensor.

All become the sample convention: uint8 images [N, C, H, W], or float32 vectors [N, D]. Nothing is dropped or converted
without a note; what cannot be read is refused by its name.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from collapsar.data.sources.pictures import ARRAYS, Named, as_pixels, find_images, load_arrays, read_all
from collapsar.foundations.errors import UsageError, printable
from collapsar.foundations.files import archive_is_whole
from collapsar.foundations.samples import UNLABELLED, Samples
from collapsar.foundations.words import counted
from collapsar.judging.progress import advance

logger = logging.getLogger(__name__)

TABLES = (".csv", ".parquet")
KNOWN = "a folder of images, or a file .npz, .npy, .pt, .csv or .parquet"


@dataclass(frozen=True)
class Given:
    """Samples as a user gave them."""

    name: str  # in messages and tables
    samples: Samples
    class_names: tuple[str, ...] = ()  # of the labels, from subfolders; empty if labels are numbers or unknown

    @property
    def num_classes(self) -> int:
        """Labels run from 0 to num_classes - 1; 0 without labels."""
        labels = self.samples.labels
        return 0 if labels is None else len(self.class_names) or int(labels.max()) + 1

    @property
    def without_labels(self) -> "Given":
        return Given(self.name, Samples(self.samples.values))


def read_samples(given: Any, *, name: str, side: int | None = None) -> Given:
    """The samples of a path, an array, a tensor, `Samples`, or a pair of samples and labels; UsageError by its name.

    Subfolders of a folder of images are the classes, if all images lie in some. `side` resizes images, after a cut to
    squares from their middle; None leaves them as they are.
    """
    if not isinstance(given, str | os.PathLike):
        values, labels = (given.values, given.labels) if isinstance(given, Samples) else (given, None)
        if isinstance(given, tuple) and len(given) == 2:
            values, labels = given
        return _from_arrays(values, labels, name=name, side=side)
    path, what = Path(given).expanduser(), printable(name)
    if (path / "samples.npz").is_file():
        path /= "samples.npz"
    if path.is_dir():
        found, num_others = find_images(path)
        if not found:
            raise UsageError(f"{what} holds no images: give {KNOWN}, or a run folder")
        if num_others:
            logger.info("%s: %s left alone", what, counted(num_others, "other file"))
        return _from_images(found, name=name, side=side)
    if not path.is_file():
        raise UsageError(f"there is no {what}: give {KNOWN}")
    if path.suffix.lower() not in ARRAYS:
        raise UsageError(f"{what} must be {KNOWN}: got {path.suffix or 'no suffix'}")
    if path.suffix.lower() == ".npz" and archive_is_whole(path) is False:
        raise UsageError(f"{what} cannot be read as .npz: it is damaged, by its checksum")
    return _from_arrays(*load_arrays(path, what=what), name=name, side=side)


def _from_arrays(values: Any, labels: Any, *, name: str, side: int | None) -> Given:
    what = printable(name)
    try:
        tensor, given_labels = (None if each is None else _as_tensor(each) for each in (values, labels))
    except (TypeError, ValueError, RuntimeError) as error:
        got = getattr(values, "dtype", type(values).__name__)
        raise UsageError(f"{what} must be numbers in an array or a tensor, not sparse: got {got}") from error
    if tensor is None or not tensor.ndim or not len(tensor):
        raise UsageError(f"{what} holds no samples: give {KNOWN}")
    if tensor.ndim == 2:
        samples = tensor.to(torch.float32).contiguous()
        if not samples.isfinite().all():
            raise UsageError(f"{what} holds NaN or infinite values: leave these samples out")
    else:
        pixels = as_pixels((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy(), what=what)
        found = [(f"number {place}", None, image) for place, image in enumerate(pixels)]
        samples = _from_images(found, name=name, side=side).samples.values
    return Given(name, Samples(samples, None if given_labels is None else _as_labels(given_labels, samples, what=what)))


def _as_tensor(values: Any) -> Tensor:
    if isinstance(values, Tensor):
        if values.layout != torch.strided or values.is_quantized:
            raise TypeError(values.layout)
        return values.detach().cpu()
    return torch.from_numpy(np.require(values, requirements=["W"]))


def _as_labels(labels: Tensor, samples: Tensor, *, what: str) -> Tensor:
    if labels.shape != samples.shape[:1] or labels.is_floating_point() or labels.is_complex():
        problem = f"labels of {what} must be {len(samples)} whole numbers, one a sample"
        raise UsageError(f"{problem}: got {labels.dtype} {list(labels.shape)}")
    labels = labels.to(torch.int64)  # the larger half of uint64 becomes negative
    if int(labels.min()) < UNLABELLED:
        raise UsageError(f"labels of {what} must be 0 or above ({UNLABELLED}: unknown): got {int(labels.min())}")
    return labels


def _from_images(found: Sequence[Named], *, name: str, side: int | None) -> Given:
    what, count = printable(name), partial(advance, "images read", of=len(found))
    pictures = read_all(found, what=what, side=side, resize="--resize N (resize=N)", advance=count)
    is_mixed = 0 < pictures.num_grey < len(found)
    mixed = [f"{counted(pictures.num_grey, 'grey image')} read as colour, like the others"] if is_mixed else []
    for note in (*pictures.notes, *mixed):
        logger.info("%s: %s", what, note)
    values, labels = torch.from_numpy(pictures.stacked(3 if is_mixed else None)), pictures.labels
    return Given(name, Samples(values, None if labels is None else torch.from_numpy(labels)), pictures.class_names)


def alike(given: Given, *, shape: tuple[int, ...], to_name: str) -> Given:
    """The samples with as many channels as those they are compared with, if only that differs; else a refusal."""
    own, values, what = given.samples.shape, given.samples.values, printable(given.name)
    if own == shape:
        return given
    if len(own) != len(shape):
        kinds = {1: "vectors", 3: "images"}
        raise UsageError(f"{what} holds {kinds[len(own)]} and {to_name} {kinds[len(shape)]}: give two of a kind")
    if len(shape) == 1:
        raise UsageError(f"{what} has {own[0]} dimensions and {to_name} {shape[0]}: they must be equal")
    if own[1:] != shape[1:]:
        side = shape[1] if shape[1] == shape[2] else "N"
        problem = f"{what} holds images of {own[2]}x{own[1]} pixels and {to_name} of {shape[2]}x{shape[1]}"
        raise UsageError(f"{problem}: add --resize {side} (resize={side})")
    if shape[0] == 1 and not bool((values == values[:, :1]).all()):
        raise UsageError(f"{what} holds colour images and {to_name} grey ones: convert one of the two")
    how = "grey images, read as colour" if shape[0] == 3 else "colour images whose channels are equal, read as grey"
    logger.info("%s: %s like %s", what, how, to_name)
    return replace(given, samples=Samples(values[:, :1].repeat(1, shape[0], 1, 1), given.samples.labels))
