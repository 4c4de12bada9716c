"""Negative extrapolation: a generation is sampled with weights moved away from where synthetic data drove them.

    theta' = (1 + weight) theta_real - weight theta_synthetic

(Neon: Alemohammad et al. 2025, arXiv:2510.03597.) theta_real are the weights of generation 0, which saw real data only.
theta_synthetic are those of this generation, which started from the last one's and was trained on its pool. A weight of
0 samples generation 0's weights, -1 this generation's own; above 0 lies beyond generation 0, on the far side.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from collapsar.drawing.correction import Correction, Draw, Reference
from collapsar.foundations.errors import check_finite
from collapsar.foundations.samples import Samples
from collapsar.models.bias import Bias
from collapsar.models.generative import GenerativeModel


class Extrapolation(Correction):
    """Draws samples with extrapolated weights; the model, its checkpoint and its critic stay as trained.

    Parameters are extrapolated by the weight above, any finite number. Buffers, such as the statistics of batch
    normalisation, stay those of this generation.
    """

    name = "extrapolation"
    recorded = ("weight",)
    needs_steps = True
    needs_warm_start = True

    def __init__(self, *, weight: int | float) -> None:
        check_finite("correction.weight", weight)
        self.weight = float(weight)

    def corrected(
        self, draw: Draw, *, model: GenerativeModel, bias: Bias, reference: Reference, generator: torch.Generator
    ) -> Draw:
        def drawn(num_samples: int) -> Samples:
            with extrapolated(model, real=reference.first, weight=self.weight):
                return draw(num_samples)

        return drawn

    def acts_at(self, generation: int) -> bool:
        return generation > 0


@contextmanager
def extrapolated(model: nn.Module, *, real: nn.Module, weight: float) -> Iterator[None]:
    """Extrapolate a model's parameters inside the context; restore its own afterwards."""
    of_real = dict(real.named_parameters())
    own = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_((1 + weight) * of_real[name] - weight * own[name])
    try:
        yield
    finally:
        model.load_state_dict(own, strict=False)  # buffers did not change
