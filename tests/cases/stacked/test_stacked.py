"""Stacks hold the digits that their labels spell, all modes as likely, and official splits stay apart."""

import pytest
import torch
from scipy.stats import chisquare

from collapsar.cases.stacked.stacked import StackedMNIST, stacked
from collapsar.config.composition import build
from collapsar.data.real_data import RealData
from collapsar.data.sources.real import TorchvisionSource
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from tiny_chains import compose_settings

FACTORS = StackedMNIST(sample_shape=[3, 28, 28], num_train=1, num_test=1, num_reserve=0, root=None, seed=0).factors


def grey(num_samples, *, brightness=0):
    """Images of one brightness each, which tells the digit: 20 times it."""
    labels = torch.arange(num_samples) % 10
    return Samples((20 * labels + brightness).to(torch.uint8)[:, None, None, None].expand(-1, 1, 28, 28), labels)


@pytest.fixture
def few_images(monkeypatch):
    """Official sets of which training images have even and test images odd brightness."""
    for name, size in (("num_available", 200), ("num_test", 100), ("num_unseen", 50)):
        monkeypatch.setattr("collapsar.data.sources.real.MNIST." + name, size)
    monkeypatch.setattr(
        TorchvisionSource, "read_all", lambda self: RealData(grey(200), grey(100, brightness=1), self.num_classes)
    )


def source(*overrides):
    return build(compose_settings("data=stacked_mnist", "data.num_train=300", "data.num_test=150", *overrides)).data


def test_a_label_is_the_number_that_the_digits_spell_red_first():
    stacks = stacked(grey(50), 200, factors=FACTORS, generator=torch.Generator().manual_seed(0))
    digits = stacks.values[:, :, 0, 0] // 20
    assert torch.equal(stacks.labels, (digits * torch.tensor([100, 10, 1])).sum(1))


def test_all_modes_are_as_likely_however_many_images_a_digit_has():
    images = grey(50)
    few_threes = images[(images.labels != 3) | (torch.arange(50) < 10)]
    labels = stacked(few_threes, 30_000, factors=FACTORS, generator=torch.Generator().manual_seed(0)).labels
    assert chisquare(labels.bincount(minlength=1000).numpy()).pvalue > 0.001


def test_training_stacks_are_of_training_images_and_test_stacks_of_test_images(few_images):
    real = source().load()
    assert (real.train.values % 2 == 0).all()
    assert (real.reserve.values % 2 == 0).all()
    assert (real.test.values % 2 == 1).all()


def test_what_gives_the_floor_is_kept_from_what_spaces_are_fitted_on(few_images):
    split = source().load().stick_split
    assert (len(split.seen), len(split.unseen)) == (300, 150)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.sample_shape=[1,28,28]", r"data.sample_shape must be \[3, 28, 28\]: got \[1, 28, 28\]"),
        ("data.num_reserve=-1", "data.num_reserve must be at least 0: got -1"),
    ],
)
def test_what_cannot_be_stacked_is_refused(override, message):
    with pytest.raises(UsageError, match=message):
        source(override)
