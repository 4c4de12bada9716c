"""The GAN of images (`adversarial.py`), with the bodies of DCGAN and SN-GAN (`gan_bodies.py`)."""

from collections.abc import Sequence

import torch
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm

from collapsar.errors import check_fraction, check_positive
from collapsar.models.augmentation import transformed_differentiably
from collapsar.models.conditioning import ProjectionCritic
from collapsar.models.gan.adversarial import AdversarialModel, Loss, averaged
from collapsar.models.gan.gan_bodies import GENERATOR_LAYERS, Body, make_rivals
from collapsar.models.layers import Layers, Norm, scaled, unwrapped, without_last
from collapsar.models.pretext import Representation
from collapsar.models.shapes import Images


class GAN(AdversarialModel):
    """A GAN of images; samples come from the averaged generator. `conf/model/gan.yaml` explains its arguments."""

    name = "gan"
    plan_keys = frozenset({"augmentation", "noise_sd", "noise_schedule"})
    transformed = staticmethod(transformed_differentiably)

    def __init__(
        self,
        *,
        sample_shape: Sequence[int],
        body: Body,
        latent_dim: int,
        generator_width: int,
        critic_width: int,
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
        check_positive(latent_dim=latent_dim, generator_width=generator_width, critic_width=critic_width)
        super().__init__(
            sample_shape=sample_shape,
            latent_dim=scaled(latent_dim, latent_factor),
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
        generator, critic = make_rivals(
            body,
            sample_shape,
            latent_dim=self.latent_dim,
            generator_width=scaled(generator_width, width_factor),
            critic_width=scaled(critic_width, width_factor),
            wrap=with_spectral_norm if has_spectral_norm else unwrapped,
            generator_layers=Layers(norm=norm or GENERATOR_LAYERS.norm, depth=depth or 0),
            critic_layers=Layers(norm="none", depth=depth or 0, dropout=dropout or 0.0),
            num_classes=num_classes,
        )
        self.generator = generator
        self.averaged_generator = averaged(generator, decay=ema_decay)
        self.critic = critic

    def shown(self, outputs: Images, generator: torch.Generator | None) -> Images:
        return outputs.sigmoid()

    def representation(self) -> Representation:
        """The critic without the layer that gives its logit."""
        critic = self.critic
        features = critic.features if isinstance(critic, ProjectionCritic) else without_last(critic)
        critic_rate, _ = self.learning_rates
        return Representation(module=critic, features=features, learning_rate=critic_rate, adam_betas=self.adam_betas)
