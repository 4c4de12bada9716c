"""Models that decode latents, how they are sampled, and how the networks of conditional ones take a class.

A CPU generator draws all latents before any is decoded, so samples are the same on any device, up to rounding. Samples
of unknown class get the extra class `num_classes`: networks learn from them, but no sample is drawn with that class.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from lightning import LightningModule
from torch import Tensor, nn

from collapsar.foundations.errors import UsageError, check_positive
from collapsar.foundations.samples import UNLABELLED, Samples, from_model_range, to_model_range
from collapsar.models.bias import UNBIASED, Bias
from collapsar.models.generative import GenerativeModel
from collapsar.models.layers import check_image_shape
from collapsar.models.shapes import Features, Images, Labels, Latents, Logits, Values, Weights

SAMPLES_PER_CHUNK = 1024  # bounds memory only: all latents are drawn first, so samples do not depend on it
CLASS_SIZE = 2.0  # of the one-hot vectors of generators


class Condition(nn.Module):
    """The classes that a model is conditioned on, from 0 to num_classes - 1, and how often each is drawn."""

    shares: Float[Tensor, " category"]  # of what the model was trained on, summing to 1; kept with the weights

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        check_positive(num_classes=num_classes)
        self.num_classes = num_classes
        self.register_buffer("shares", torch.full((num_classes,), 1 / num_classes))

    def learn(self, labels: Labels | None, *, weights: Weights | None) -> None:
        """Set the shares from the known labels, each counted with its weight; UsageError if one is too high."""
        labels = torch.empty(0, dtype=torch.int64) if labels is None else labels.cpu()
        is_known = labels != UNLABELLED
        known = labels[is_known]
        if not len(known):
            problem = f"model.num_classes={self.num_classes} needs a pool with labels, and none is known"
            raise UsageError(f"{problem}: set model.num_classes=null")
        if int(known.max()) >= self.num_classes:
            raise UsageError(f"labels must be below model.num_classes={self.num_classes}: got {int(known.max())}")
        counts = known.bincount(weights=None if weights is None else weights[is_known], minlength=self.num_classes)
        self.shares.copy_(counts / counts.sum())

    def draw(self, num_samples: int, generator: torch.Generator) -> Labels:
        """Classes drawn in the proportions of the training set, on the CPU."""
        return torch.multinomial(self.shares.cpu(), num_samples, replacement=True, generator=generator)

    def in_turn(self, num_samples: int) -> Labels:
        """The classes 0, 1, ... over and over, so that pictures stay comparable."""
        return torch.arange(num_samples) % self.num_classes

    def of(self, batch: Samples) -> Labels:
        """The classes of a batch as networks take them: `num_classes` if unknown."""
        if batch.labels is None:
            return torch.full((len(batch),), self.num_classes, device=batch.values.device)
        return batch.labels.where(batch.labels != UNLABELLED, self.num_classes)


class LabelledImages(nn.Module):
    """An encoder that sees a learnt plane of the class as one more channel of its image."""

    def __init__(self, network: nn.Module, *, num_classes: int, sides: tuple[int, int]) -> None:
        super().__init__()
        self.network, self.sides = network, sides
        self.planes = nn.Embedding(num_classes + 1, sides[0] * sides[1])

    def joined(self, images: Images, labels: Labels) -> Float[Tensor, "sample channels height width"]:
        """Images with the plane of their class as the last channel."""
        return torch.cat([images, self.planes(labels).unflatten(1, (1, *self.sides))], dim=1)

    def forward(self, images: Images, labels: Labels) -> Float[Tensor, "sample output"]:
        return self.network(self.joined(images, labels))

    def features(self, images: Images) -> Features:
        """The input of the last layer, for images of unknown class."""
        unknown = torch.full((len(images),), self.planes.num_embeddings - 1, device=images.device)
        assert isinstance(self.network, nn.Sequential), "every body is a stack"
        return self.network[:-1](self.joined(images, unknown))


class LabelledLatents(nn.Module):
    """A decoder whose latents are followed by a learnt vector of the class, of the same size."""

    def __init__(self, network: nn.Module, *, num_classes: int, latent_dim: int) -> None:
        super().__init__()
        self.network = network
        self.vectors = nn.Embedding(num_classes + 1, latent_dim)

    def forward(self, latents: Latents, labels: Labels) -> Float[Tensor, "sample ..."]:
        return self.network(torch.cat([latents, self.vectors(labels)], dim=1))


class OneHotLatents(nn.Module):
    """A generator whose latents are followed by the class as a one-hot vector of `num_classes + 1` numbers.

    After Mirza & Osindero 2014, arXiv:1411.1784. The vector must vary little beside the latents: batch norm keeps a
    generator from ignoring them, as it scales the little that they change back to variance 1, but not if classes vary
    enough (`conf/recipe/README.md`).
    """

    def __init__(self, network: nn.Module, *, num_classes: int) -> None:
        super().__init__()
        self.network, self.num_classes = network, num_classes

    def forward(self, latents: Latents, labels: Labels) -> Float[Tensor, "sample ..."]:
        return self.network(torch.cat([latents, CLASS_SIZE * F.one_hot(labels, self.num_classes + 1)], dim=1))


class ProjectionCritic(nn.Module):
    """A critic whose logit measures how real an image is, plus its last features times a vector of the class.

    The projection discriminator of Miyato & Koyama 2018 (arXiv:1802.05637, equation 3).
    """

    def __init__(self, features: nn.Module, *, head: nn.Module, vectors: nn.Module) -> None:
        super().__init__()
        self.features, self.head, self.vectors = features, head, vectors

    def forward(self, values: Float[Tensor, "sample ..."], labels: Labels) -> Logits:
        features = self.features(values)
        return self.head(features) + (features * self.vectors(labels)).sum(1, keepdim=True)


def begun_vectors(num_classes: int, *, feature_dim: int) -> nn.Embedding:
    """The class vectors of a projection, initialised by Glorot & Bengio (2010), as in the authors' code."""
    vectors = nn.Embedding(num_classes + 1, feature_dim)
    nn.init.xavier_uniform_(vectors.weight)
    return vectors


def check_classes(num_classes: int | None, *, of_data: int) -> None:
    """Raise UsageError if a conditional model has another number of classes than the data (0: no labels)."""
    if num_classes is None or num_classes == of_data:
        return
    advice = f"set model.num_classes={of_data}, or null" if of_data else "set model.num_classes=null"
    raise UsageError(f"model.num_classes must be the data's, which is {of_data}: got {num_classes}; {advice}")


def given(network: nn.Module, inputs: Tensor, labels: Labels | None) -> Tensor:
    """Apply a network to inputs, and to their classes if the model is conditional."""
    output: Tensor = network(inputs) if labels is None else network(inputs, labels)
    return output


class LatentModel(GenerativeModel, LightningModule, ABC):
    """A model that decodes latents, which are standard normal unless `place_latents` is overridden."""

    takes_vectors: ClassVar[bool] = False  # samples may be vectors; else they are images
    has_likelihood: bool = True  # its samples are drawn from a likelihood, which a bias can temper

    def __init__(self, *, sample_shape: Sequence[int], latent_dim: int, num_classes: int | None) -> None:
        super().__init__()
        is_vector = self.takes_vectors and len(sample_shape) == 1
        self.sample_shape = tuple(sample_shape) if is_vector else check_image_shape(sample_shape)
        self.latent_dim = latent_dim
        self.num_classes = num_classes
        self.condition = None if num_classes is None else Condition(num_classes)
        self.autocast_dtype: torch.dtype | None = None  # that networks compute in; None: the type of their weights

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
            problem = f"bias=tempered_likelihood does nothing to model={self.name}, which draws from no likelihood"
            advice = "choose bias=scaled_latents or truncated_latents, or for a VAE set model.sample_from=likelihood"
            raise UsageError(f"{problem}: {advice}")

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
