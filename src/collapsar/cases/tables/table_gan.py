"""The GAN of rows of a table (`gan.py`): linear layers with the heads of `table_heads.py`.

The generator outputs numbers directly. Flags and categories are drawn from its logits by Gumbel noise, with
straight-through gradients, so that the critic sees rows in the form of real ones. As in CTGAN (Xu et al. 2019,
arXiv:1907.00503, section 4.3), without its sampling by rare categories.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm

from collapsar.cases.tables.table_heads import Block, Heads, check_rows
from collapsar.cases.tables.table_vae import labelled_layers
from collapsar.errors import check_fraction, check_positive
from collapsar.models.conditioning import ProjectionCritic, begun_vectors
from collapsar.models.gan.gan import AdversarialModel, Loss, averaged
from collapsar.models.layers import Layers, Norm, scaled
from collapsar.models.vae.vae_bodies import linear_layers


class TableGAN(AdversarialModel):
    """A GAN of rows of a table, or of any vectors, sampled from the averaged generator.

    `conf/model/table_gan.yaml` explains its arguments.
    """

    name = "table_gan"
    takes_vectors = True
    plan_keys = frozenset({"noise_sd", "noise_schedule"})

    def __init__(
        self,
        *,
        sample_shape: Sequence[int],
        blocks: Sequence[Block] | None,
        latent_dim: int,
        generator_width: int,
        critic_width: int,
        temperature: float,
        loss: Loss,
        has_spectral_norm: bool,
        gradient_penalty: float,
        critic_steps: int,
        ema_decay: float,
        generator_learning_rate: float,
        critic_learning_rate: float,
        adam_betas: Sequence[float],
        norm: Norm | None,
        depth: int | None,
        dropout: float | None,
        width_factor: float | None,
        latent_factor: float | None,
        num_classes: int | None,
    ) -> None:
        num_values = check_rows(sample_shape, model=self.name)
        check_positive(
            latent_dim=latent_dim,
            generator_width=generator_width,
            critic_width=critic_width,
            temperature=temperature,
        )
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
        self.generator = labelled_layers(
            num_latents, scaled(generator_width, width_factor), num_values, layers=layers, num_classes=num_classes
        )
        self.averaged_generator = averaged(self.generator, decay=ema_decay)
        self.critic = make_critic(
            num_values,
            scaled(critic_width, width_factor),
            layers=Layers(norm="none", depth=depth or 0, dropout=dropout or 0.0),
            has_spectral_norm=has_spectral_norm,
            num_classes=num_classes,
        )
        self.heads, self.temperature = Heads(num_values, blocks), temperature

    def shown(
        self, outputs: Float[Tensor, "sample value"], generator: torch.Generator | None
    ) -> Float[Tensor, "sample value"]:
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
