"""What a model is pre-trained with: a task that images pose by themselves, and the part of the model that learns it.

A model answers for itself which part that is (`LearnedModel.representation`): a VAE's encoder or a GAN's critic, each
but for its last layer. The tasks are in `collapsar.training.pretraining`, which carries them out.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from collapsar.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Representation:
    """The part of a model that learns a pretext.

    Attributes:
        module: Whose weights move.
        features: Of images in model range; no class enters.
        learning_rate: Of Adam.
        adam_betas: Its decay rates.
    """

    module: nn.Module
    features: Callable[[Float[Tensor, "sample channel height width"]], Float[Tensor, "sample feature"]]
    learning_rate: float
    adam_betas: tuple[float, float] = (0.9, 0.999)


@dataclass(frozen=True, kw_only=True)
class Pretext(ABC):
    """A task whose answers are known without labels.

    Args:
        fraction: Share of a generation's steps that goes to it, in (0, 1); the model itself gets the others.
    """

    fraction: float

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise UsageError(f"training.pretraining.fraction must lie between 0 and 1: got {self.fraction}")

    def num_steps(self, num_steps: int) -> int:
        """How many of a generation's steps go to it: one at least, and not the last."""
        return min(max(1, round(self.fraction * num_steps)), num_steps - 1)

    @abstractmethod
    def pose(
        self, images: Float[Tensor, "sample channel height width"], generator: torch.Generator
    ) -> tuple[Float[Tensor, "input channel height width"], Int64[Tensor, " input"]]:
        """What is shown of images in model range, and the right answers."""

    @abstractmethod
    def head(self, feature_dim: int) -> nn.Module:
        """A network from features to the logits of the answers; thrown away after the pretraining."""

    def check(self, sample_shape: Sequence[int], *, batch_size: int) -> None:  # noqa: B027
        """Refuse images or batches that pose no task.

        Raises:
            UsageError: with what to set instead.
        """
