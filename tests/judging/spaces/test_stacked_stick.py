"""The stick of grey images reads every channel of a stack, and modes are counted from what it reads."""

import math

import pytest
import torch
from stick_values import load

from collapsar.cases.stacked.stacked import (
    EncoderByChannel,
    HeadByChannel,
    StackedMNIST,
    StackedStickSpace,
    stacked,
)
from collapsar.data.real_data import RealData
from collapsar.drawing.selection import choose_space
from collapsar.foundations.errors import UsageError
from collapsar.judging.spaces.stick import FOLDER, read_stick
from collapsar.judging.suite import factor_scores

SPACE = StackedStickSpace(stick="mnist", stick_version=1, chunk_size=64)
FACTORS = StackedMNIST(sample_shape=[3, 28, 28], num_train=1, num_test=1, num_reserve=0, root=None, seed=0).factors


@pytest.fixture(scope="module")
def digits():
    real = load("mnist")
    return real if real is not None else pytest.skip("COLLAPSAR_DATA names no folder with the files of mnist")


def real_stacks(images, num_stacks):
    return stacked(images, num_stacks, factors=FACTORS, generator=torch.Generator().manual_seed(0))


def test_every_channel_is_read_by_itself():
    encoder, head = read_stick(FOLDER / "mnist.safetensors").network().eval()
    images = torch.rand(4, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        joint = HeadByChannel(head, num_channels=3)(EncoderByChannel(encoder)(images))
        digits = [head(encoder(images[:, [channel]])).argmax(1) for channel in range(3)]
    assert torch.equal(joint.argmax(1), digits[0] * 100 + digits[1] * 10 + digits[2])


def test_all_three_digits_are_read_as_often_as_the_product_of_accuracies_says(digits):
    stacks = real_stacks(digits.test, 3000)
    real = RealData(stacks, stacks, 1000, factors=FACTORS)
    space = SPACE.fit(real, device=torch.device("cpu"), cache_dir=FOLDER)
    predicted = space.classify(space.extract(stacks.values)).argmax(1)
    accuracy = (predicted == stacks.labels).double().mean().item()
    assert accuracy == pytest.approx(space.test_accuracy, abs=0.006)
    assert set(space.factor_accuracy) == {"red", "green", "blue"}


def test_the_reverse_divergence_of_half_of_the_modes_is_the_log_of_two():
    labels = torch.arange(500).repeat(4)
    scores = factor_scores(labels, factors=FACTORS)
    assert scores["combinations_kl"] == pytest.approx(math.log(2))
    assert scores["combinations_alive"] == 500


@pytest.mark.parametrize(("shape", "num_classes"), [((1, 28, 28), 1000), ((3, 32, 32), 1000), ((3, 28, 28), 10)])
def test_what_is_no_stack_of_what_the_stick_reads_is_refused(shape, num_classes):
    with pytest.raises(UsageError, match=r"the mnist stick reads stacks of images .* choose data=stacked_mnist"):
        SPACE.check(sample_shape=shape, num_classes=num_classes)


def test_it_may_not_judge_what_it_measures():
    with pytest.raises(UsageError, match="judge must not be a measuring stick"):
        choose_space(SPACE, sample_shape=(3, 28, 28), judged_by="space")
