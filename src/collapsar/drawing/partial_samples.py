"""Partial samples: real images that a model redraws a share of, in place of samples that it makes from nothing.

    x' = decode(z') + (1 - share) (x - decode(z))

with z the mean of the encoder at a real image x, and z' the same latents with a share of them drawn anew. It is what
editing is to replacing, for images: a share of 0 gives the real images, 1 the samples that replace would have drawn.
"""

from typing import Any, cast, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from collapsar.drawing.correction import Correction, Draw, Reference
from collapsar.errors import check_fraction
from collapsar.models.bias import Bias
from collapsar.models.generative import Autoencoder, GenerativeModel
from collapsar.samples import Samples, from_model_range, to_model_range


@final
class PartialSamples(Correction):
    """Real images of which this generation's model, its own encoder and decoder, redraws a share.

    An image keeps its label where the model is conditional and is told it; nobody knows what another redrawn image
    shows. Where the decoder draws, an image and its reconstruction get the same draws, so that the rest x - decode(z)
    is no noise.

    Args:
        share: Of the latents, rounded to whole ones, in [0, 1].
    """

    name = "partial_samples"
    needs_encoder = True

    def __init__(self, *, share: int | float) -> None:
        check_fraction(**{"correction.share": share})
        self.share = float(share)

    def corrected(
        self, draw: Draw, *, model: GenerativeModel, bias: Bias, reference: Reference, generator: torch.Generator
    ) -> Draw:
        if self.share == 1:
            return draw

        def drawn(num_samples: int) -> Samples:
            originals = reference.real[shuffled_rounds(len(reference.real), num_samples, generator=generator)]
            if model.num_classes is None:
                originals = Samples(originals.values)
            if self.share == 0:
                return originals
            return redrawn(cast("Autoencoder", model), originals, share=self.share, bias=bias, generator=generator)

        return drawn

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "share": self.share}


def redrawn(model: Autoencoder, originals: Samples, *, share: float, bias: Bias, generator: torch.Generator) -> Samples:
    """Images of which a model with an encoder redraws a share; the formula is above."""
    latents = model.encode(originals)
    noise = bias.draw_latents(len(latents), latent_dim=latents.shape[1], generator=generator)
    anew = model.place_latents(noise, generator)
    changed = torch.where(is_redrawn(latents, share=share, generator=generator), anew, latents)
    noise_seed, spread = int(torch.randint(2**62, (), generator=generator)), bias.likelihood_spread
    reconstruction, image = (
        model.render(some, torch.Generator().manual_seed(noise_seed), labels=originals.labels, likelihood_spread=spread)
        for some in (latents, changed)
    )
    rest = to_model_range(originals.values) - to_model_range(reconstruction)
    return Samples(from_model_range(to_model_range(image) + (1 - share) * rest), originals.labels)


def is_redrawn(
    latents: Float[Tensor, "sample latent"], *, share: float, generator: torch.Generator
) -> Bool[Tensor, "sample latent"]:
    """Which latents are drawn anew: of each sample equally many, at places of its own."""
    order = torch.rand(latents.shape, generator=generator).argsort(1).argsort(1)
    return order < round(share * latents.shape[1])


def shuffled_rounds(num_available: int, num_wanted: int, *, generator: torch.Generator) -> Tensor:
    """Indices of so many samples: all of them in random order, again and again, until there are enough."""
    num_rounds = -(-num_wanted // num_available)
    rounds = [torch.randperm(num_available, generator=generator) for _ in range(num_rounds)]
    return torch.cat(rounds)[:num_wanted]
