"""Image operations for embedders: augmentation, blur, conversion to RGB.

Images are float32 in [0, 1]. All operations run on a whole batch on its device; random draws come from a CPU generator
and move to it.
"""

from dataclasses import dataclass
from math import radians

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from collapsar.foundations.errors import UsageError, check_fraction, check_not_negative
from collapsar.models.shapes import Images


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random affine map, blur and noise, drawn anew for each image.

    A classifier trained without them takes noisy or shifted digits for other classes and reports dropped modes that are
    still there. Each setting is the largest change.
    """

    rotation_degrees: float  # in either direction
    shift_fraction: float  # of the image side
    scale_change: float  # zoom is uniform in [1 - scale_change, 1 + scale_change]
    shear: float  # horizontal; 0.1 moves the top row by a twentieth of the height, the bottom row back
    blur: float  # weight in [0, 1] of the image smoothed by the binomial kernel (1, 2, 1) x (1, 2, 1) / 16
    noise_std: float  # standard deviation of Gaussian noise, in units of the [0, 1] range
    flip: bool  # whether to mirror images left to right, each with probability one half

    def __post_init__(self) -> None:
        check_not_negative(
            rotation_degrees=self.rotation_degrees,
            shift_fraction=self.shift_fraction,
            shear=self.shear,
            noise_std=self.noise_std,
        )
        check_fraction(blur=self.blur)
        if not 0 <= self.scale_change < 1:
            raise UsageError(f"scale_change must be in [0, 1): got {self.scale_change}")

    def __call__(self, images: Images, *, generator: torch.Generator) -> Images:
        """Augment images in [0, 1] and clip them to [0, 1] again."""
        warped, size = self._warp(images, generator), (len(images), 1, 1, 1)
        weights = torch.rand(size, generator=generator).mul_(self.blur)
        blurred = torch.lerp(warped, binomial_blur(warped), weights.to(images.device))
        stds = torch.rand(size, generator=generator) * self.noise_std
        noise = torch.randn(images.shape, generator=generator).mul_(stds)
        return (blurred + noise.to(images.device)).clamp_(0.0, 1.0)

    def _warp(self, images: Tensor, generator: torch.Generator) -> Tensor:
        draws = torch.rand(len(images), 6, generator=generator) * 2 - 1
        angle = draws[:, 0] * radians(self.rotation_degrees)
        zoom = 1 + draws[:, 1] * self.scale_change
        mirror = torch.where(draws[:, 5] < 0, -1.0, 1.0) if self.flip else torch.ones(len(images))
        cosine, sine = angle.cos() / zoom, angle.sin() / zoom
        shear = draws[:, 2] * self.shear
        shift = draws[:, 3:5] * self.shift_fraction * 2  # grid coordinates span [-1, 1]
        first_row = (mirror * cosine, mirror * (shear * cosine - sine), shift[:, 0])
        second_row = (sine, shear * sine + cosine, shift[:, 1])
        matrices = torch.stack([*first_row, *second_row], dim=1).view(-1, 2, 3).to(images.device)
        grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def binomial_blur(images: Images) -> Images:
    """Smooth images by (1, 2, 1) / 4 along each axis; the border is repeated, so a constant image stays constant."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    rows = (padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]) / 4
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 4


def grey_to_rgb(images: Images) -> Float[Tensor, "sample 3 height width"]:
    """Repeat the channel of grey images three times; colour images stay as they are."""
    num_channels = images.shape[1]
    if num_channels not in (1, 3):
        raise UsageError(f"images must have 1 or 3 channels: got {num_channels}")
    return images.expand(-1, 3, -1, -1)
