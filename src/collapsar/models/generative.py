"""The base of every generative model, which is all that the loop knows, and of those that decode latents.

A CPU generator draws all latents before any is decoded, so samples are the same on any device, up to rounding.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from lightning import LightningModule
from torch import Tensor, nn

from collapsar.errors import UsageError
from collapsar.models.bias import UNBIASED, Bias
from collapsar.models.conditioning import Condition
from collapsar.models.layers import check_image_shape
from collapsar.models.plan import Plan
from collapsar.models.shapes import Labels, Latents, PerSample, Values
from collapsar.samples import Samples, from_model_range, to_model_range

SAMPLES_PER_CHUNK = 1024  # bounds memory only: all latents are drawn first, so samples do not depend on it


class GenerativeModel(nn.Module, ABC):
    """A model of the data that can be sampled.

    Attributes:
        is_trained_in_steps: Whether a Trainer steps it (`learned.py`); else it is fitted by a formula (`analytic.py`).
        may_be_compiled: Whether its networks may be compiled for training; not if a loss differentiates them twice.
        realism: The critic's logit of each sample, higher for more real ones; None for models without a critic.
        smallest_pool: A setting, and how many samples a pool must have for it.
        num_classes: Number of classes that it is conditioned on; None for models that see no labels.
        is_continuous: Whether a correction may move samples; false if samples are categories.
        posterior_sd: Mean standard deviation of q(z|x) over samples; None for models other than VAEs.
        encode: Latents of samples, the encoder's means, on the CPU; None for models without one.
    """

    name: ClassVar[str]
    is_trained_in_steps: ClassVar[bool]
    may_be_compiled: bool = False
    realism: ClassVar[Callable[[Any, Samples], PerSample] | None] = None
    smallest_pool: tuple[str, int] = ("training", 1)
    num_classes: int | None = None
    is_continuous: ClassVar[bool] = True
    encode: ClassVar[Callable[[Any, Samples], Latents] | None] = None
    posterior_sd: ClassVar[Callable[[Any, Samples], float] | None] = None

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
            raise UsageError(
                f"training.{lever} acts on models that are trained in steps, and {self.name} is fitted by a formula: "
                "leave it out, or choose model=vae, gan or flow, for a table table_vae or table_gan"
            )

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


class LatentModel(GenerativeModel, LightningModule, ABC):
    """A model that decodes latents, which are standard normal unless `place_latents` is overridden.

    Attributes:
        takes_vectors: Whether samples may be vectors; else they are images.
        has_likelihood: Whether its samples are drawn from a likelihood, which a bias can temper.
        autocast_dtype: Type that networks compute in; None: the type of their weights.
        condition: Its classes, and how often each is drawn; None for models that see no labels.
    """

    takes_vectors: ClassVar[bool] = False
    has_likelihood: bool = True

    def __init__(self, *, sample_shape: Sequence[int], latent_dim: int, num_classes: int | None) -> None:
        super().__init__()
        is_vector = self.takes_vectors and len(sample_shape) == 1
        self.sample_shape = tuple(sample_shape) if is_vector else check_image_shape(sample_shape)
        self.latent_dim = latent_dim
        self.num_classes = num_classes
        self.condition = None if num_classes is None else Condition(num_classes)
        self.autocast_dtype: torch.dtype | None = None

    @abstractmethod
    def decode(
        self, latents: Latents, generator: torch.Generator, *, likelihood_spread: float, labels: Labels | None = None
    ) -> Values:
        """One image in model range, or one vector, for each latent; only conditional models get labels.

        Generator and lambda (`bias.py`) are for decoders that draw from a likelihood.
        """

    def place_latents(self, noise: Latents, generator: torch.Generator) -> Latents:
        """Latents from normal noise, on the CPU; models that are not sampled from N(0, I) override it."""
        return noise

    def check_bias(self, bias: Bias) -> None:
        if bias.likelihood_spread != 1 and not self.has_likelihood:
            raise UsageError(
                f"bias=tempered_likelihood does nothing to model={self.name}, which draws from no likelihood: choose "
                "bias=scaled_latents or truncated_latents, or for a VAE set model.sample_from=likelihood"
            )

    def classes_of(self, batch: Samples) -> Labels | None:
        """The classes of a batch as networks take them (`conditioning.given`); None for an unconditional model."""
        return self.condition.of(batch) if self.condition else None

    @torch.inference_mode()
    def in_chunks(self, samples: Samples, function: Callable[[Values, Labels | None], Tensor]) -> Tensor:
        """A function of samples in model range and their classes, in chunks for the device's memory; on the CPU."""
        starts = range(0, len(samples), SAMPLES_PER_CHUNK)
        chunks = (samples[start : start + SAMPLES_PER_CHUNK].to(self.device) for start in starts)
        return torch.cat([function(to_model_range(chunk.values), self.classes_of(chunk)).cpu() for chunk in chunks])

    def forward(self, latents: Latents, labels: Labels | None = None) -> Values:
        """Decode latents, and in a conditional model the class of each, with gradients; images are in model range."""
        if (labels is None) != (self.condition is None):
            rule = "has no classes, and takes no labels" if labels is not None else "is conditional, and needs labels"
            raise UsageError(f"this model {rule}: model.num_classes is {self.num_classes}")
        classes = {} if labels is None else {"labels": labels}
        return self.decode(latents, torch.default_generator, likelihood_spread=1.0, **classes)

    def sample(self, num_samples: int, generator: torch.Generator | None = None, *, bias: Bias = UNBIASED) -> Samples:
        generator = generator or torch.default_generator
        noise = bias.draw_latents(num_samples, latent_dim=self.latent_dim, generator=generator)
        latents = self.place_latents(noise, generator)
        labels = self.condition.draw(num_samples, generator) if self.condition else None
        rendered = self.render(latents, generator, labels=labels, likelihood_spread=bias.likelihood_spread)
        return Samples(rendered, labels)

    @torch.inference_mode()
    def render(
        self,
        latents: Latents,
        generator: torch.Generator,
        *,
        labels: Labels | None = None,
        likelihood_spread: float = 1.0,
    ) -> Tensor:
        """Images or vectors of these latents and, in a conditional model, labels; on the CPU."""
        assert (labels is None) == (self.condition is None), "a conditional model needs labels, and no other takes any"
        dtype = torch.uint8 if len(self.sample_shape) == 3 else torch.float32
        rendered = torch.empty((len(latents), *self.sample_shape), dtype=dtype)
        is_mixed, was_training = self.autocast_dtype is not None, self.training
        self.eval()
        try:
            with torch.autocast(self.device.type, dtype=self.autocast_dtype, enabled=is_mixed):
                for start in range(0, len(latents), SAMPLES_PER_CHUNK):
                    chunk = slice(start, start + SAMPLES_PER_CHUNK)
                    given = {} if labels is None else {"labels": labels[chunk].to(self.device)}
                    points = latents[chunk].to(self.device)
                    values = self.decode(points, generator, likelihood_spread=likelihood_spread, **given)
                    rendered[chunk] = from_model_range(values)
        finally:
            self.train(was_training)
        return rendered

    def film_strip(self, num_images: int, *, latents: torch.Generator, noise: torch.Generator) -> Tensor | None:
        if len(self.sample_shape) == 1:
            return None
        normal = torch.randn(num_images, self.latent_dim, generator=latents)
        labels = self.condition.in_turn(num_images) if self.condition else None
        return self.render(self.place_latents(normal, latents), noise, labels=labels)
