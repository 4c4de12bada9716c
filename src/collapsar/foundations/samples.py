"""The sample convention, the `Samples` class that carries it, and the only conversions to and from it.

Values are either images, uint8 [num_samples, channels, height, width] from 0 to 255, or vectors, float32 [num_samples,
dimensions]. Models see images in *model range*: float32 in [0, 1]. Everything that is stored, pooled or measured is in
the sample convention, so a resumed chain sees exactly what an uninterrupted one saw.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from collapsar.foundations.errors import NonFiniteError, UsageError

UNLABELLED = -1  # the label of a sample whose class is unknown


@dataclass(frozen=True)
class Samples:
    """Samples on their way from source or model to pool, file and metric."""

    values: Tensor  # images or vectors in the sample convention
    labels: Int64[Tensor, " sample"] | None = None  # classes, UNLABELLED if unknown; None if no class is known

    def __post_init__(self) -> None:
        assert self.labels is None or len(self.labels) == len(self.values), "a label for every sample"

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, chosen: Tensor | slice) -> "Samples":
        """The chosen samples, in the order of the indices; a slice gives views."""
        return self._changed(lambda part: part[chosen])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample: (channels, height, width) or (dimensions,)."""
        return tuple(self.values.shape[1:])

    def to(self, device: torch.device) -> "Samples":
        """The samples on a device; nothing is copied if they are already there."""
        return self._changed(lambda part: part.to(device))

    def sent_to(self, device: torch.device) -> "Samples":
        """The samples on another device; copied to CUDA asynchronously, from pinned memory."""
        if device.type != "cuda":
            return self.to(device)
        return self._changed(Tensor.pin_memory)._changed(lambda part: part.to(device, non_blocking=True))

    def clone(self) -> "Samples":
        """A copy that shares no memory."""
        return self._changed(Tensor.clone)

    def _changed(self, change: Callable[[Tensor], Tensor]) -> "Samples":
        return Samples(change(self.values), None if self.labels is None else change(self.labels))


def as_samples(batch: Any, *, shape: Sequence[int], num_classes: int | None = None) -> Samples:
    """A user's batch as samples: `Samples` as they are, values, or `(values, labels)`; images may be floats in [0, 1].

    Anything else is refused, and so is a wrong shape, type, range or label.
    """
    if not isinstance(batch, Samples):
        batch = _samples_of(batch, is_image=len(shape) == 3)
    if batch.shape != tuple(shape):
        raise UsageError(f"each sample must have the model's sample_shape, {list(shape)}: got {list(batch.shape)}")
    if num_classes is not None and batch.labels is not None and len(batch):
        highest = int(batch.labels.max())
        if highest >= num_classes:
            raise UsageError(f"labels must be below model.num_classes={num_classes}: got {highest}")
    return batch


def _samples_of(batch: Any, *, is_image: bool) -> Samples:
    parts = list(batch) if isinstance(batch, list | tuple) else [batch]
    if not 1 <= len(parts) <= 2 or not all(isinstance(part, Tensor) and part.ndim for part in parts):
        kinds = ", ".join(type(part).__name__ for part in parts)
        raise UsageError(f"a batch must be a tensor of samples, or samples with their labels: got ({kinds})")
    values, labels = parts if len(parts) == 2 else (*parts, None)
    if not (is_image and values.dtype == torch.uint8):
        low, high = (float(bound) for bound in values.aminmax()) if is_image and len(values) else (0.0, 0.0)
        if is_image and not (values.is_floating_point() and low >= 0 and high <= 1):
            problem = "images must be uint8, or floats from 0 to 1"
            raise UsageError(f"{problem}: got {values.dtype} from {low:g} to {high:g}; scale them")
        values = values.float()
    if labels is not None and (labels.is_floating_point() or labels.shape != values.shape[:1]):
        raise UsageError(
            f"labels must be one whole number for each sample: got {labels.dtype} of shape {list(labels.shape)} for "
            f"{len(values)} samples; leave them out if they are no classes"
        )
    return Samples(values, None if labels is None else labels.long())


def concatenate(batches: Sequence[Samples]) -> Samples:
    """All batches as one; a single batch is returned as it is. Labels are kept if every batch has them."""
    if len(batches) == 1:
        return batches[0]
    labels = [batch.labels for batch in batches if batch.labels is not None]
    is_labelled = len(labels) == len(batches)
    return Samples(torch.cat([batch.values for batch in batches]), torch.cat(labels) if is_labelled else None)


def to_model_range(values: Tensor) -> Tensor:
    """Images as float32 in [0, 1]; vectors are returned as they are."""
    return values.to(torch.float32).div_(255.0) if values.dtype == torch.uint8 else values


def from_model_range(values: Tensor) -> Tensor:
    """A model's output in the sample convention: images quantised, vectors as they are if all values are finite."""
    if values.ndim == 4:
        return quantise(values)
    check_finite_values(values)
    return values


def quantise(images: Float[Tensor, "sample channel height width"]) -> UInt8[Tensor, "sample channel height width"]:
    """Images in model range as uint8: checked to be finite, clipped to [0, 1], rounded to the nearest level."""
    check_finite_values(images)
    return images.clamp(0.0, 1.0).mul_(255.0).round_().to(torch.uint8)


def check_finite_values(values: Tensor) -> None:
    """Raise NonFiniteError if a value is NaN or infinite."""
    # A finite sum means that all values are finite: one pass and no boolean copy. Finite values may overflow the sum.
    if not values.sum().isfinite() and (num_bad := int((~values.isfinite()).sum())):
        raise NonFiniteError(f"samples hold {num_bad} NaN or infinite values of {values.numel()}")
