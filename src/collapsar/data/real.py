"""Real data: fixed training and held-out test sets with labels.

`digits` ships with scikit-learn and needs no network. The others are torchvision's, with their official splits, below
a root that `COLLAPSAR_DATA` names (else a per-user cache folder); what is missing is downloaded once, under a lock.
"""

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import UInt8
from platformdirs import user_cache_path
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torchvision import datasets

from collapsar.data.pool import REAL, Part
from collapsar.errors import UsageError


@dataclass(frozen=True)
class RealData:
    """A source's sets; they share no sample.

    Attributes:
        train: What generation 0 is trained on.
        test: Held out, for evaluation only.
        num_classes: Labels run from 0 to num_classes - 1; 0 where the data have no classes.
        reserve: Training data beyond `train`, for regimes that take fresh real samples; None if there are none.
    """

    train: Part
    test: Part
    num_classes: int
    reserve: Part | None = None


class Source(ABC):
    """Where real data come from.

    Args:
        sample_shape: Shape of one sample, which models are sized from.
        num_train: Size of a stratified subset of the training set; null takes all of it.

    Raises:
        UsageError: num_train is below 1.
    """

    name: ClassVar[str]

    def __init__(self, *, sample_shape: list[int], num_train: int | None) -> None:
        if num_train is not None and num_train < 1:
            raise UsageError(f"data.num_train must be at least 1, or null for all: got {num_train}")
        self.sample_shape, self.num_train = sample_shape, num_train

    @abstractmethod
    def read(self) -> RealData:
        """Both sets in full, in the sample convention."""

    def load(self) -> RealData:
        """Both sets, the training set reduced to `num_train`; what that leaves out is the reserve.

        Raises:
            UsageError: files are missing or damaged, or num_train does not fit the data.
        """
        real = self.read()
        assert list(real.train.samples.shape[1:]) == list(self.sample_shape), "conf/data states the shape"
        if self.num_train is None or self.num_train == len(real.train):
            return real
        train, reserve = stratified_split(real.train, size=self.num_train)
        return RealData(train, real.test, real.num_classes, reserve)


class Digits(Source):
    """1,797 handwritten digits of 8x8 pixels (Alpaydin & Kaynak 1998), from scikit-learn: 1,437 train and 360 test."""

    name = "digits"

    def read(self) -> RealData:
        digits = load_digits()
        images = torch.from_numpy((digits.images * (255 / 16)).round().astype(np.uint8)).unsqueeze(1)
        labels = torch.from_numpy(digits.target.astype(np.int64))
        train, test = train_test_split(np.arange(len(labels)), test_size=360, stratify=digits.target, random_state=0)
        part = Part(images, labels, REAL)
        return RealData(part.take(torch.from_numpy(train)), part.take(torch.from_numpy(test)), num_classes=10)


class TorchvisionSource(Source, ABC):
    """A torchvision data set with its official split.

    Args:
        sample_shape: Shape of one image.
        num_train: Size of a stratified subset of the training set; null takes all of it.
        root: Folder in torchvision's layout; null takes COLLAPSAR_DATA, else a per-user cache folder.
    """

    dataset: ClassVar[type]
    folder: ClassVar[str]  # below root
    file_bytes: ClassVar[dict[str, int]]  # what is expected there, with the official sizes

    def __init__(self, *, sample_shape: list[int], num_train: int | None, root: str | None) -> None:
        super().__init__(sample_shape=sample_shape, num_train=num_train)
        self.root = data_root(root)

    def read(self) -> RealData:
        self._require_files()
        parts = []
        for is_train in (True, False):
            try:
                split = self.dataset(root=self.root, train=is_train, download=False)
            except (AssertionError, KeyError, RuntimeError, ValueError, EOFError) as error:
                # torchvision verifies checksums of CIFAR, and asserts what the headers of MNIST hold
                raise UsageError(
                    f"{self.root / self.folder} is damaged ({error}): delete it to download anew"
                ) from error
            parts.append(Part(as_images(split.data), torch.as_tensor(split.targets, dtype=torch.int64), REAL))
        return RealData(parts[0], parts[1], num_classes=10)

    def _require_files(self) -> None:
        """Download what is missing, once even when many jobs start together."""
        if not self._missing():
            return self._refuse_truncated()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(self.root / f".{self.name}.lock"):
                if self._missing():
                    self.dataset(root=self.root, train=True, download=True)
        except (OSError, RuntimeError) as error:
            raise UsageError(
                f"{self.name} is not in {self.root / self.folder} and could not be downloaded "
                f"({str(error).splitlines()[0]}): put {', '.join(self.file_bytes)} there, "
                "or set COLLAPSAR_DATA to a folder that has them"
            ) from error
        return self._refuse_truncated()

    def _missing(self) -> list[str]:
        return [name for name in self.file_bytes if not (self.root / self.folder / name).is_file()]

    def _refuse_truncated(self) -> None:
        for name, expected_bytes in self.file_bytes.items():
            path = self.root / self.folder / name
            if path.stat().st_size != expected_bytes:
                raise UsageError(
                    f"{path} is damaged: it has {path.stat().st_size} bytes where {expected_bytes} are expected; "
                    "delete it, and it is downloaded again"
                )


IDX_FILES = {
    "train-images-idx3-ubyte": 16 + 60_000 * 784,
    "train-labels-idx1-ubyte": 8 + 60_000,
    "t10k-images-idx3-ubyte": 16 + 10_000 * 784,
    "t10k-labels-idx1-ubyte": 8 + 10_000,
}


class MNIST(TorchvisionSource):
    """60,000 and 10,000 handwritten digits of 28x28 pixels (LeCun, Cortes & Burges)."""

    name = "mnist"
    dataset = datasets.MNIST
    folder = "MNIST/raw"
    file_bytes = IDX_FILES


class FashionMNIST(TorchvisionSource):
    """60,000 and 10,000 pictures of clothes, 28x28 pixels in grey (Xiao, Rasul & Vollgraf 2017)."""

    name = "fashion_mnist"
    dataset = datasets.FashionMNIST
    folder = "FashionMNIST/raw"
    file_bytes = IDX_FILES


class CIFAR10(TorchvisionSource):
    """50,000 and 10,000 colour pictures of ten kinds of things, 32x32 pixels (Krizhevsky 2009)."""

    name = "cifar10"
    dataset = datasets.CIFAR10
    folder = "cifar-10-batches-py"
    file_bytes: ClassVar[dict[str, int]] = {
        "batches.meta": 158,
        "data_batch_1": 31_035_704,
        "data_batch_2": 31_035_320,
        "data_batch_3": 31_035_999,
        "data_batch_4": 31_035_696,
        "data_batch_5": 31_035_623,
        "test_batch": 31_035_526,
    }


def data_root(root: str | None) -> Path:
    """The folder of torchvision's files: `root`, else COLLAPSAR_DATA, else a per-user cache folder."""
    chosen = root or os.environ.get("COLLAPSAR_DATA") or user_cache_path("collapsar") / "data"
    return Path(chosen).expanduser().resolve()


def as_images(pixels: Tensor | np.ndarray) -> UInt8[Tensor, "sample channel height width"]:
    """Pixels in torchvision's layouts, [N, H, W] or [N, H, W, C], in the sample convention."""
    tensor = torch.as_tensor(pixels)
    return (tensor.unsqueeze(1) if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2)).contiguous()


def stratified_split(part: Part, *, size: int) -> tuple[Part, Part]:
    """`size` samples with the classes in their own proportions, and the rest; the choice is the same in every run.

    Raises:
        UsageError: more than there are, or fewer than there are classes.
    """
    num_classes = len(part.labels.unique())
    if not num_classes <= size <= len(part) - num_classes:
        raise UsageError(
            f"data.num_train must be {len(part)} (all), or between {num_classes} (one a class) and "
            f"{len(part) - num_classes}: got {size}"
        )
    indices = np.arange(len(part))
    chosen, rest = train_test_split(indices, train_size=size, stratify=part.labels.numpy(), random_state=0)
    return part.take(torch.from_numpy(chosen)), part.take(torch.from_numpy(rest))
