"""Data augmentation, by names that mean the same for every model: flip, translation, cutout and colour.

Torchvision transforms the images that a VAE or a flow learns from (`transformed`). A GAN's critic sees real and
generated images through the same differentiable transforms (`transformed_differentiably`), so that the generator learns
through them and does not imitate them (Zhao et al. 2020, arXiv:2006.10738; their strengths are used here).
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms import v2

from collapsar.models.shapes import Images

Transform = Literal["flip", "translation", "cutout", "colour"]

LARGEST_SHIFT = 1 / 8  # of a side
CUTOUT_SIDE = 1 / 2  # of a side
IMAGES_PER_DRAW = 8  # torchvision draws once for all images of a call
TORCHVISION: dict[Transform, nn.Module] = {
    "flip": v2.RandomHorizontalFlip(),
    "translation": v2.RandomAffine(degrees=0, translate=(LARGEST_SHIFT, LARGEST_SHIFT)),
    "cutout": v2.RandomErasing(p=1.0, scale=(CUTOUT_SIDE**2, CUTOUT_SIDE**2), ratio=(1.0, 1.0)),
    "colour": v2.ColorJitter(brightness=0.5, contrast=0.5, saturation=1.0),
}


def transformed(images: Images, names: Sequence[Transform]) -> Images:
    """Images in model range after torchvision's transforms; groups of eight images share a draw."""
    parts = [reduce(lambda seen, name: TORCHVISION[name](seen), names, some) for some in images.split(IMAGES_PER_DRAW)]
    return torch.cat(parts).clamp(0, 1)


def transformed_differentiably(images: Images, names: Sequence[Transform]) -> Images:
    """Images after differentiable transforms, drawn for each image separately."""
    for name in names:
        images = DIFFERENTIABLE[name](images)
    return images


def flip(images: Images) -> Images:
    """Mirror images from left to right, each with probability 1/2."""
    is_flipped = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(is_flipped, images.flip(3), images)


def translation(images: Images) -> Images:
    """Shift images by up to an eighth of each side, in whole pixels drawn uniformly; black fills the gap."""
    num_images, _, height, width = images.shape
    largest = [max(round(side * LARGEST_SHIFT), 1) for side in (height, width)]
    shifts = [torch.randint(-most, most + 1, (num_images, 1), device=images.device) for most in largest]
    padded = F.pad(images, (largest[1], largest[1], largest[0], largest[0]))
    rows = torch.arange(height, device=images.device) + largest[0] + shifts[0]  # [N, H]
    columns = torch.arange(width, device=images.device) + largest[1] + shifts[1]  # [N, W]
    which = torch.arange(num_images, device=images.device)
    return padded.permute(0, 2, 3, 1)[which[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def cutout(images: Images) -> Images:
    """Put a black square of half the sides on each image; its centre is uniform over the image."""
    num_images, _, height, width = images.shape
    is_inside = []
    for side, shape in ((height, (-1, 1, height, 1)), (width, (-1, 1, 1, width))):
        centres = torch.randint(0, side, (num_images, 1), device=images.device)
        distances = (torch.arange(side, device=images.device) - centres).abs()
        is_inside.append((distances < max(side * CUTOUT_SIDE / 2, 1)).reshape(shape))
    return images * ~(is_inside[0] & is_inside[1])


def colour(images: Images) -> Images:
    """Shift brightness by up to .5; scale saturation by a factor of 0 to 2, contrast by a factor of .5 to 1.5."""
    shift, saturation, contrast = (torch.rand(len(images), 1, 1, 1, device=images.device) for _ in range(3))
    images = images + shift - 0.5
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * 2 * saturation
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * (0.5 + contrast)


DIFFERENTIABLE: dict[str, Callable[[Images], Images]] = {
    transform.__name__: transform for transform in (flip, translation, cutout, colour)
}
