"""GANs (Goodfellow et al. 2014, arXiv:1406.2661): with any networks, and the one of images (`gan_bodies.py`).

With critic logits d(x), the critic minimises and the generator minimises

    non_saturating   softplus(-d(real)) + softplus(d(fake))               softplus(-d(fake))
    hinge            relu(1 - d(real)) + relu(1 + d(fake))                -d(fake)
    wgan_gp          d(fake) - d(real) + penalty (|grad d(mixed)| - 1)^2  -d(fake)

(hinge: Lim & Ye 2017; wgan_gp: Gulrajani et al. 2017, eq. 3). Samples come from an exponential moving average of the
generator's weights. A training step is one critic update; the generator moves in every `critic_steps`-th step.
Neither player's loss measures the samples. So the validation score is a distance: the sliced Wasserstein distance
between the values of the samples that were kept for validation and of as many samples of the averaged generator.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from collapsar.foundations.errors import check_fraction, check_not_negative, check_positive
from collapsar.foundations.samples import Samples, to_model_range
from collapsar.models.augmentation import transformed_differentiably
from collapsar.models.conditioning import given
from collapsar.models.course import Losses, Player, as_betas
from collapsar.models.gan.gan_bodies import GENERATOR_LAYERS, Body, make_rivals
from collapsar.models.layers import Layers, Norm, scaled, unwrapped
from collapsar.models.learned import LearnedModel
from collapsar.models.shapes import Images, Labels, Latents, Logits, PerSample, Scalar, Values

Loss = Literal["non_saturating", "hinge", "wgan_gp"]
NUM_LINES = 256  # of the sliced Wasserstein distance


class AdversarialModel(LearnedModel, ABC):
    """A GAN with any networks; `conf/model/gan.yaml` explains the arguments.

    The generator turns latents (and classes, if conditional) into outputs, from which `shown` makes samples. The critic
    gives samples in model range (of classes, if conditional) one logit each.
    """

    watched = "distance"
    has_likelihood = False
    generator: nn.Module
    averaged_generator: AveragedModel
    critic: nn.Module

    def __init__(
        self,
        *,
        sample_shape: Sequence[int],
        latent_dim: int,
        loss: Loss,
        gradient_penalty: float,
        critic_steps: int,
        generator_learning_rate: float,
        critic_learning_rate: float,
        adam_betas: Sequence[float],
        num_classes: int | None,
    ) -> None:
        super().__init__(sample_shape=sample_shape, latent_dim=latent_dim, num_classes=num_classes)
        check_positive(
            critic_steps=critic_steps,
            generator_learning_rate=generator_learning_rate,
            critic_learning_rate=critic_learning_rate,
        )
        check_not_negative(gradient_penalty=gradient_penalty)
        self.loss, self.gradient_penalty, self.critic_steps = loss, gradient_penalty, critic_steps
        self.may_be_compiled = loss != "wgan_gp"  # its penalty differentiates twice
        self.learning_rates = (critic_learning_rate, generator_learning_rate)
        self.adam_betas = as_betas(adam_betas)

    @abstractmethod
    def shown(self, outputs: Values, generator: torch.Generator | None) -> Values:
        """Samples in model range from the generator network's float32 outputs, with gradients.

        `generator` is for further draws; None, as in training: torch's own.
        """

    def decode(
        self, latents: Latents, generator: torch.Generator, *, likelihood_spread: float, labels: Labels | None = None
    ) -> Values:
        return self.shown(given(self.averaged_generator, latents, labels).float(), generator)

    def realism(self, samples: Samples) -> PerSample:
        """The critic's logit of each sample, in a group beside the others; higher for more real ones; on the CPU."""
        return self.in_chunks(samples, partial(given, self.critic)).squeeze(1)

    def players(self) -> Sequence[Player]:
        critic_rate, generator_rate = self.learning_rates
        player = partial(Player, adam_betas=self.adam_betas)
        return [
            player(module=self.critic, losses=self.critic_losses, learning_rate=critic_rate, is_sampled=False),
            player(
                module=self.generator,
                losses=self.generator_losses,
                learning_rate=generator_rate,
                steps_per_move=self.critic_steps,
                average=self.averaged_generator,
            ),
        ]

    def share(self, batch: Samples, *, movers: Collection[int]) -> Tensor:
        """Generated samples for both players; with gradients if the generator moves."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and 1 in movers):
            return self._generated(self.generator, batch)

    def _generated(self, generator: nn.Module, batch: Samples) -> Values:
        latents = torch.randn(len(batch), self.latent_dim, device=self.device)
        return self.shown(given(generator, latents, self.classes_of(batch)).float(), None)

    def critic_losses(self, batch: Samples, fake: Tensor) -> Losses:
        real, fake = self.as_seen(to_model_range(batch.values)), self.as_seen(fake.detach())
        labels = self.classes_of(batch)
        both = None if labels is None else labels.repeat(2)
        logits = given(self.critic, torch.cat([real, fake]), both).float()
        loss = critic_loss(real=logits[: len(real)], fake=logits[len(real) :], loss=self.loss)
        if self.loss == "wgan_gp" and self.training:  # the penalty needs gradients
            loss = loss + self.gradient_penalty * gradient_penalty(self.critic, real=real, fake=fake, labels=labels)
        return {"critic_loss": loss}

    def generator_losses(self, batch: Samples, fake: Tensor) -> Losses:
        self.critic.requires_grad_(False)  # its next move would discard the gradients, a third of the backward pass
        try:
            logits = given(self.critic, self.as_seen(fake), self.classes_of(batch))
            return {"generator_loss": generator_loss(fake=logits.float(), loss=self.loss)}
        finally:
            self.critic.requires_grad_(True)

    def as_seen(self, values: Values) -> Values:
        """Real or generated samples with augmentation and noise, as the critic sees them."""
        return self.noised(self.augmented(values))

    def validation_scores(self, batch: Samples, shared: Any) -> Losses:
        drawn = self._generated(self.averaged_generator, batch)
        distance = sliced_wasserstein(to_model_range(batch.values).flatten(1), drawn.flatten(1))
        return super().validation_scores(batch, shared) | {"distance": distance}


class GAN(AdversarialModel):
    """A GAN of images; `conf/model/gan.yaml` explains its arguments."""

    name = "gan"
    pretrained = "critic"
    plan_keys = frozenset({"augmentation", "noise_sd", "noise_schedule"})
    transformed = staticmethod(transformed_differentiably)

    def __init__(
        self,
        *,
        sample_shape: Sequence[int],
        body: Body = "conv",
        latent_dim: int = 64,
        generator_width: int = 32,
        critic_width: int = 32,
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
        deviation_group_size: int | None = None,
        logit_scale: float | None = None,
        num_classes: int | None = None,
    ) -> None:
        check_positive(latent_dim=latent_dim, generator_width=generator_width, critic_width=critic_width)
        check_positive(**{"model.logit_scale": 1 if logit_scale is None else logit_scale})
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
        self.save_hyperparameters()
        self.group_size = deviation_group_size or 1
        layers = partial(Layers, depth=depth or 0)
        generator, critic = make_rivals(
            body,
            sample_shape,
            latent_dim=self.latent_dim,
            generator_width=scaled(generator_width, width_factor),
            critic_width=scaled(critic_width, width_factor),
            wrap=with_spectral_norm if has_spectral_norm else unwrapped,
            generator_layers=layers(norm=norm or GENERATOR_LAYERS.norm),
            critic_layers=layers(norm="none", dropout=dropout or 0.0, group_size=deviation_group_size),
            logit_scale=logit_scale,
            num_classes=num_classes,
        )
        self.generator = generator
        self.averaged_generator = averaged(generator, decay=ema_decay)
        self.critic = critic

    def shown(self, outputs: Images, generator: torch.Generator | None) -> Images:
        return outputs.sigmoid()


def sliced_wasserstein(first: Float[Tensor, "sample d"], second: Float[Tensor, "sample d"]) -> Scalar:
    """Root mean square Wasserstein-2 distance of projections on random lines (Rabin et al. 2011), for equal sizes."""
    lines = F.normalize(torch.randn(first.shape[1], NUM_LINES, device=first.device), dim=0)
    return ((first @ lines).sort(0).values - (second @ lines).sort(0).values).square().mean().sqrt()


def critic_loss(*, real: Logits, fake: Logits, loss: str) -> Scalar:
    """The critic's loss from its logits for real and generated samples, without the penalty."""
    match loss:
        case "non_saturating":
            return F.softplus(-real).mean() + F.softplus(fake).mean()
        case "hinge":
            return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        case _:
            return fake.mean() - real.mean()


def generator_loss(*, fake: Logits, loss: str) -> Scalar:
    """The generator's loss from the critic's logits for its samples."""
    return F.softplus(-fake).mean() if loss == "non_saturating" else -fake.mean()


def gradient_penalty(critic: nn.Module, *, real: Values, fake: Values, labels: Labels | None = None) -> Scalar:
    """Mean of (|grad d(x)| - 1)^2 at x drawn uniformly between real and generated samples (Gulrajani et al. 2017)."""
    share = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
    mixed = torch.lerp(real, fake, share).requires_grad_()
    (gradient,) = torch.autograd.grad(given(critic, mixed, labels).float().sum(), mixed, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


def averaged(generator: nn.Module, *, decay: float) -> AveragedModel:
    """An exponential moving average of a generator's weights and buffers; UsageError unless decay is in [0, 1]."""
    check_fraction(ema_decay=decay)
    return AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
