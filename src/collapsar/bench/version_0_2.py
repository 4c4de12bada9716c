"""The recipes of version 0.2 for MNIST, written down as they were, so that later ones can be held against them.

A VAE and a GAN of convolutions with 4x4 kernels and stride 2 (28 -> 14 -> 7, 32 and 64 channels), batches of 64 images,
a constant learning rate, float32.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from lightning import Trainer
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from collapsar.models.learned import LearnedModel, Losses, Player
from collapsar.models.plan import AS_IT_IS
from collapsar.samples import Samples, to_model_range
from collapsar.training.train import Recipe

SHAPE = (1, 28, 28)
WIDTH, BOTTOM = 32, (64, 7, 7)
FEATURES = 64 * 7 * 7
BATCH_SIZE = 64


@dataclass(frozen=True, kw_only=True)
class OldRecipe:
    """A recipe, and its number of steps."""

    recipe: Recipe
    num_steps: int


class OldVAE(LearnedModel):
    """The VAE: 16 latents, Bernoulli pixels, Adam with 1e-3; the decoder's mean is the sample."""

    name = "vae"

    def __init__(self) -> None:
        super().__init__(sample_shape=SHAPE, latent_dim=16)
        self.encoder = nn.Sequential(*encoder(nn.SiLU), nn.Linear(FEATURES, 2 * self.latent_dim))
        self.decoder = nn.Sequential(
            nn.Linear(self.latent_dim, FEATURES),
            nn.Unflatten(1, BOTTOM),
            nn.SiLU(),
            nn.ConvTranspose2d(2 * WIDTH, WIDTH, kernel_size=4, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(WIDTH, 1, kernel_size=4, stride=2, padding=1),
        )
        self.to(memory_format=torch.channels_last)

    def players(self) -> Sequence[Player]:
        return [Player(module=self, losses=self.losses, learning_rate=1e-3)]

    def losses(self, batch: Samples, shared: Any) -> Losses:
        """The negative evidence lower bound."""
        images = to_model_range(batch.values)
        mu, logvar = self.encoder(images).chunk(2, dim=1)
        logits = self.decoder(mu + (0.5 * logvar).exp() * torch.randn_like(mu))
        reconstruction = F.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(images)
        return {"loss": reconstruction + 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1).mean()}

    def decode(
        self, latents: Float[Tensor, "sample latent"], generator: torch.Generator, *, likelihood_spread: float
    ) -> Float[Tensor, "sample channel height width"]:
        return self.decoder(latents).sigmoid()


class OldGAN(LearnedModel):
    """The GAN: 64 latents, non-saturating loss, spectral norm, Adam with 4e-4 (.5, .99), weights averaged with .999."""

    name = "gan"

    def __init__(self) -> None:
        super().__init__(sample_shape=SHAPE, latent_dim=64)
        self.generator = nn.Sequential(
            nn.Linear(self.latent_dim, FEATURES),
            nn.Unflatten(1, BOTTOM),
            nn.BatchNorm2d(2 * WIDTH),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * WIDTH, WIDTH, kernel_size=4, stride=2, padding=1),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(),
            nn.ConvTranspose2d(WIDTH, 1, kernel_size=4, stride=2, padding=1),
        ).to(memory_format=torch.channels_last)
        self.averaged = AveragedModel(self.generator, multi_avg_fn=get_ema_multi_avg_fn(0.999), use_buffers=True)
        self.critic = nn.Sequential(
            *encoder(partial(nn.LeakyReLU, 0.2), wrap=spectral_norm), spectral_norm(nn.Linear(FEATURES, 1))
        ).to(memory_format=torch.channels_last)

    def players(self) -> Sequence[Player]:
        adam: dict[str, Any] = {"learning_rate": 4e-4, "adam_betas": (0.5, 0.99)}
        return [
            Player(module=self.critic, losses=self.critic_losses, **adam),
            Player(module=self.generator, losses=self.generator_losses, average=self.averaged, **adam),
        ]

    def share(self, batch: Samples, *, movers: Collection[int]) -> Tensor:
        return self.generator(torch.randn(len(batch), self.latent_dim, device=self.device)).sigmoid()

    def critic_losses(self, batch: Samples, fake: Tensor) -> Losses:
        """softplus(-d(real)) + softplus(d(fake))."""
        logits = self.critic(torch.cat([to_model_range(batch.values), fake.detach()]))
        real, generated = logits.split(len(batch))
        return {"critic_loss": F.softplus(-real).mean() + F.softplus(generated).mean()}

    def generator_losses(self, batch: Samples, fake: Tensor) -> Losses:
        """softplus(-d(fake))."""
        return {"generator_loss": F.softplus(-self.critic(fake)).mean()}

    def decode(
        self, latents: Float[Tensor, "sample latent"], generator: torch.Generator, *, likelihood_spread: float
    ) -> Float[Tensor, "sample channel height width"]:
        return self.averaged(latents).sigmoid()


def encoder(
    activation: Callable[[], nn.Module], *, wrap: Callable[[nn.Module], nn.Module] = lambda layer: layer
) -> list[nn.Module]:
    """Two convolutions, flattened."""
    return [
        wrap(nn.Conv2d(1, WIDTH, kernel_size=4, stride=2, padding=1)),
        activation(),
        wrap(nn.Conv2d(WIDTH, 2 * WIDTH, kernel_size=4, stride=2, padding=1)),
        activation(),
        nn.Flatten(),
    ]


def old_recipe(model: Callable[[], LearnedModel], *, num_steps: int) -> OldRecipe:
    """A model of then, with the Trainer of then."""
    trainer = partial(
        Trainer,
        accelerator="auto",
        devices=1,
        precision="32-true",
        max_steps=num_steps,
        max_epochs=-1,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    recipe = Recipe(model=model, trainer=trainer, plan=AS_IT_IS, batch_size=BATCH_SIZE)
    return OldRecipe(recipe=recipe, num_steps=num_steps)


OLD_RECIPES = {"vae": old_recipe(OldVAE, num_steps=2800), "gan": old_recipe(OldGAN, num_steps=4000)}
