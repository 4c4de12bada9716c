"""Pretext tasks, whose answers come from the images themselves (`collapsar.training.pretraining`)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from collapsar.errors import UsageError
from collapsar.models.shapes import Images


@dataclass(frozen=True, kw_only=True)
class Pretext(ABC):
    """A task whose answers are known without labels; it takes a `fraction` of a generation's steps, in (0, 1)."""

    fraction: float

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise UsageError(f"training.pretraining.fraction must lie between 0 and 1: got {self.fraction}")

    def num_steps(self, num_steps: int) -> int:
        """Number of a generation's steps that pretraining takes: at least one, and it leaves at least one."""
        return min(max(1, round(self.fraction * num_steps)), num_steps - 1)

    @abstractmethod
    def pose(
        self, images: Images, generator: torch.Generator
    ) -> tuple[Float[Tensor, "input channel height width"], Int64[Tensor, " input"]]:
        """Inputs made from images in model range, and the right answers."""

    @abstractmethod
    def head(self, feature_dim: int) -> nn.Module:
        """A network from features to the logits of the answers; discarded after pretraining."""

    def check(self, sample_shape: Sequence[int], *, batch_size: int) -> None:  # noqa: B027
        """Raise UsageError, with what to set instead, if the task cannot be made from such images or batches."""
