"""Corrections: they move drawn samples, or change how samples are drawn, before selection.

A correction takes the model's way of drawing and returns another. It compares samples with a `Reference`: the chain's
real training set and, for models with an encoder, the latents of generation 0's frozen model. A moved sample x of such
a model is decode(z'), with z' moved from z = encode(x), the encoder's mean. Samples of other models are moved directly,
images in model range.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from collapsar.foundations.errors import UsageError, check_fraction
from collapsar.foundations.samples import Samples, quantise, to_model_range
from collapsar.foundations.seeding import make_generator
from collapsar.models.bias import Bias
from collapsar.models.generative import Autoencoder, GenerativeModel

Points = Float[Tensor, "sample feature"]
Targets = Float[Tensor, "target feature"]
Draw = Callable[[int], Samples]
"""Draws the given number of new samples."""


class Correction(ABC):
    """A rule that changes what a generation draws."""

    name: ClassVar[str]  # as in conf/correction
    recorded: ClassVar[tuple[str, ...]]  # its attributes that stand in the record
    needs_encoder: ClassVar[bool] = False  # of the model
    needs_steps: ClassVar[bool] = False  # a model that is trained in steps
    needs_warm_start: ClassVar[bool] = False  # from the last generation's weights; the experiment then does so
    moves_samples: ClassVar[bool] = False  # a little; categories cannot be moved

    @abstractmethod
    def corrected(
        self, draw: Draw, *, model: GenerativeModel, bias: Bias, reference: "Reference", generator: torch.Generator
    ) -> Draw:
        """The corrected way to draw; `draw` samples the model with the bias."""

    def prepare(self, reference: "Reference") -> Any:
        """Work done once for all generations, after generation 0 is trained; `reference.prepared` is the result."""
        return None

    def acts_at(self, generation: int) -> bool:
        """Whether the samples of this generation are corrected."""
        return True

    def describe(self) -> dict[str, Any]:
        """The correction's entry in the record."""
        return {"name": self.name} | {setting: getattr(self, setting) for setting in self.recorded}

    def check_sizes(self, *, num_real: int, num_classes: int) -> None:  # noqa: B027
        """Raise UsageError if the real training set is too small."""

    def check(self, model: GenerativeModel) -> None:
        """Raise UsageError, with what to choose instead, if the correction does not suit the model."""
        if self.needs_encoder and model.encode is None:
            encoders = "choose model=vae or flow, for a table table_vae"
            raise UsageError(f"correction={self.name} needs a model with an encoder: {encoders}")
        if self.needs_steps and not model.is_trained_in_steps:
            trained = "choose model=vae, gan or flow, for a table table_vae or table_gan"
            raise UsageError(f"correction={self.name} needs a model that is trained in steps: {trained}")
        if self.moves_samples and not model.is_continuous:
            moved = f"moves samples, and those of model={model.name} are categories"
            raise UsageError(f"correction={self.name} {moved}: choose correction=none")


class TowardsReal(Correction, ABC):
    """Moves samples towards real points T(z): z' = (1 - strength) z + strength T(z), with a strength in [0, 1]."""

    recorded: ClassVar[tuple[str, ...]] = ("strength",)
    moves_samples = True
    least_drawn = 1  # samples that must be drawn together to be moved

    def __init__(self, *, strength: int | float) -> None:
        check_fraction(**{"correction.strength": strength})
        self.strength = float(strength)

    @abstractmethod
    def destinations(self, points: Points, *, targets: Targets, generator: torch.Generator) -> Points:
        """T(z) of each point z; the targets are what `prepare` gives, the real points that samples move towards."""

    def corrected(
        self, draw: Draw, *, model: GenerativeModel, bias: Bias, reference: "Reference", generator: torch.Generator
    ) -> Draw:
        if self.strength == 0:
            return draw

        def moved(num_samples: int) -> Samples:
            samples = draw(max(num_samples, self.least_drawn))
            points = reference.embed(samples)
            led_to = self.destinations(points, targets=reference.prepared, generator=generator)
            points = torch.lerp(points, led_to, self.strength)
            return reference.restore(points, like=samples, bias=bias, generator=generator)[:num_samples]

        return moved


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The real samples that a chain's samples are compared with, and the space of the comparison."""

    correction: Correction
    real: Samples
    seed: int
    has_encoder: bool  # of the chain's models; samples are then moved in latent space
    load_first: Callable[[], GenerativeModel]  # generation 0's, in evaluation mode on its device

    @cached_property
    def first(self) -> GenerativeModel:
        """Generation 0's model, frozen."""
        return self.load_first()

    @cached_property
    def prepared(self) -> Any:
        return self.correction.prepare(self)

    def corrected(self, draw: Draw, *, model: GenerativeModel, bias: Bias, generation: int) -> Draw:
        """The corrected way to draw; `draw` is the model's own."""
        generator = make_generator(self.seed, generation, "correction")
        return self.correction.corrected(draw, model=model, bias=bias, reference=self, generator=generator)

    def embed(self, samples: Samples) -> Points:
        """Points of samples: their latents, or their flattened values in model range."""
        encode = self.first.encode if self.has_encoder else None
        return to_model_range(samples.values).flatten(1) if encode is None else encode(samples)

    def restore(self, points: Points, *, like: Samples, bias: Bias, generator: torch.Generator) -> Samples:
        """Samples at these points, with the labels of `like`, the samples that were moved there."""
        if self.has_encoder:
            first, spread = cast("Autoencoder", self.first), bias.likelihood_spread
            labels = None if first.num_classes is None else like.labels
            values = first.render(points, generator, labels=labels, likelihood_spread=spread)
        else:
            moved = points.reshape(like.values.shape)
            values = quantise(moved) if like.values.dtype == torch.uint8 else moved
        return Samples(values, like.labels)


def check_correction(correction: Any) -> Correction:
    """Return the correction; raise UsageError if it is not one."""
    if not isinstance(correction, Correction):
        raise UsageError(f"correction must be a correction: got {correction!r}; choose a file of conf/correction")
    return correction


def stratified_choice(samples: Samples, num_chosen: int, *, generator: torch.Generator) -> Int64[Tensor, " chosen"]:
    """Indices of random samples, sorted by class; each class keeps its share but for rounding.

    The samples are shuffled, sorted by class, and taken at even steps from a random start (systematic sampling).
    Without labels the choice is not stratified.
    """
    order = torch.randperm(len(samples), generator=generator)
    if samples.labels is not None:
        order = order[samples.labels[order].argsort(stable=True)]
    start = torch.rand((), generator=generator, dtype=torch.float64)
    steps = (torch.arange(num_chosen, dtype=torch.float64) + start) * len(samples) / num_chosen
    return order[steps.long().clamp(max=len(samples) - 1)]
