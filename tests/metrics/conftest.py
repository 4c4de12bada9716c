"""The digits as plain tensors, for every test of a metric or a space."""

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from collapsar.samples import RealData, Samples


@pytest.fixture(scope="session")
def digits() -> RealData:
    scanned = load_digits()
    images = torch.tensor(scanned.images / 16 * 255).round().to(torch.uint8)[:, None]
    train, test = train_test_split(range(len(images)), test_size=360, stratify=scanned.target, random_state=0)
    labels = torch.tensor(scanned.target)
    return RealData(
        train=Samples(images[train], labels[train]), test=Samples(images[test], labels[test]), num_classes=10
    )
