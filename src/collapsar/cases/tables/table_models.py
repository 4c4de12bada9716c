"""The VAE and the GAN of rows of a table: linear layers with the heads of `table_heads.py` (Xu et al. 2019).

As in TVAE (arXiv:1907.00503, appendix), the VAE learns a standard deviation of each number around the decoder's mean.
`sample_from` chooses draws from the likelihood or its mode. The mode loses the scatter of numbers around their means,
and all but the likeliest categories.

The GAN's generator outputs numbers directly. Flags and categories are drawn from its logits by Gumbel noise, with
straight-through gradients, so that the critic sees rows in the form of real ones. As in CTGAN (section 4.3), without
its sampling by rare categories.
"""

from collections.abc import Sequence
from math import log
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm

from collapsar.cases.tables.table_heads import Block, Heads, Rows
from collapsar.errors import UsageError, check_fraction, check_positive
from collapsar.models.conditioning import LabelledLatents, OneHotLatents, ProjectionCritic, begun_vectors, given
from collapsar.models.gan.gan import AdversarialModel, Loss, averaged
from collapsar.models.layers import InitialWeights, Layers, Norm, scaled
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
        blocks: Sequence[Block] | None = None,
        latent_dim: int = 8,
        width: int = 128,
        beta: float = 1.0,
        number_sd: float | None = None,
        sample_from: Literal["mean", "likelihood"] = "likelihood",
        learning_rate: float = 0.001,
        adam_betas: Sequence[float] | None = None,
        initial_weights: InitialWeights | None = None,
        norm: Norm | None = None,
        depth: int | None = None,
        dropout: float | None = None,
        width_factor: float | None = None,
        latent_factor: float | None = None,
        latent_components: int | None = None,
        num_classes: int | None = None,
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
            adam_betas=adam_betas,
            latent_components=latent_components,
            num_classes=num_classes,
        )
        self.save_hyperparameters()
        layers = Layers(norm=norm or "none", depth=depth or 0, dropout=dropout or 0.0)
        self.smallest_batch = 2 if layers.norm == "batch" else 1
        self.encoder = labelled_layers(num_values, num_units, 2 * num_latents, layers=layers, num_classes=num_classes)
        self.decoder = labelled_layers(num_latents, num_units, num_values, layers=layers, num_classes=num_classes)
        self.begin(initial_weights)
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
    ) -> Rows:
        outputs = given(self.decoder, latents, labels).float()
        if self.sample_from == "mean":
            return self.likeliest(outputs)
        return self.heads.drawn(outputs, log_sd=self._log_sd, spread=likelihood_spread, generator=generator)

    def likeliest(self, outputs: Rows) -> Rows:
        return self.heads.likeliest(outputs)

    def negative_log_likelihood(self, outputs: Rows, *, values: Rows) -> Float[Tensor, ""]:
        return self.heads.negative_log_likelihood(outputs, values=values, log_sd=self._log_sd).mean()

    @property
    def _log_sd(self) -> Float[Tensor, " number"]:
        return self.log_sd.clamp(min=SMALLEST_LOG_SD)


class TableGAN(AdversarialModel):
    """A GAN of rows of a table, or of any vectors; `conf/model/table_gan.yaml` explains its arguments."""

    name = "table_gan"
    takes_vectors = True
    plan_keys = frozenset({"noise_sd", "noise_schedule"})

    def __init__(
        self,
        *,
        sample_shape: Sequence[int],
        blocks: Sequence[Block] | None = None,
        latent_dim: int = 32,
        generator_width: int = 128,
        critic_width: int = 128,
        temperature: float = 0.5,
        loss: Loss = "non_saturating",
        has_spectral_norm: bool = True,
        gradient_penalty: float = 10.0,
        critic_steps: int = 1,
        ema_decay: float = 0.99,
        generator_learning_rate: float = 0.001,
        critic_learning_rate: float = 0.001,
        adam_betas: Sequence[float] = (0.5, 0.99),
        norm: Norm | None = None,
        depth: int | None = None,
        dropout: float | None = None,
        width_factor: float | None = None,
        latent_factor: float | None = None,
        num_classes: int | None = None,
    ) -> None:
        num_values = check_rows(sample_shape, model=self.name)
        check_positive(latent_dim=latent_dim, generator_width=generator_width, critic_width=critic_width)
        check_positive(temperature=temperature)
        num_latents = scaled(latent_dim, latent_factor)
        super().__init__(
            sample_shape=sample_shape,
            latent_dim=num_latents,
            loss=loss,
            gradient_penalty=gradient_penalty,
            critic_steps=critic_steps,
            generator_learning_rate=generator_learning_rate,
            critic_learning_rate=critic_learning_rate,
            adam_betas=adam_betas,
            num_classes=num_classes,
        )
        check_fraction(ema_decay=ema_decay)
        self.save_hyperparameters()
        layers = Layers(norm=norm or "batch", depth=depth or 0)
        self.smallest_batch = 2 if layers.norm == "batch" else 1
        num_marks = 0 if num_classes is None else num_classes + 1
        num_units = scaled(generator_width, width_factor)
        self.generator = nn.Sequential(
            *linear_layers(num_latents + num_marks, num_units, num_units, num_values, layers=layers)
        )
        if num_classes is not None:
            self.generator = OneHotLatents(self.generator, num_classes=num_classes)
        self.averaged_generator = averaged(self.generator, decay=ema_decay)
        self.critic = make_critic(
            num_values,
            scaled(critic_width, width_factor),
            layers=Layers(norm="none", depth=depth or 0, dropout=dropout or 0.0),
            has_spectral_norm=has_spectral_norm,
            num_classes=num_classes,
        )
        self.heads, self.temperature = Heads(num_values, blocks), temperature

    def shown(self, outputs: Rows, generator: torch.Generator | None) -> Rows:
        if generator is None:
            uniform = torch.rand_like(outputs)
        else:
            uniform = torch.rand(outputs.shape, generator=generator).to(outputs.device)
        return self.heads.relaxed(outputs, temperature=self.temperature, uniform=uniform)


def make_critic(
    num_values: int, num_units: int, *, layers: Layers, has_spectral_norm: bool, num_classes: int | None
) -> nn.Module:
    """Two hidden linear layers and a logit; with `num_classes`, a projection conditions it on the class."""
    wrap = with_spectral_norm if has_spectral_norm else nn.Identity()
    *hidden, head = linear_layers(num_values, num_units, num_units, 1, layers=layers)
    features = nn.Sequential(*(wrap(layer) if isinstance(layer, nn.Linear) else layer for layer in hidden))
    if num_classes is None:
        return nn.Sequential(*features, wrap(head))
    vectors = begun_vectors(num_classes, feature_dim=num_units)
    return ProjectionCritic(features, head=wrap(head), vectors=wrap(vectors))


def labelled_layers(
    num_inputs: int, num_units: int, num_outputs: int, *, layers: Layers, num_classes: int | None
) -> nn.Module:
    """Linear layers with two hidden ones, conditioned on the class if `num_classes` is given."""
    num_given = num_inputs if num_classes is None else 2 * num_inputs
    network = nn.Sequential(*linear_layers(num_given, num_units, num_units, num_outputs, layers=layers))
    return network if num_classes is None else LabelledLatents(network, num_classes=num_classes, latent_dim=num_inputs)


def check_rows(sample_shape: Sequence[int], *, model: str) -> int:
    """Number of values in a row; samples that are not vectors are refused."""
    if len(sample_shape) != 1:
        raise UsageError(
            f"model={model} takes vectors, and samples have the shape {list(sample_shape)}: choose model=vae or gan"
        )
    return sample_shape[0]
