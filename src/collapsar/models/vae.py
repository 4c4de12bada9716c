"""The variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114), with the weight beta of Higgins et al. (2017).

The loss for an image x in [0, 1] with D pixels is the negative evidence lower bound, in nats for the whole image:

    -E_q(z|x)[log p(x|z)] + beta KL(q(z|x) || N(0, I)),   KL = 1/2 sum_j (mu_j^2 + exp(logvar_j) - 1 - logvar_j)

What counts as a sample is explicit, because it decides how fast a chain collapses: the decoder's *mean* leaves out
the likelihood's own spread, so each generation is trained on data that vary less; a *likelihood* draw puts it back.

Levers of the plan change the terms: each latent variable may have some KL for free, the weight of the KL term may rise
from 0, the encoder may see noise that the decoder has to undo, and pixels that are all but certain may be left out.
"""

from collections.abc import Callable, Sequence
from math import log, pi, prod
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from collapsar.errors import UsageError, check_not_negative, check_positive
from collapsar.models.bias import Bias, temper_logits, temper_sd
from collapsar.models.conditioning import LabelledImages, given
from collapsar.models.course import Losses, Player
from collapsar.models.latent import SAMPLES_PER_CHUNK
from collapsar.models.latent_mixture import MOST_LATENTS, LatentMixture
from collapsar.models.layers import Layers, Norm, scaled, without_last
from collapsar.models.learned import OF_SOME_MODELS, LearnedModel
from collapsar.models.plan import Plan
from collapsar.models.pretext import Representation
from collapsar.models.vae_bodies import Body, make_coder, make_conditional_coder
from collapsar.samples import Samples, to_model_range


class VAE(LearnedModel):
    """A VAE of images.

    Args:
        sample_shape: Channels, height and width of an image.
        body: Which encoder and decoder: `conv`, `patch`, `mlp` or `residual` (`vae_bodies.py`).
        latent_dim: Number of latent variables.
        width: Channels of the first stage; hidden layers of `patch` and `mlp` have 8 or 16 times as many units.
        beta: Weight of the KL term; 1 is the evidence lower bound.
        likelihood: `bernoulli` (pixels as probabilities) or `gaussian` (with standard deviation `pixel_sd`).
        pixel_sd: Standard deviation of the Gaussian likelihood, in model range; without effect on `bernoulli`.
        sample_from: `mean` (the decoder's mean) or `likelihood` (a draw around it).
        learning_rate: Of Adam.
        norm: What stands before each hidden activation (`layers.py`); null: nothing, as `none`.
        depth: Layers or blocks that each stage has beyond those of the body (`vae_bodies.py`); null: none.
        dropout: Share of hidden activations that is dropped in training; null: none.
        width_factor: What the width is multiplied by; null: 1.
        latent_factor: What the number of latent variables is multiplied by; null: 1.
        latent_components: Components of a Gaussian mixture that is fitted to the encoder's latents after training, and
            sampled in place of N(0, I) (`latent_mixture.py`); null: none.
        num_classes: Classes that encoder and decoder are told, and samples are drawn for (`conditioning.py`); null:
            none.

    Raises:
        UsageError: a value out of range.
    """

    name = "vae"
    plan_keys = OF_SOME_MODELS

    def __init__(
        self,
        *,
        sample_shape: Sequence[int],
        body: Body,
        latent_dim: int,
        width: int,
        beta: float,
        likelihood: Literal["bernoulli", "gaussian"],
        pixel_sd: float,
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
        num_latents = scaled(latent_dim, latent_factor)
        super().__init__(sample_shape=sample_shape, latent_dim=num_latents, num_classes=num_classes)
        check_positive(latent_dim=latent_dim, width=width, pixel_sd=pixel_sd, learning_rate=learning_rate)
        check_not_negative(beta=beta)
        self.save_hyperparameters()
        self.beta, self.likelihood, self.pixel_sd = beta, likelihood, pixel_sd
        self.sample_from, self.learning_rate = sample_from, learning_rate
        layers = Layers(norm=norm or "none", depth=depth or 0, dropout=dropout or 0.0)
        self.smallest_batch = 2 if layers.norm == "batch" else 1
        sizes: dict[str, Any] = {"latent_dim": num_latents, "width": scaled(width, width_factor), "layers": layers}
        if num_classes is None:
            coder = make_coder(body, sample_shape, **sizes)
        else:
            coder = make_conditional_coder(body, sample_shape, num_classes=num_classes, **sizes)
        self.encoder, self.decoder = coder.encoder, coder.decoder
        self.mixture = None if latent_components is None else LatentMixture(latent_components, latent_dim=num_latents)

    def decode(
        self,
        latents: Float[Tensor, "sample latent"],
        generator: torch.Generator,
        *,
        likelihood_spread: float,
        labels: Int64[Tensor, " sample"] | None = None,
    ) -> Float[Tensor, "sample channel height width"]:
        logits = given(self.decoder, latents, labels).float()
        if self.sample_from == "mean":
            return logits.sigmoid()
        if self.likelihood == "bernoulli":
            mean = temper_logits(logits, spread=likelihood_spread).sigmoid()
            return (torch.rand(mean.shape, generator=generator).to(mean.device) < mean).float()
        noise = torch.randn(logits.shape, generator=generator).to(logits.device)
        return logits.sigmoid() + temper_sd(self.pixel_sd, spread=likelihood_spread) * noise

    @torch.inference_mode()
    def encode(self, samples: Samples) -> Float[Tensor, "sample latent"]:
        """The mean of q(z|x) for each image, of a conditional VAE of q(z|x, y), in float32, on the CPU."""
        chunks = []
        for start in range(0, len(samples), SAMPLES_PER_CHUNK):
            chunk = samples[start : start + SAMPLES_PER_CHUNK].to(self.device)
            chunks.append(self.posterior(to_model_range(chunk.values), self.classes_of(chunk))[0].cpu())
        return torch.cat(chunks)

    def check_bias(self, bias: Bias) -> None:
        if bias.likelihood_spread != 1 and self.sample_from == "mean":
            raise UsageError(
                "bias=tempered_likelihood does nothing to the decoder's mean: set model.sample_from=likelihood, "
                "or choose bias=scaled_latents or truncated_latents"
            )
        if bias.spread != 1 and bias.likelihood_spread == 1 and self.mixture is not None:
            raise UsageError(
                f"bias={bias.name} narrows N(0, I), and model.latent_components draws latents from a mixture: "
                "set model.latent_components=null, or bias=none"
            )

    def check_pool_size(self, pool_size: int) -> None:
        if self.mixture is not None and len(self.mixture.weights) > pool_size:
            raise UsageError(
                f"model.latent_components must be at most the pool's {pool_size} samples: "
                f"got {len(self.mixture.weights)}"
            )

    def place_latents(
        self, noise: Float[Tensor, "sample latent"], generator: torch.Generator
    ) -> Float[Tensor, "sample latent"]:
        return noise if self.mixture is None else self.mixture.place(noise, generator)

    @torch.no_grad()
    def conclude(self, some: Callable[[int], Samples], *, generator: torch.Generator) -> None:
        """Fit the mixture to draws from the posteriors of at most a few thousand samples of the pool."""
        if self.mixture is None:
            return
        batch = some(MOST_LATENTS)
        mu, logvar = self.posterior(to_model_range(batch.values), self.classes_of(batch))
        noise = torch.randn(mu.shape, generator=generator).to(mu.device)
        self.mixture.fit(mu + (0.5 * logvar).exp() * noise, seed=generator.initial_seed())

    def representation(self) -> Representation:
        """The encoder, but for the layer that gives means and variances."""
        encoder = self.encoder
        features = encoder.features if isinstance(encoder, LabelledImages) else without_last(encoder)
        return Representation(module=encoder, features=features, learning_rate=self.learning_rate)

    def posterior(
        self, images: Float[Tensor, "sample channel height width"], labels: Int64[Tensor, " sample"] | None
    ) -> tuple[Float[Tensor, "sample latent"], Float[Tensor, "sample latent"]]:
        """Means and log-variances of q(z|x) of images in model range, of a conditional VAE of q(z|x, y)."""
        mu, logvar = given(self.encoder, images, labels).float().chunk(2, dim=1)
        return mu, logvar

    def check_plan(self, plan: Plan) -> None:
        super().check_plan(plan)
        if plan.confidence_cap is not None and self.likelihood != "bernoulli":
            raise UsageError(
                f"training.confidence_cap needs model.likelihood=bernoulli, which gives pixels probabilities: got "
                f"{self.likelihood}"
            )

    def players(self) -> Sequence[Player]:
        return [Player(module=self, losses=self.losses, learning_rate=self.learning_rate)]

    def losses(self, batch: Samples, shared: Any) -> Losses:
        """The negative evidence lower bound as `loss`, and its two terms."""
        images, labels = self.augmented(to_model_range(batch.values)), self.classes_of(batch)
        mu, logvar = self.posterior(self.noised(images), labels)
        z = mu + (0.5 * logvar).exp() * torch.randn_like(mu)
        reconstruction = self.negative_log_likelihood(given(self.decoder, z, labels).float(), images=images)
        kl_by_latent = 0.5 * (mu.square() + logvar.exp() - 1 - logvar)
        kl = kl_by_latent.sum(1).mean()
        charged = kl if self.plan.free_bits is None else kl_by_latent.mean(0).clamp(min=self.plan.free_bits).sum()
        kl_weight = self.beta * (self.plan.kl_weight_at(self.progress) if self.training else 1.0)
        return {"loss": reconstruction + kl_weight * charged, "reconstruction": reconstruction, "kl": kl}

    def negative_log_likelihood(
        self,
        logits: Float[Tensor, "sample channel height width"],
        *,
        images: Float[Tensor, "sample channel height width"],
    ) -> Float[Tensor, ""]:
        """-log p(images | decoder output), in nats for a whole image, averaged over the batch."""
        if self.likelihood == "bernoulli":
            if self.plan.confidence_cap is not None and self.training:
                losses = F.binary_cross_entropy_with_logits(logits, images, reduction="none")
                is_certain = (-losses.detach()).exp() > self.plan.confidence_cap
                return losses.masked_fill(is_certain, 0.0).sum() / len(images)
            return F.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(images)
        squared = (logits.sigmoid() - images).square().sum() / len(images)
        log_normaliser = prod(self.sample_shape) * (0.5 * log(2 * pi) + log(self.pixel_sd))
        return squared / (2 * self.pixel_sd**2) + log_normaliser
