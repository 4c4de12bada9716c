"""Real data: fixed training and held-out test sets of labelled images.

`digits` ships with scikit-learn and needs no network. The others are torchvision's, with their official splits.
"""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import file_digest
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Int64, UInt8
from platformdirs import user_cache_path
from torch import Tensor
from torchvision import datasets

from collapsar.data.real_data import RealData, Sizes, Source, StickSplit
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples


class FixedSource(Source, ABC):
    """Samples that are the same in every run; if only a stratified subset is trained on, the rest is the reserve.

    `num_train` is the size of the subset; below 1, its share of all training samples; null takes all of them.
    """

    num_available: int  # training samples, with those of the reserve
    num_test: int
    num_unseen: ClassVar[int] = 0  # training samples that no measuring stick sees
    num_classes: int = 10

    def __init__(self, *, sample_shape: list[int], num_train: int | float | None) -> None:
        size = subset_size(num_train, num_available=self.num_available, num_classes=max(1, self.num_classes))
        sizes = Sizes(size, self.num_test, self.num_available - size)
        super().__init__(sample_shape=sample_shape, sizes=sizes, num_classes=self.num_classes)

    @abstractmethod
    def read_all(self) -> RealData:
        """The full training set and test set."""

    def read(self) -> RealData:
        real = self.read_all()
        if self.num_unseen:
            _, unseen = stratified_indices(real.train, size=self.num_available - self.num_unseen)
            real = replace(real, stick_split=StickSplit(official=real.train, unseen_indices=unseen))
        if not self.sizes.reserve:
            return real
        train, reserve = (real.train[part] for part in stratified_indices(real.train, size=self.sizes.train))
        return replace(real, train=train, reserve=reserve)


class Digits(FixedSource):
    """1,797 handwritten digits of 8x8 pixels (Alpaydin & Kaynak 1998), from scikit-learn: 1,437 train and 360 test."""

    name = "digits"
    num_available, num_test, num_unseen = 1_437, 360, 360

    def read_all(self) -> RealData:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.from_numpy((digits.images * (255 / 16)).round().astype(np.uint8)).unsqueeze(1)
        everything = Samples(images, torch.from_numpy(digits.target.astype(np.int64)))
        train, test = (everything[part] for part in stratified_indices(everything, size=self.num_available))
        return RealData(train, test, self.num_classes)


class TorchvisionSource(FixedSource, ABC):
    """A torchvision data set with its official split, below the folder `root` (see `data_root`)."""

    dataset: ClassVar[Callable[..., Any]]
    folder: ClassVar[str]  # below root
    checksums: Mapping[str, str | None]  # MD5 of the official files, by name; None if it is checked in the download

    def __init__(self, *, sample_shape: list[int], num_train: int | float | None, root: str | None) -> None:
        super().__init__(sample_shape=sample_shape, num_train=num_train)
        self.root = data_root(root)

    def read_all(self) -> RealData:
        self._require_files()
        expected = self.num_available, self.num_test
        try:
            train, test = (self.read_split(is_train) for is_train in (True, False))
            if (len(train), len(test)) != expected:
                raise ValueError(f"they hold {len(train)} and {len(test)} images, not {expected[0]} and {expected[1]}")
        except (OSError, ValueError, RuntimeError, AssertionError) as error:
            problem = f"the files of {self.name} in {self.root / self.folder} cannot be read ({error})"
            raise UsageError(f"{problem}: delete {', '.join(self.checksums)}, and they are downloaded again") from error
        return RealData(train, test, self.num_classes)

    def read_split(self, is_train: bool, *, download: bool = False) -> Samples:
        """The official training or test set, from its files; these are downloaded first if `download` says so."""
        split = self.dataset(root=self.root, train=is_train, download=download)
        return Samples(as_images(split.data), torch.as_tensor(split.targets, dtype=torch.int64))

    def _require_files(self) -> None:
        """Download missing files, once even if many jobs start together, and refuse files that are not official.

        Checksums are compared before any file is opened: those of CIFAR-10 are pickles, which could run code.
        """
        if not self._problem():
            return  # a complete folder may be read-only
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(self.root / f".{self.name}.lock"):  # waits for a job that is downloading
                if not all((self.root / self.folder / name).is_file() for name in self.checksums):
                    self.download()
        except (OSError, RuntimeError) as error:
            problem = f"is not in {self.root / self.folder} and could not be downloaded ({str(error).splitlines()[0]})"
            advice = f"put {', '.join(self.checksums)} there, or set COLLAPSAR_DATA to a folder that has them"
            raise UsageError(f"{self.name} {problem}: {advice}") from error
        if problem := self._problem():
            raise UsageError(problem)

    def download(self) -> None:
        self.dataset(root=self.root, train=True, download=True)

    def _problem(self) -> str:
        """What is wrong with the first file that is missing or not official; empty if none is."""
        for name, checksum in self.checksums.items():
            path = self.root / self.folder / name
            if not path.is_file():
                return f"{path} is missing: the files of {self.name} were downloaded without it"
            if checksum and (found := md5(path)) != checksum:
                return (
                    f"{path} is damaged, or not the official file of {self.name}: its MD5 is {found} where {checksum} "
                    "is expected; delete it, and it is downloaded again"
                )
        return ""


def cifar_checksums(dataset: Any) -> dict[str, str]:
    """The checksums that torchvision knows of CIFAR-10 or CIFAR-100."""
    return {dataset.meta["filename"]: dataset.meta["md5"], **dict(dataset.train_list), **dict(dataset.test_list)}


def md5(path: Path) -> str:
    """The MD5 of a file, as its publishers state it."""
    with path.open("rb") as file:
        return file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


class MNIST(TorchvisionSource):
    """60,000 and 10,000 handwritten digits of 28x28 pixels (LeCun, Cortes & Burges)."""

    name = "mnist"
    num_available, num_test, num_unseen = 60_000, 10_000, 10_000
    dataset = datasets.MNIST
    folder = "MNIST/raw"
    checksums = {  # noqa: RUF012
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }


class FashionMNIST(TorchvisionSource):
    """60,000 and 10,000 pictures of clothes, 28x28 pixels in grey (Xiao, Rasul & Vollgraf 2017)."""

    name = "fashion_mnist"
    num_available, num_test, num_unseen = 60_000, 10_000, 10_000
    dataset = datasets.FashionMNIST
    folder = "FashionMNIST/raw"
    checksums = {  # noqa: RUF012
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    }


class CIFAR10(TorchvisionSource):
    """50,000 and 10,000 colour pictures of ten kinds of things, 32x32 pixels (Krizhevsky 2009)."""

    name = "cifar10"
    num_available, num_test, num_unseen = 50_000, 10_000, 10_000
    dataset = datasets.CIFAR10
    folder = "cifar-10-batches-py"
    checksums = cifar_checksums(dataset)


def data_root(root: str | None) -> Path:
    """The folder of torchvision's files: `root`, else COLLAPSAR_DATA, else a per-user cache folder."""
    chosen = root or os.environ.get("COLLAPSAR_DATA") or user_cache_path("collapsar") / "data"
    return Path(chosen).expanduser().resolve()


def as_images(pixels: Tensor | np.ndarray) -> UInt8[Tensor, "sample channel height width"]:
    """Convert pixels from torchvision's layouts, [N, H, W] or [N, H, W, C], to the sample convention."""
    tensor = torch.as_tensor(pixels)
    return (tensor.unsqueeze(1) if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2)).contiguous()


def subset_size(num_train: int | float | None, *, num_available: int, num_classes: int) -> int:
    """Number of training samples that `num_train` means: a number, a share below 1, or null for all."""
    if num_train is None or num_train == num_available:
        return num_available
    size = round(num_train * num_available) if 0 < num_train < 1 else num_train
    if size != round(size) or not num_classes <= size <= num_available - num_classes:
        allowed = f"{num_available} (all), between {num_classes} (one a class) and {num_available - num_classes}"
        raise UsageError(f"data.num_train must be {allowed}, or a share of all below 1: got {num_train}")
    return round(size)


def stratified_indices(samples: Samples, *, size: int) -> tuple[Int64[Tensor, " chosen"], Int64[Tensor, " rest"]]:
    """Split into `size` samples, with any classes in their own proportions, and the rest; the same in every run."""
    from sklearn.model_selection import train_test_split

    indices, strata = np.arange(len(samples)), None if samples.labels is None else samples.labels.numpy()
    chosen, rest = train_test_split(indices, train_size=size, stratify=strata, random_state=0)
    return torch.from_numpy(chosen), torch.from_numpy(rest)
