"""What every generative model is to the loop: it is trained on a pool, and it can be sampled.

The loop knows no family of models. A model answers for itself what it has: latents for a film strip, a critic, fitted
parameters, training in steps. `sample` returns the sample convention, so what enters a pool, a file and a metric is
one and the same tensor.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from collapsar.errors import UsageError
from collapsar.models.bias import UNBIASED, Bias
from collapsar.models.plan import Plan
from collapsar.samples import Samples


class GenerativeModel(nn.Module, ABC):
    """A model of the data that can be sampled.

    Attributes:
        name: As in conf/model.
        is_trained_in_steps: Whether a Trainer steps it (`learned.py`); else it is fitted by a formula (`analytic.py`).
        may_be_compiled: Whether its networks may be compiled for their training; what is differentiated twice may not.
        realism: The critic's logit of each sample, higher for what it takes for real; None for models without a critic.
        num_classes: Classes that it is told, and sampled with; None for models that see no labels.
        is_continuous: Whether a sample may be moved a little; false where samples are categories.
        encode: Latents of samples, the means of an encoder, on the CPU; None for models without one (`Autoencoder`).
    """

    name: ClassVar[str]
    is_trained_in_steps: ClassVar[bool]
    may_be_compiled: bool = False
    realism: ClassVar[Callable[[Any, Samples], Float[Tensor, " sample"]] | None] = None
    num_classes: int | None = None
    is_continuous: ClassVar[bool] = True
    encode: ClassVar[Callable[[Any, Samples], Float[Tensor, "sample latent"]] | None] = None

    @abstractmethod
    def sample(self, num_samples: int, generator: torch.Generator, *, bias: Bias = UNBIASED) -> Samples:
        """Independent draws from the model, in the sample convention, on the CPU.

        The same CPU generator gives the same samples on any device but for rounding.

        Raises:
            NonFiniteError: the model draws NaN or infinite values.
        """

    def check_bias(self, bias: Bias) -> None:
        """Refuse a bias that would do nothing to this model.

        Raises:
            UsageError: with what to set instead.
        """

    def check_plan(self, plan: Plan) -> None:
        """Refuse a lever that would do nothing to this model.

        Raises:
            UsageError: with what to do instead.
        """
        if lever := next(iter(plan.settings()), None):
            raise UsageError(
                f"training.{lever} acts on models that are trained in steps, and {self.name} is fitted by a formula: "
                "leave it out, or choose model=vae, gan or flow, for a table table_vae or table_gan"
            )

    def check_pool_size(self, pool_size: int) -> None:
        """Refuse a pool that is too small for the model.

        Raises:
            UsageError: it is.
        """

    def fitted_parameters(self) -> dict[str, Any]:
        """The parameters as lists and numbers, for the record; empty where they would say nothing."""
        return {}

    def film_strip(self, num_images: int, *, latents: torch.Generator, noise: torch.Generator) -> Tensor | None:
        """Images of the same latents in every generation; None for models without latents."""
        return None


@runtime_checkable
class Autoencoder(Protocol):
    """What a model with an encoder can do besides."""

    num_classes: int | None

    def encode(self, samples: Samples) -> Float[Tensor, "sample latent"]:
        """Latents of samples, the means of the encoder, on the CPU."""
        ...

    def place_latents(
        self, noise: Float[Tensor, "sample latent"], generator: torch.Generator
    ) -> Float[Tensor, "sample latent"]:
        """Latents as the model draws them, from normal noise."""
        ...

    def render(
        self,
        latents: Float[Tensor, "sample latent"],
        generator: torch.Generator,
        *,
        labels: Int64[Tensor, " sample"] | None,
        likelihood_spread: float,
    ) -> Tensor:
        """The values of the samples that these latents and, of a conditional model, labels stand for, on the CPU."""
        ...
