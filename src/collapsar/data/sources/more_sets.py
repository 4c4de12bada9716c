"""More of torchvision's sets, with their official splits: kmnist, emnist, svhn and cifar100."""

from functools import partial
from typing import Literal, TypeAlias

import torch
from torchvision import datasets

from collapsar.data.sources.real import MNIST, TorchvisionSource, as_images, cifar_checksums
from collapsar.foundations.samples import Samples

EmnistSplit: TypeAlias = Literal["balanced", "letters", "digits"]
EMNIST_SIZES = {"balanced": (112_800, 18_800, 47), "letters": (124_800, 20_800, 26), "digits": (240_000, 40_000, 10)}
"""Training and test images, and classes, of each split."""


class CIFAR100(TorchvisionSource):
    """50,000 and 10,000 colour pictures of a hundred kinds of things, 32x32 pixels (Krizhevsky 2009)."""

    name = "cifar100"
    num_available, num_test, num_unseen, num_classes = 50_000, 10_000, 10_000, 100
    dataset = datasets.CIFAR100
    folder = "cifar-100-python"
    checksums = cifar_checksums(dataset)


class KMNIST(TorchvisionSource):
    """60,000 and 10,000 handwritten characters of old Japanese, 28x28 pixels in grey (Clanuwat et al. 2018)."""

    name = "kmnist"
    num_available, num_test, num_unseen = 60_000, 10_000, 10_000
    dataset = datasets.KMNIST
    folder = "KMNIST/raw"
    checksums = dict.fromkeys(MNIST.checksums)


class SVHN(TorchvisionSource):
    """73,257 and 26,032 digits of house numbers, 32x32 pixels in colour (Netzer et al. 2011)."""

    name = "svhn"
    num_available, num_test, num_unseen = 73_257, 26_032, 10_000
    dataset = datasets.SVHN
    folder = "."
    checksums = dict([dataset.split_list["train"][1:], dataset.split_list["test"][1:]])  # noqa: RUF012

    def read_split(self, is_train: bool, *, download: bool = False) -> Samples:
        split = self.dataset(root=self.root, split="train" if is_train else "test", download=download)
        return Samples(torch.from_numpy(split.data).contiguous(), torch.from_numpy(split.labels))

    def download(self) -> None:
        for is_train in (True, False):
            self.read_split(is_train, download=True)


class EMNIST(TorchvisionSource):
    """Handwritten letters and digits of 28x28 pixels (Cohen et al. 2017), upright as those of MNIST.

    The split `balanced` has 47 kinds of characters, `letters` 26, large and small in one class, `digits` the ten.
    """

    name = "emnist"
    num_available, num_test, num_classes = EMNIST_SIZES["balanced"]
    num_unseen = 10_000
    folder = "EMNIST/raw"

    def __init__(
        self, *, sample_shape: list[int], num_train: int | float | None, root: str | None, split: EmnistSplit
    ) -> None:
        self.split, self.dataset = split, partial(datasets.EMNIST, split=split)  # type: ignore[misc, method-assign]
        self.num_available, self.num_test, self.num_classes = EMNIST_SIZES[split]
        parts = (f"{part}-{kind}" for part in ("train", "test") for kind in ("images-idx3", "labels-idx1"))
        self.checksums = dict.fromkeys(f"emnist-{split}-{part}-ubyte" for part in parts)
        super().__init__(sample_shape=sample_shape, num_train=num_train, root=root)

    def read_split(self, is_train: bool, *, download: bool = False) -> Samples:
        split = self.dataset(root=self.root, train=is_train, download=download)
        labels = split.targets - split.targets.min()  # those of letters begin at 1
        return Samples(as_images(split.data.transpose(1, 2)), labels.to(torch.int64))
