"""Correction: what moves drawn samples, or the way they are drawn, before any are selected.

A correction stands between the model and the selection: it gets the model's own way of drawing and gives another one.
What it holds samples against is a `Reference`: the real training set of the chain, and for models with an encoder the
latents of generation 0's model, which stays frozen. So a moved sample x of such a model is decode(z'), with z' moved
from z = encode(x) (the mean of the encoder); samples of other models are moved as they are, images in model range.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from collapsar.errors import UsageError
from collapsar.models.bias import Bias
from collapsar.models.generative import Autoencoder, GenerativeModel
from collapsar.models.plan import Plan
from collapsar.samples import Samples, quantise, to_model_range
from collapsar.seeding import make_generator

Draw = Callable[[int], Samples]
"""Gives so many new samples."""


class Correction(ABC):
    """A rule that changes what a generation draws.

    Attributes:
        name: As in conf/correction.
        needs_encoder: Whether only models with an encoder can be corrected.
        needs_steps: Whether only models that are trained in steps can be.
        needs_warm_start: Whether each generation must begin with the last one's weights, which is then switched on.
        moves_samples: Whether samples are moved a little, which categories cannot be.
    """

    name: ClassVar[str]
    needs_encoder: ClassVar[bool] = False
    needs_steps: ClassVar[bool] = False
    needs_warm_start: ClassVar[bool] = False
    moves_samples: ClassVar[bool] = False

    @abstractmethod
    def corrected(
        self, draw: Draw, *, model: GenerativeModel, bias: Bias, reference: "Reference", generator: torch.Generator
    ) -> Draw:
        """Another way to draw; `draw` samples the model with the bias."""

    def prepare(self, reference: "Reference") -> Any:
        """What the rule works out once for all generations after generation 0; found in `reference.prepared`."""
        return None

    def acts_at(self, generation: int) -> bool:
        """Whether a generation is corrected."""
        return True

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What a record says of it."""

    def check_sizes(self, *, num_real: int, num_classes: int) -> None:  # noqa: B027
        """Refuse a real training set that is too small.

        Raises:
            UsageError: it is.
        """

    def check(self, model: GenerativeModel) -> None:
        """Refuse a model that cannot be corrected so.

        Raises:
            UsageError: with what to choose instead.
        """
        if self.needs_encoder and model.encode is None:
            raise UsageError(
                f"correction={self.name} needs a model with an encoder: choose model=vae or flow, for a table table_vae"
            )
        if self.needs_steps and not model.is_trained_in_steps:
            raise UsageError(
                f"correction={self.name} needs a model that is trained in steps: choose model=vae, gan or flow, "
                "for a table table_vae or table_gan"
            )
        if self.moves_samples and not model.is_continuous:
            raise UsageError(
                f"correction={self.name} moves samples, and those of model={model.name} are categories: "
                "choose correction=none"
            )


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a chain's samples are held against, and the space in which that is done.

    Attributes:
        num_classes: Its labels run from 0 to num_classes - 1; 0 where it has none.
        has_encoder: Whether the chain's models encode samples as latents, and so are moved there.
        load_first: Gives generation 0's model, in evaluation mode on its device.
    """

    correction: Correction
    real: Samples
    num_classes: int
    seed: int
    has_encoder: bool
    load_first: Callable[[], GenerativeModel]

    @cached_property
    def first(self) -> GenerativeModel:
        """Generation 0's model, frozen."""
        return self.load_first()

    @cached_property
    def prepared(self) -> Any:
        """What the correction worked out once."""
        return self.correction.prepare(self)

    def corrected(self, draw: Draw, *, model: GenerativeModel, bias: Bias, generation: int) -> Draw:
        """The way to draw that the correction makes of the model's own."""
        generator = make_generator(self.seed, generation, "correction")
        return self.correction.corrected(draw, model=model, bias=bias, reference=self, generator=generator)

    def embed(self, samples: Samples) -> Float[Tensor, "sample feature"]:
        """Where samples lie: their latents, or themselves as vectors."""
        if self.has_encoder:
            return cast("Autoencoder", self.first).encode(samples)
        return to_model_range(samples.values).flatten(1)

    def restore(
        self, points: Float[Tensor, "sample feature"], *, like: Samples, bias: Bias, generator: torch.Generator
    ) -> Samples:
        """Samples that lie at these points, with the labels of those that were moved there."""
        if self.has_encoder:
            first, spread = cast("Autoencoder", self.first), bias.likelihood_spread
            labels = None if first.num_classes is None else like.labels
            values = first.render(points, generator, labels=labels, likelihood_spread=spread)
        else:
            values = points.reshape(like.values.shape)
            values = quantise(values) if like.values.dtype == torch.uint8 else values
        return Samples(values, like.labels)


def check_correction(correction: Any) -> Correction:
    """Refuse what is no correction.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(correction, Correction):
        raise UsageError(f"correction must be a correction: got {correction!r}; choose a file of conf/correction")
    return correction


def warm_started(plan: Plan) -> Plan:
    """A plan whose generations begin with the weights of the last one, as it says or without the optimiser's state."""
    return replace(plan, warm_start=plan.warm_start or "weights")


def stratified_choice(samples: Samples, num_chosen: int, *, generator: torch.Generator) -> Int64[Tensor, " chosen"]:
    """Indices of drawn samples, by class, in which classes have their own shares but for rounding.

    The samples are shuffled, put in the order of their classes, and taken at even steps from a drawn start (systematic
    sampling). Without labels it is a plain choice.
    """
    order = torch.randperm(len(samples), generator=generator)
    if samples.labels is not None:
        order = order[samples.labels[order].argsort(stable=True)]
    start = torch.rand((), generator=generator, dtype=torch.float64)
    steps = (torch.arange(num_chosen, dtype=torch.float64) + start) * len(samples) / num_chosen
    return order[steps.long().clamp(max=len(samples) - 1)]
