"""The sample convention, and the only conversions to and from it.

A batch of samples is either images, uint8 [num_samples, channels, height, width] with values 0 to 255, or vectors,
float32 [num_samples, dimensions]. Models see images in *model range*: float32 in [0, 1]. Everything that is stored,
pooled or measured is in the sample convention, so a resumed chain sees exactly what an uninterrupted one saw.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from collapsar.errors import NonFiniteError


def to_model_range(samples: Tensor) -> Tensor:
    """Images as float32 in [0, 1]; vectors are returned as they are."""
    if samples.dtype == torch.uint8:
        return samples.to(torch.float32).div_(255.0)
    return samples


def quantise(
    images: Float[Tensor, "sample channel height width"],
) -> UInt8[Tensor, "sample channel height width"]:
    """Images in model range as uint8, rounded to the nearest level and clipped to [0, 1] first.

    Raises:
        NonFiniteError: a pixel is NaN or infinite.
    """
    if not torch.isfinite(images).all():
        num_bad = int((~torch.isfinite(images)).sum())
        raise NonFiniteError(f"samples hold {num_bad} NaN or infinite values of {images.numel()}")
    return images.clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8)
