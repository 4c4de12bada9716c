"""Conditional models: how their networks take a class, and which classes they are sampled with.

Encoders see images with a learnt plane of the class as one more channel. Decoders get latents with a learnt vector of
the class appended, generators with a one-hot vector (Mirza & Osindero 2014, arXiv:1411.1784). A critic adds to its
logit the inner product of its last features with a vector of the class (the projection discriminator, Miyato & Koyama
2018, arXiv:1802.05637, equation 3). All work with any body. Samples of unknown class get the extra class `num_classes`:
networks learn from them, but no sample is drawn with that class.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from collapsar.errors import UsageError, check_positive
from collapsar.models.layers import without_last
from collapsar.models.shapes import Features, Images, Labels, Latents, Logits, Weights
from collapsar.samples import UNLABELLED, Samples

CLASS_SIZE = 2.0  # of the one-hot vectors of generators


class Condition(nn.Module):
    """The classes that a model is conditioned on, from 0 to num_classes - 1, and how often each is drawn.

    Attributes:
        shares: Share of each class in what the model was trained on, summing to 1; kept with the weights.
    """

    shares: Float[Tensor, " category"]

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
            raise UsageError(
                f"model.num_classes={self.num_classes} needs a pool with labels, and none is known: "
                "set model.num_classes=null"
            )
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
        return without_last(self.network)(self.joined(images, unknown))


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

    The vector must vary little beside the latents. Batch norm keeps a generator from ignoring its latents, as it scales
    the little that they change back to variance 1; it does not if classes vary enough (`conf/recipe/README.md`).
    """

    def __init__(self, network: nn.Module, *, num_classes: int) -> None:
        super().__init__()
        self.network, self.num_classes = network, num_classes

    def forward(self, latents: Latents, labels: Labels) -> Float[Tensor, "sample ..."]:
        return self.network(torch.cat([latents, CLASS_SIZE * F.one_hot(labels, self.num_classes + 1)], dim=1))


class ProjectionCritic(nn.Module):
    """A critic whose logit measures how real an image is and how well it suits its class."""

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
