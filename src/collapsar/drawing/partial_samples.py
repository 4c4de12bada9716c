"""Partial samples: a model redraws a share of real images instead of drawing samples from nothing.

    x' = decode(z') + (1 - share) (x - decode(z))

Here z is the encoder's mean at a real image x, and z' is z with a share of its latents drawn anew. A share of 0 gives
the real images, a share of 1 the model's own samples; in between, images are edited instead of replaced.
"""

from typing import cast

import torch
from jaxtyping import Bool
from torch import Tensor

from collapsar.drawing.correction import Correction, Draw, Reference
from collapsar.foundations.errors import check_fraction
from collapsar.foundations.samples import Samples, from_model_range, to_model_range
from collapsar.models.bias import Bias
from collapsar.models.generative import Autoencoder, GenerativeModel
from collapsar.models.shapes import Latents


class PartialSamples(Correction):
    """Real images of which this generation's own encoder and decoder redraw a share.

    A conditional model gets an image's label, and the image keeps it. Otherwise the image loses its label, because the
    class that a redrawn image shows is unknown. If the decoder draws noise, an image and its reconstruction get the
    same noise, so that the rest x - decode(z) holds none. The share, in [0, 1], is rounded to whole latents.
    """

    name = "partial_samples"
    recorded = ("share",)
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


def redrawn(model: Autoencoder, originals: Samples, *, share: float, bias: Bias, generator: torch.Generator) -> Samples:
    """Redraw a share of each image by the formula above."""
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


def is_redrawn(latents: Latents, *, share: float, generator: torch.Generator) -> Bool[Tensor, "sample latent"]:
    """Mask of the latents that are drawn anew: equally many in each sample, at random places."""
    order = torch.rand(latents.shape, generator=generator).argsort(1).argsort(1)
    return order < round(share * latents.shape[1])


def shuffled_rounds(num_available: int, num_wanted: int, *, generator: torch.Generator) -> Tensor:
    """`num_wanted` indices: all available ones in random order, then again in a new order, until there are enough."""
    num_rounds = -(-num_wanted // num_available)
    rounds = [torch.randperm(num_available, generator=generator) for _ in range(num_rounds)]
    return torch.cat(rounds)[:num_wanted]
