"""The base of every generative model: the loop, which knows no family of models, trains it on a pool and samples it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.models.bias import UNBIASED, Bias
from collapsar.models.plan import Plan
from collapsar.models.shapes import Latents, PerSample


class GenerativeModel(nn.Module, ABC):
    """A model of the data that can be sampled; what only some models have is None in the others."""

    name: ClassVar[str]
    is_trained_in_steps: ClassVar[bool]  # a Trainer steps it (`learned.py`); else a formula fits it (`analytic.py`)
    may_be_compiled: bool = False  # its networks, for training; not if a loss differentiates them twice
    realism: ClassVar[Callable[[Any, Samples], PerSample] | None] = None  # the critic's logits, higher for more real
    smallest_pool: tuple[str, int] = ("training", 1)  # a setting, and how many samples a pool must have for it
    num_classes: int | None = None  # that it is conditioned on; None for models that see no labels
    is_continuous: ClassVar[bool] = True  # a correction may move samples; false if samples are categories
    encode: ClassVar[Callable[[Any, Samples], Latents] | None] = None  # the encoder's means, on the CPU (`Autoencoder`)
    posterior_sd: ClassVar[Callable[[Any, Samples], float] | None] = None  # of q(z|x) in a VAE, averaged over samples

    @abstractmethod
    def sample(self, num_samples: int, generator: torch.Generator | None = None, *, bias: Bias = UNBIASED) -> Samples:
        """Independent draws from the model, in the sample convention, on the CPU; NonFiniteError if one is not finite.

        The same CPU generator gives the same samples on any device, up to rounding; None takes torch's own.
        """

    def check_bias(self, bias: Bias) -> None:
        """Raise UsageError, with what to set instead, if the bias would do nothing to this model."""

    def check_plan(self, plan: Plan) -> None:
        """Raise UsageError, with what to do instead, if a lever would do nothing to this model."""
        if lever := next(iter(plan.settings()), None):
            advice = "leave it out, or choose model=vae, gan or flow, for a table table_vae or table_gan"
            problem = f"acts on models that are trained in steps, and {self.name} is fitted by a formula"
            raise UsageError(f"training.{lever} {problem}: {advice}")

    def check_pool_size(self, pool_size: int) -> None:
        """Raise UsageError if the pool is too small for the model."""
        setting, smallest = self.smallest_pool
        if pool_size < smallest:
            raise UsageError(f"{setting} needs a pool of at least {smallest} samples: got {pool_size}")

    def fitted_parameters(self) -> dict[str, Any]:
        """Parameters that the record shows, as lists and numbers; empty if it shows none."""
        return {}

    def film_strip(self, num_images: int, *, latents: torch.Generator, noise: torch.Generator) -> Tensor | None:
        """Images of the same latents in every generation; None for models of vectors or without latents."""
        return None


@runtime_checkable
class Autoencoder(Protocol):
    """A model with an encoder, and what it has beyond `GenerativeModel`; `LatentModel` explains these."""

    num_classes: int | None
    encode: Callable[[Samples], Latents]
    place_latents: Callable[[Latents, torch.Generator], Latents]
    render: Callable[..., Tensor]
