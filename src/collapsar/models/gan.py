"""The GAN (Goodfellow et al. 2014, arXiv:1406.2661), with the bodies of DCGAN and of SN-GAN (`gan_bodies.py`).

With critic logits d(x), the critic minimises and the generator minimises

    non_saturating   softplus(-d(real)) + softplus(d(fake))               softplus(-d(fake))
    hinge            relu(1 - d(real)) + relu(1 + d(fake))                -d(fake)
    wgan_gp          d(fake) - d(real) + penalty (|grad d(mixed)| - 1)^2  -d(fake)

(hinge: Lim & Ye 2017; wgan_gp: Gulrajani et al. 2017, eq. 3). Samples come from an exponential moving average of the
generator's weights. A training step is one critic update; the generator moves every `critic_steps` of them.

Neither loss says how good the samples are. So a GAN is validated by the distance of as many samples of the averaged
generator from the images that were kept: the sliced Wasserstein distance of pixels.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from collapsar.errors import UsageError, check_fraction, check_not_negative, check_positive
from collapsar.models.augmentation import Images, transformed_differentiably
from collapsar.models.bias import Bias
from collapsar.models.conditioning import ProjectionCritic, given
from collapsar.models.course import Losses, Player
from collapsar.models.gan_bodies import GENERATOR_LAYERS, Body, make_rivals
from collapsar.models.latent import SAMPLES_PER_CHUNK
from collapsar.models.layers import Layers, Norm, scaled, without_last
from collapsar.models.learned import LearnedModel
from collapsar.models.pretext import Representation
from collapsar.samples import Samples, to_model_range

NUM_LINES = 256  # of the distance that a GAN is validated by


class GAN(LearnedModel):
    """A GAN of images, sampled from the averaged generator.

    Args:
        sample_shape: Channels, height and width of an image.
        body: Which generator and critic: `conv`, `sn_conv` or `sn_residual` (`gan_bodies.py`).
        latent_dim: Number of latent variables.
        generator_width: Channels of the generator's last stage; of all stages in `sn_residual`.
        critic_width: Channels of the critic's first stage; of all stages in `sn_residual`.
        loss: `non_saturating`, `hinge` or `wgan_gp`.
        has_spectral_norm: Whether the critic's weights are divided by their spectral norm (Miyato et al. 2018).
        gradient_penalty: Weight of the penalty of `wgan_gp`; without effect on the other losses.
        critic_steps: Critic updates for one generator update.
        ema_decay: Decay of the average of the generator's weights, in [0, 1]; 0 samples the last weights.
        generator_learning_rate: Of the generator's Adam.
        critic_learning_rate: Of the critic's Adam.
        adam_betas: Decay rates of both.
        norm: What stands before each hidden activation of the generator (`layers.py`); null: batch norm. The critic
            has none, whatever stands here.
        depth: Layers or blocks that each stage of both has beyond those of the body (`gan_bodies.py`); null: none.
        dropout: Share of the critic's hidden activations that is dropped in training; null: none.
        width_factor: What both widths are multiplied by; null: 1.
        latent_factor: What the number of latent variables is multiplied by; null: 1.
        num_classes: Classes that generator and critic are told, and samples are drawn for (`conditioning.py`); null:
            none.

    Raises:
        UsageError: a value out of range.
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
        num_latents = scaled(latent_dim, latent_factor)
        super().__init__(sample_shape=sample_shape, latent_dim=num_latents, num_classes=num_classes)
        check_positive(
            latent_dim=latent_dim,
            generator_width=generator_width,
            critic_width=critic_width,
            critic_steps=critic_steps,
            generator_learning_rate=generator_learning_rate,
            critic_learning_rate=critic_learning_rate,
        )
        check_fraction(ema_decay=ema_decay)
        check_not_negative(gradient_penalty=gradient_penalty)
        if len(adam_betas) != 2 or not all(0 <= beta < 1 for beta in adam_betas):
            raise UsageError(f"adam_betas must be two numbers from 0 up to, but not including, 1: got {adam_betas}")
        self.save_hyperparameters()
        self.loss, self.gradient_penalty, self.critic_steps = loss, gradient_penalty, critic_steps
        self.learning_rates = (critic_learning_rate, generator_learning_rate)
        self.adam_betas = (adam_betas[0], adam_betas[1])
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
        self.averaged_generator = AveragedModel(
            self.generator, multi_avg_fn=get_ema_multi_avg_fn(ema_decay), use_buffers=True
        )
        self.critic = rivals.critic

    def decode(
        self,
        latents: Float[Tensor, "sample latent"],
        generator: torch.Generator,
        *,
        likelihood_spread: float,
        labels: Int64[Tensor, " sample"] | None = None,
    ) -> Float[Tensor, "sample channel height width"]:
        return given(self.averaged_generator, latents, labels).float().sigmoid()

    def check_bias(self, bias: Bias) -> None:
        if bias.likelihood_spread != 1:
            raise UsageError(
                "bias=tempered_likelihood does nothing to a GAN, which has no likelihood: choose "
                "bias=scaled_latents or truncated_latents"
            )

    @torch.inference_mode()
    def realism(self, samples: Samples) -> Float[Tensor, " sample"]:
        """The critic's logit of each sample, higher for what it takes for real; on the CPU."""
        chunks = (
            samples[start : start + SAMPLES_PER_CHUNK].to(self.device)
            for start in range(0, len(samples), SAMPLES_PER_CHUNK)
        )
        logits = [given(self.critic, to_model_range(chunk.values), self.classes_of(chunk)) for chunk in chunks]
        return torch.cat(logits).squeeze(1).cpu()

    def representation(self) -> Representation:
        """The critic, but for the layer that gives its logit."""
        critic = self.critic
        features = critic.features if isinstance(critic, ProjectionCritic) else without_last(critic)
        critic_rate, _ = self.learning_rates
        return Representation(module=critic, features=features, learning_rate=critic_rate, adam_betas=self.adam_betas)

    def players(self) -> Sequence[Player]:
        critic_rate, generator_rate = self.learning_rates
        return [
            Player(
                module=self.critic,
                losses=self.critic_losses,
                learning_rate=critic_rate,
                adam_betas=self.adam_betas,
                is_sampled=False,
            ),
            Player(
                module=self.generator,
                losses=self.generator_losses,
                learning_rate=generator_rate,
                adam_betas=self.adam_betas,
                steps_per_move=self.critic_steps,
                average=self.averaged_generator,
            ),
        ]

    def share(self, batch: Samples, *, movers: Collection[int]) -> Tensor:
        """As many generated images as the batch has, for both players; with gradients if the generator moves.

        A conditional generator draws them for the classes of the batch.
        """
        latents = torch.randn(len(batch), self.latent_dim, device=self.device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and 1 in movers):
            return given(self.generator, latents, self.classes_of(batch)).float().sigmoid()

    def critic_losses(self, batch: Samples, fake: Tensor) -> Losses:
        """What the critic minimises, as `critic_loss`."""
        real, fake = self.as_seen(to_model_range(batch.values)), self.as_seen(fake.detach())
        labels = self.classes_of(batch)
        both = None if labels is None else labels.repeat(2)
        logits = given(self.critic, torch.cat([real, fake]), both).float()
        loss = critic_loss(real=logits[: len(real)], fake=logits[len(real) :], loss=self.loss)
        if self.loss == "wgan_gp" and self.training:  # without gradients there is no penalty
            loss = loss + self.gradient_penalty * gradient_penalty(self.critic, real=real, fake=fake, labels=labels)
        return {"critic_loss": loss}

    def generator_losses(self, batch: Samples, fake: Tensor) -> Losses:
        """What the generator minimises, as `generator_loss`."""
        with frozen(self.critic):
            logits = given(self.critic, self.as_seen(fake), self.classes_of(batch))
            return {"generator_loss": generator_loss(fake=logits.float(), loss=self.loss)}

    def augmented(self, images: Images) -> Images:
        if self.plan.augmentation is None or not self.training:
            return images
        return transformed_differentiably(images, self.plan.augmentation)

    def as_seen(self, images: Images) -> Images:
        """Real or generated images as the critic sees them: augmented, with noise."""
        return self.noised(self.augmented(images))

    def validation_scores(self, batch: Samples, shared: Any) -> Losses:
        latents = torch.randn(len(batch), self.latent_dim, device=self.device)
        drawn = given(self.averaged_generator, latents, self.classes_of(batch)).float().sigmoid()
        distance = sliced_wasserstein(to_model_range(batch.values).flatten(1), drawn.flatten(1))
        return super().validation_scores(batch, shared) | {"distance": distance}


def sliced_wasserstein(first: Float[Tensor, "sample d"], second: Float[Tensor, "sample d"]) -> Float[Tensor, ""]:
    """Wasserstein-2 distance of projections on random lines: square root of its mean square (Rabin et al. 2011).

    Between sets of one size it is 0 where they are equal, and needs a sort for each line.
    """
    lines = F.normalize(torch.randn(first.shape[1], NUM_LINES, device=first.device), dim=0)
    return ((first @ lines).sort(0).values - (second @ lines).sort(0).values).square().mean().sqrt()


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """What is computed here gives no gradients to the module's weights, which saves a third of going back through it.

    Without this the generator's move would compute gradients of the critic, and the critic's next move discard them.
    """
    learnt = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in learnt:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learnt:
            parameter.requires_grad_(True)


def critic_loss(*, real: Float[Tensor, "sample 1"], fake: Float[Tensor, "sample 1"], loss: str) -> Float[Tensor, ""]:
    """What the critic minimises, given its logits for real and generated images; the penalty is added apart."""
    match loss:
        case "non_saturating":
            return F.softplus(-real).mean() + F.softplus(fake).mean()
        case "hinge":
            return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        case _:
            return fake.mean() - real.mean()


def generator_loss(*, fake: Float[Tensor, "sample 1"], loss: str) -> Float[Tensor, ""]:
    """What the generator minimises, given the critic's logits for its images."""
    return F.softplus(-fake).mean() if loss == "non_saturating" else -fake.mean()


def gradient_penalty(
    critic: nn.Module,
    *,
    real: Float[Tensor, "sample channel height width"],
    fake: Float[Tensor, "sample channel height width"],
    labels: Int64[Tensor, " sample"] | None = None,
) -> Float[Tensor, ""]:
    """Mean of (|grad d(x)| - 1)^2 at x drawn uniformly between real and generated images (Gulrajani et al. 2017)."""
    share = torch.rand(len(real), 1, 1, 1, device=real.device)
    mixed = torch.lerp(real, fake, share).requires_grad_()
    (gradient,) = torch.autograd.grad(given(critic, mixed, labels).float().sum(), mixed, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()
