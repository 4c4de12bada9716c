"""What every generative model is to the loop: a Lightning module that can be sampled.

`sample` returns the sample convention (uint8 images or float32 vectors), so what enters a pool, a file and a metric
is one and the same tensor.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float, UInt8
from lightning import LightningModule
from torch import Tensor

from collapsar.models.bias import UNBIASED, Bias
from collapsar.models.networks import check_image_shape
from collapsar.samples import quantise

SAMPLES_PER_CHUNK = 1024  # bounds memory only: all latents are drawn first, so samples do not depend on it


class GenerativeModel(LightningModule, ABC):
    """A model of the data that can be sampled."""

    name: ClassVar[str]

    @abstractmethod
    def sample(self, num_samples: int, generator: torch.Generator, *, bias: Bias = UNBIASED) -> Tensor:
        """Independent draws from the model, in the sample convention, on the CPU.

        Args:
            num_samples: How many.
            generator: A CPU generator; the same generator gives the same samples on any device but for rounding.
            bias: How sampling departs from the model's own distribution.

        Raises:
            NonFiniteError: the model draws NaN or infinite values.
        """

    def check_bias(self, bias: Bias) -> None:
        """Refuse a bias that would do nothing to this model.

        Raises:
            UsageError: with what to set instead.
        """


class LatentVariableModel(GenerativeModel, ABC):
    """A model that decodes standard normal latents into images."""

    def __init__(self, *, sample_shape: Sequence[int], latent_dim: int) -> None:
        super().__init__()
        self.sample_shape = check_image_shape(sample_shape)
        self.latent_dim = latent_dim

    @abstractmethod
    def decode(
        self, latents: Float[Tensor, "sample latent"], generator: torch.Generator, *, likelihood_spread: float
    ) -> Float[Tensor, "sample channel height width"]:
        """One image in model range for each latent; the other arguments serve models whose decoder draws."""

    def sample(self, num_samples: int, generator: torch.Generator, *, bias: Bias = UNBIASED) -> Tensor:
        latents = bias.draw_latents(num_samples, latent_dim=self.latent_dim, generator=generator)
        return self.render(latents, generator, likelihood_spread=bias.likelihood_spread)

    @torch.inference_mode()
    def render(
        self, latents: Float[Tensor, "sample latent"], generator: torch.Generator, *, likelihood_spread: float = 1.0
    ) -> UInt8[Tensor, "sample channel height width"]:
        """The images of given latents: the same latents through the generations make the film strip."""
        was_training = self.training
        self.eval()
        chunks = [
            quantise(self.decode(chunk.to(self.device), generator, likelihood_spread=likelihood_spread)).cpu()
            for chunk in latents.split(SAMPLES_PER_CHUNK)
        ]
        self.train(was_training)
        return torch.cat(chunks)
