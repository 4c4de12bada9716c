"""The GAN of images (`adversarial.py`), with the bodies of DCGAN and SN-GAN (`gan_bodies.py`)."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm

from collapsar.errors import check_fraction, check_positive
from collapsar.models.augmentation import Images, transformed_differentiably
from collapsar.models.conditioning import ProjectionCritic
from collapsar.models.gan.adversarial import AdversarialModel, averaged
from collapsar.models.gan.gan_bodies import GENERATOR_LAYERS, Body, make_rivals
from collapsar.models.layers import Layers, Norm, scaled, without_last
from collapsar.models.pretext import Representation


class GAN(AdversarialModel):
    """A GAN of images; samples come from the averaged generator.

    Args:
        sample_shape: Channels, height and width of an image.
        body: Generator and critic: `conv`, `sn_conv` or `sn_residual` (`gan_bodies.py`).
        generator_width: Channels of the generator's last stage; of all stages in `sn_residual`.
        critic_width: Channels of the critic's first stage; of all stages in `sn_residual`.
        loss: `non_saturating`, `hinge` or `wgan_gp`.
        has_spectral_norm: Whether the critic's weights are divided by their spectral norm (Miyato et al. 2018).
        gradient_penalty: Weight of the penalty of `wgan_gp`; the other losses ignore it.
        critic_steps: Critic updates for one generator update.
        ema_decay: Decay of the average of the generator's weights, in [0, 1]; 0 samples the last weights.
        adam_betas: Of the generator's and the critic's Adam.
        norm: The norm before each hidden activation of the generator (`layers.py`); null: batch norm. The critic
            never has a norm.
        depth: Extra layers or blocks in each stage of both networks (`gan_bodies.py`); null: none.
        dropout: Share of the critic's hidden activations dropped in training; null: none.
        width_factor: Factor of both widths; null: 1.
        latent_factor: Factor of `latent_dim`; null: 1.
        num_classes: Number of classes that the GAN is conditioned on (`conditioning.py`); null: none.
    """

    name = "gan"
    plan_keys = frozenset({"augmentation", "noise_sd", "noise_schedule"})
    watched = "distance"

    def __init__(
        self,
        *,
        sample_shape: Sequence[int],
        body: Body,
        latent_dim: int,
        generator_width: int,
        critic_width: int,
        loss: Literal["non_saturating", "hinge", "wgan_gp"],
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
        check_positive(latent_dim=latent_dim, generator_width=generator_width, critic_width=critic_width)
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
        rivals = make_rivals(
            body,
            sample_shape,
            latent_dim=num_latents,
            generator_width=scaled(generator_width, width_factor),
            critic_width=scaled(critic_width, width_factor),
            wrap=with_spectral_norm if has_spectral_norm else nn.Identity(),
            generator_layers=Layers(norm=norm or GENERATOR_LAYERS.norm, depth=depth or 0),
            critic_layers=Layers(norm="none", depth=depth or 0, dropout=dropout or 0.0),
            num_classes=num_classes,
        )
        self.generator = rivals.generator
        self.averaged_generator = averaged(self.generator, decay=ema_decay)
        self.critic = rivals.critic

    def shown(
        self, outputs: Float[Tensor, "sample channel height width"], generator: torch.Generator | None
    ) -> Float[Tensor, "sample channel height width"]:
        return outputs.sigmoid()

    def representation(self) -> Representation:
        """The critic without the layer that gives its logit."""
        critic = self.critic
        features = critic.features if isinstance(critic, ProjectionCritic) else without_last(critic)
        critic_rate, _ = self.learning_rates
        return Representation(module=critic, features=features, learning_rate=critic_rate, adam_betas=self.adam_betas)

    def augmented(self, images: Images) -> Images:
        if self.plan.augmentation is None or not self.training:
            return images
        return transformed_differentiably(images, self.plan.augmentation)
