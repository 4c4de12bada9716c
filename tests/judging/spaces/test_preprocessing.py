"""Preprocessing keeps images images: in range, unmoved where nothing is asked."""

from dataclasses import replace

import pytest
import torch

from collapsar.foundations.errors import UsageError
from collapsar.judging.spaces.preprocessing import Augmentation, binomial_blur, grey_to_rgb
from collapsar.judging.spaces.pretrained import DinoEmbedder

STILL = Augmentation(
    rotation_degrees=0.0, shift_fraction=0.0, scale_change=0.0, shear=0.0, blur=0.0, noise_std=0.0, flip=False
)
STRONG = Augmentation(
    rotation_degrees=30.0, shift_fraction=0.3, scale_change=0.3, shear=0.3, blur=1.0, noise_std=1.0, flip=True
)


@pytest.fixture
def images():
    return torch.rand(16, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def seeded():
    return torch.Generator().manual_seed(1)


def test_augmentation_of_no_strength_changes_nothing(images):
    torch.testing.assert_close(STILL(images, generator=seeded()), images, rtol=0, atol=1e-5)


def test_strong_augmentation_stays_in_range(images):
    augmented = STRONG(images, generator=seeded())
    assert augmented.shape == images.shape
    assert augmented.min() >= 0
    assert augmented.max() <= 1


def test_augmentation_leaves_its_input_alone(images):
    before = images.clone()
    STRONG(images, generator=seeded())
    assert torch.equal(images, before)


def test_flip_gives_the_image_or_its_mirror(images):
    flipped = replace(STILL, flip=True)(images, generator=seeded())
    is_same = (flipped - images).flatten(1).abs().amax(dim=1) < 1e-4
    is_mirror = (flipped - images.flip(3)).flatten(1).abs().amax(dim=1) < 1e-4
    assert (is_same ^ is_mirror).all()
    assert is_same.any()
    assert is_mirror.any()


def test_shift_moves_by_at_most_its_fraction(images):
    point = torch.zeros(64, 1, 21, 21)
    point[:, :, 10, 10] = 1
    shifted = replace(STILL, shift_fraction=0.2)(point, generator=seeded())
    rows = (shifted.sum(dim=(1, 3)) * torch.arange(21.0)).sum(dim=1)
    assert (rows - 10).abs().max() <= 0.2 * 21 + 1e-3
    assert (rows - 10).abs().max() > 0.1 * 21


def test_rotation_keeps_the_centre_and_the_shape():
    disc = torch.zeros(8, 1, 21, 21)
    disc[:, :, 8:13, 8:13] = 1
    rotated = replace(STILL, rotation_degrees=45.0)(disc, generator=seeded())
    torch.testing.assert_close(rotated.sum(dim=(1, 2, 3)), disc.sum(dim=(1, 2, 3)), rtol=0.03, atol=0)
    assert (rotated[:, 0, 10, 10] > 0.99).all()


def test_blur_keeps_a_constant_image_and_the_range(images):
    constant = torch.full((2, 1, 8, 8), 0.3)
    torch.testing.assert_close(binomial_blur(constant), constant)
    assert binomial_blur(images).std() < images.std()


def test_grey_becomes_three_equal_channels(images):
    rgb = grey_to_rgb(images[:, :1])
    assert rgb.shape == images.shape
    assert all(torch.equal(rgb[:, channel], images[:, 0]) for channel in range(3))
    assert torch.equal(grey_to_rgb(images), images)


def test_two_channels_are_refused(images):
    with pytest.raises(UsageError, match="1 or 3 channels: got 2"):
        grey_to_rgb(images[:, :2])


@pytest.mark.parametrize("side", [5, 12, 300])
def test_dinov2_sees_images_of_one_side_whose_constants_and_range_are_kept(side):
    noise = torch.rand(4, 3, side, side, generator=seeded())
    embedder = DinoEmbedder(torch.nn.Flatten())
    normalised = embedder(torch.cat([noise, torch.full((1, 3, side, side), 0.7)])).view(5, 3, 224, 224)
    seen = normalised * embedder.std + embedder.mean
    assert seen.min() >= -1e-6
    assert seen.max() <= 1 + 1e-6
    torch.testing.assert_close(seen[4], torch.full((3, 224, 224), 0.7))
    exact = torch.nn.functional.interpolate(noise, size=(224, 224), mode="bicubic", antialias=True).clamp(0, 1)
    torch.testing.assert_close(seen[:4], exact, rtol=0, atol=1e-6)


def test_settings_out_of_range_are_refused():
    with pytest.raises(UsageError, match="blur must lie between 0 and 1: got 2"):
        replace(STILL, blur=2.0)
    with pytest.raises(UsageError, match=r"noise_std must be at least 0: got -0\.1"):
        replace(STILL, noise_std=-0.1)
    with pytest.raises(UsageError, match="rotation_degrees must be a finite number: got nan"):
        replace(STILL, rotation_degrees=float("nan"))
