"""The sample convention: conversions are exact, and what is not a number does not pass."""

import pytest
import torch

from collapsar.foundations.errors import NonFiniteError
from collapsar.foundations.samples import quantise, to_model_range

EVERY_LEVEL = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)


def test_every_grey_level_survives_the_way_to_model_range_and_back():
    assert torch.equal(quantise(to_model_range(EVERY_LEVEL)), EVERY_LEVEL)


def test_model_range_is_zero_to_one_in_float32():
    scaled = to_model_range(EVERY_LEVEL)
    assert scaled.dtype == torch.float32
    assert (scaled.min(), scaled.max()) == (0.0, 1.0)


def test_converting_leaves_the_stored_images_as_they_are():
    images = EVERY_LEVEL.clone()
    to_model_range(images)
    assert torch.equal(images, EVERY_LEVEL)


def test_vectors_pass_unchanged():
    vectors = torch.tensor([[-3.0, 400.0]])
    assert to_model_range(vectors) is vectors


def test_quantising_rounds_to_the_nearest_level():
    between = (torch.tensor([10.4, 10.6]) / 255).reshape(1, 1, 1, 2)
    assert quantise(between).flatten().tolist() == [10, 11]


def test_quantising_clips_instead_of_wrapping():
    assert quantise(torch.tensor([-0.5, 1.5]).reshape(1, 1, 1, 2)).flatten().tolist() == [0, 255]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_pixel_that_is_not_finite_is_refused_and_counted(bad):
    images = torch.zeros(2, 1, 4, 4)
    images[1, 0, 2, 2] = bad
    with pytest.raises(NonFiniteError, match="1 NaN or infinite values of 32"):
        quantise(images)
