"""The VAE of rows of a table (`vae.py`): linear layers with the likelihood of mixed columns (`table_heads.py`).

As in TVAE (Xu et al. 2019, arXiv:1907.00503, appendix), each number has a learnt standard deviation around the
decoder's mean. `sample_from` chooses draws from the likelihood or its mode. The mode loses the scatter of numbers
around their means, and all but the likeliest categories.
"""

from collections.abc import Sequence
from math import log
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from collapsar.cases.tables.table_heads import Block, Heads, check_rows
from collapsar.errors import check_positive
from collapsar.models.conditioning import LabelledLatents, given
from collapsar.models.layers import Layers, Norm, scaled
from collapsar.models.learned import MODEL_SPECIFIC_KEYS
from collapsar.models.vae.vae import VariationalModel
from collapsar.models.vae.vae_bodies import linear_layers

SMALLEST_LOG_SD = log(0.01)  # of a number: in a constant column it would fall without bound


class TableVAE(VariationalModel):
    """A VAE of rows of a table, or of any vectors; `conf/model/table_vae.yaml` explains its arguments.

    `sample_from` is `likelihood` (a draw) or `mean` (the means of numbers, the likeliest categories).
    """

    name = "table_vae"
    takes_vectors = True
    plan_keys = MODEL_SPECIFIC_KEYS - {"augmentation", "confidence_cap"}

    def __init__(
        self,
        *,
        sample_shape: Sequence[int],
        blocks: Sequence[Block] | None,
        latent_dim: int,
        width: int,
        beta: float,
        number_sd: float | None,
        sample_from: Literal["mean", "likelihood"],
        learning_rate: float,
        norm: Norm | None,
        depth: int | None,
        dropout: float | None,
        width_factor: float | None,
        latent_factor: float | None,
        latent_components: int | None,
        num_classes: int | None,
    ) -> None:
        num_values = check_rows(sample_shape, model=self.name)
        check_positive(latent_dim=latent_dim, width=width, **({} if number_sd is None else {"number_sd": number_sd}))
        num_latents, num_units = scaled(latent_dim, latent_factor), scaled(width, width_factor)
        super().__init__(
            sample_shape=sample_shape,
            latent_dim=num_latents,
            beta=beta,
            sample_from=sample_from,
            learning_rate=learning_rate,
            latent_components=latent_components,
            num_classes=num_classes,
        )
        self.save_hyperparameters()
        layers = Layers(norm=norm or "none", depth=depth or 0, dropout=dropout or 0.0)
        self.smallest_batch = 2 if layers.norm == "batch" else 1
        self.encoder = labelled_layers(num_values, num_units, 2 * num_latents, layers=layers, num_classes=num_classes)
        self.decoder = labelled_layers(num_latents, num_units, num_values, layers=layers, num_classes=num_classes)
        self.heads = Heads(num_values, blocks)
        start = torch.full((self.heads.num_numbers,), log(number_sd or 1.0))
        self.log_sd = nn.Parameter(start, requires_grad=number_sd is None)

    def decode(
        self,
        latents: Float[Tensor, "sample latent"],
        generator: torch.Generator,
        *,
        likelihood_spread: float,
        labels: Int64[Tensor, " sample"] | None = None,
    ) -> Float[Tensor, "sample value"]:
        outputs = given(self.decoder, latents, labels).float()
        if self.sample_from == "mean":
            return self.heads.likeliest(outputs)
        return self.heads.drawn(outputs, log_sd=self._log_sd, spread=likelihood_spread, generator=generator)

    def negative_log_likelihood(
        self, outputs: Float[Tensor, "sample value"], *, values: Float[Tensor, "sample value"]
    ) -> Float[Tensor, ""]:
        return self.heads.negative_log_likelihood(outputs, values=values, log_sd=self._log_sd).mean()

    @property
    def _log_sd(self) -> Float[Tensor, " number"]:
        return self.log_sd.clamp(min=SMALLEST_LOG_SD)


def labelled_layers(
    num_inputs: int, num_units: int, num_outputs: int, *, layers: Layers, num_classes: int | None
) -> nn.Module:
    """Linear layers with two hidden ones, conditioned on the class if `num_classes` is given."""
    num_given = num_inputs if num_classes is None else 2 * num_inputs
    network = nn.Sequential(*linear_layers(num_given, num_units, num_units, num_outputs, layers=layers))
    return network if num_classes is None else LabelledLatents(network, num_classes=num_classes, latent_dim=num_inputs)
