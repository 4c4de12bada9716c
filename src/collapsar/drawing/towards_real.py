"""Corrections that move samples towards real ones: z' = (1 - strength) z + strength T(z), with a map T to real points.

The reference decides whether z is a latent of generation 0's model or the sample itself.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from collapsar.drawing.correction import Correction, Draw, Points, Reference
from collapsar.errors import check_fraction
from collapsar.models.bias import Bias
from collapsar.models.generative import GenerativeModel
from collapsar.samples import Samples

Targets = Float[Tensor, "target feature"]


class TowardsReal(Correction, ABC):
    """Moves each sample part of the way from z to T(z).

    Args:
        strength: lambda, in [0, 1]: 0 leaves samples as they were drawn, 1 moves them to T(z).
    """

    moves_samples = True
    least_drawn = 1  # samples that must be drawn together to be moved

    def __init__(self, *, strength: int | float) -> None:
        check_fraction(**{"correction.strength": strength})
        self.strength = float(strength)

    @abstractmethod
    def prepare(self, reference: Reference) -> Targets:
        """The real points that samples move towards."""

    @abstractmethod
    def destinations(self, points: Points, *, targets: Targets, generator: torch.Generator) -> Points:
        """T(z) of each point z."""

    def corrected(
        self, draw: Draw, *, model: GenerativeModel, bias: Bias, reference: Reference, generator: torch.Generator
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

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "strength": self.strength}
