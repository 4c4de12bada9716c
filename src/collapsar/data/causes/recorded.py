"""Causes that spoil samples: wrong labels, poor photographs, copies."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from collapsar.data.causes.cause import Cause, labels_of
from collapsar.foundations.errors import UsageError, check_fraction, check_positive
from collapsar.foundations.samples import Samples, quantise, to_model_range

IMAGES_PER_CHUNK = 4096  # bounds memory only
KERNEL_SDS = 3  # radius of a blur's kernel, in standard deviations


@dataclass(frozen=True, kw_only=True)
class LabelNoise(Cause):
    """Some samples carry the label of another class, drawn uniformly from the others.

    The noise has no effect on a chain that uses no labels: an unconditional model and no judge with classes.
    """

    name, stage, needs_labels, changes_labels = "label_noise", 4, True, True

    fraction: int | float  # of the samples, in [0, 1]

    def __post_init__(self) -> None:
        check_fraction(**{"cause.label_noise.fraction": self.fraction})

    def plant(self, samples: Samples, *, num_classes: int, generator: torch.Generator) -> Samples:
        chosen = some_of(samples, fraction=self.fraction, generator=generator)
        labels = labels_of(samples).clone()
        shifts = torch.randint(1, num_classes, (len(chosen),), generator=generator)  # a shift of 0 would keep the label
        labels[chosen] = (labels[chosen] + shifts) % num_classes
        return replace(samples, labels=labels)

    def check(self, *, sample_shape: Sequence[int], num_classes: int) -> None:
        super().check(sample_shape=sample_shape, num_classes=num_classes)
        if num_classes < 2:
            raise UsageError(f"cause=label_noise needs at least 2 classes: got {num_classes}; choose data=digits")


@dataclass(frozen=True, kw_only=True)
class Blur(Cause):
    """Some images are out of focus: blurred with a Gaussian kernel, with reflection at the edges."""

    name, stage, needs_images = "blur", 5, True

    fraction: int | float  # of the images, in [0, 1]
    sd_pixels: int | float  # standard deviation of the kernel

    def __post_init__(self) -> None:
        check_fraction(**{"cause.blur.fraction": self.fraction})
        check_positive(**{"cause.blur.sd_pixels": self.sd_pixels})

    @property
    def reach(self) -> int:
        """Radius of the kernel, in pixels."""
        return ceil(KERNEL_SDS * self.sd_pixels)

    def plant(self, samples: Samples, *, num_classes: int, generator: torch.Generator) -> Samples:
        chosen = some_of(samples, fraction=self.fraction, generator=generator)
        values = samples.values.clone()
        for some in chosen.split(IMAGES_PER_CHUNK):
            values[some] = quantise(self._blurred(to_model_range(values[some])))
        return replace(samples, values=values)

    def check(self, *, sample_shape: Sequence[int], num_classes: int) -> None:
        super().check(sample_shape=sample_shape, num_classes=num_classes)
        shortest = min(sample_shape[1:])
        if self.reach >= shortest:
            most = f"{(shortest - 1) / KERNEL_SDS:.3g} for images of {shortest} pixels"
            raise UsageError(f"cause.blur.sd_pixels must be at most {most}: got {self.sd_pixels}; set less")

    def _blurred(
        self, images: Float[Tensor, "sample channel height width"]
    ) -> Float[Tensor, "sample channel height width"]:
        offsets = torch.arange(-self.reach, self.reach + 1)
        kernel = torch.exp(-(offsets**2) / (2 * self.sd_pixels**2))
        kernel = kernel / kernel.sum()
        planes = images.flatten(0, 1).unsqueeze(1)  # [sample x channel, 1, height, width]
        padded = F.pad(planes, [self.reach] * 4, mode="reflect")
        rows = F.conv2d(padded, kernel.view(1, 1, 1, -1))
        return F.conv2d(rows, kernel.view(1, 1, -1, 1)).reshape(images.shape)


@dataclass(frozen=True, kw_only=True)
class PixelNoise(Cause):
    """Some images have normal noise on every pixel, clipped to the pixel range."""

    name, stage, needs_images = "pixel_noise", 6, True

    fraction: int | float  # of the images, in [0, 1]
    sd: int | float  # standard deviation of the noise, in model range (black is 0, white is 1)

    def __post_init__(self) -> None:
        check_fraction(**{"cause.pixel_noise.fraction": self.fraction})
        check_positive(**{"cause.pixel_noise.sd": self.sd})

    def plant(self, samples: Samples, *, num_classes: int, generator: torch.Generator) -> Samples:
        chosen = some_of(samples, fraction=self.fraction, generator=generator)
        values = samples.values.clone()
        for some in chosen.split(IMAGES_PER_CHUNK):
            images = to_model_range(values[some])
            values[some] = quantise(images + self.sd * torch.randn(images.shape, generator=generator))
        return replace(samples, values=values)


@dataclass(frozen=True, kw_only=True)
class DuplicatedSamples(Cause):
    """Some samples are replaced by exact copies of others, labels included; the number of samples stays."""

    name, stage = "duplicated_samples", 7

    fraction: int | float  # of the samples, that are copies; at least 0 and below 1

    def __post_init__(self) -> None:
        if not 0 <= self.fraction < 1:
            raise UsageError(f"cause.duplicated_samples.fraction must be at least 0 and below 1: got {self.fraction}")

    def plant(self, samples: Samples, *, num_classes: int, generator: torch.Generator) -> Samples:
        num_copies = min(round(self.fraction * len(samples)), len(samples) - 1)
        order = torch.randperm(len(samples), generator=generator)
        copies, originals = order[:num_copies], order[num_copies:]
        source = torch.arange(len(samples))
        source[copies] = originals[torch.randint(len(originals), (num_copies,), generator=generator)]
        return samples[source]


def some_of(samples: Samples, *, fraction: float, generator: torch.Generator) -> Int64[Tensor, " chosen"]:
    """Indices of a random share of the samples."""
    return torch.randperm(len(samples), generator=generator)[: round(fraction * len(samples))]
