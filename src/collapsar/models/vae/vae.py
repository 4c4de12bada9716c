"""VAEs (Kingma & Welling 2014, arXiv:1312.6114) with the weight beta of Higgins et al. (2017): any, and that of images.

The loss of a sample x, an image in [0, 1] or a row of a table, is the negative evidence lower bound, in nats for
the whole sample:

    -E_q(z|x)[log p(x|z)] + beta KL(q(z|x) || N(0, I)),   KL = 1/2 sum_j (mu_j^2 + exp(logvar_j) - 1 - logvar_j)

`sample_from` decides how fast a chain collapses: the decoder's *mean* leaves out the likelihood's variance, so each
generation trains on data that vary less; a *likelihood* draw restores it. Levers may give each latent variable free KL,
raise the KL weight from 0, add noise to the encoder's input, or leave almost certain pixels out of the likelihood.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import log, pi, prod
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from collapsar.foundations.errors import UsageError, check_not_negative, check_positive
from collapsar.foundations.samples import Samples, as_samples, to_model_range
from collapsar.models.bias import temper_logits, temper_sd
from collapsar.models.conditioning import given
from collapsar.models.course import ADAM_BETAS, Losses, Player, as_betas
from collapsar.models.layers import InitialWeights, Layers, Norm, begin_as_he, scaled
from collapsar.models.learned import LearnedModel
from collapsar.models.plan import MODEL_SPECIFIC_KEYS, Plan
from collapsar.models.shapes import Images, Labels, Latents, Scalar, Values
from collapsar.models.vae.vae_bodies import MOST_LATENTS, Body, LatentMixture, make_coder


class VariationalModel(LearnedModel, ABC):
    """A VAE with any networks and likelihood; `conf/model/vae.yaml` explains the arguments.

    The encoder turns samples in model range (and classes, if conditional) into 2 * latent_dim numbers, the decoder
    latents (and classes) into the parameters of the likelihood.
    """

    encoder: nn.Module
    decoder: nn.Module

    def __init__(
        self,
        *,
        sample_shape: Sequence[int],
        latent_dim: int,
        beta: float,
        sample_from: Literal["mean", "likelihood"],
        learning_rate: float,
        adam_betas: Sequence[float] | None,
        latent_components: int | None,
        num_classes: int | None,
    ) -> None:
        super().__init__(sample_shape=sample_shape, latent_dim=latent_dim, num_classes=num_classes)
        check_positive(learning_rate=learning_rate)
        check_not_negative(beta=beta)
        self.beta, self.sample_from, self.learning_rate = beta, sample_from, learning_rate
        self.has_likelihood = sample_from == "likelihood"
        self.adam_betas = ADAM_BETAS if adam_betas is None else as_betas(adam_betas)
        self.mixture = None if latent_components is None else LatentMixture(latent_components, latent_dim=latent_dim)
        self.num_concluded = 0 if self.mixture is None else MOST_LATENTS
        self.smallest_pool = (f"model.latent_components={latent_components}", latent_components or 1)

    def begin(self, initial_weights: InitialWeights | None) -> None:
        """Draw the initial weights of both networks in this way; None leaves torch's."""
        if initial_weights == "he":
            begin_as_he(self.encoder)
            begin_as_he(self.decoder)
        elif initial_weights is not None:
            raise UsageError(f"model.initial_weights must be he, or null: got {initial_weights}")

    @abstractmethod
    def negative_log_likelihood(self, outputs: Values, *, values: Values) -> Scalar:
        """-log p(values | the decoder's outputs) in nats, summed over a sample and averaged over the batch."""

    @abstractmethod
    def likeliest(self, outputs: Values) -> Values:
        """The mean or mode of the likelihood, in model range, from the decoder's outputs."""

    def forward(self, batch: Samples | Values, labels: Labels | None = None) -> Values:
        """Reconstruct samples in model range: the likeliest decoding of the mean of q(z|x), with gradients.

        Samples are images (uint8, or floats in [0, 1]), vectors, or `Samples`, which bring their labels. A conditional
        model takes missing classes as unknown.
        """
        given_batch = batch if labels is None else (batch, labels)
        samples = as_samples(given_batch, shape=self.sample_shape, num_classes=self.num_classes)
        classes = self.classes_of(samples)
        mu, _ = self.posterior(to_model_range(samples.values), classes)
        return self.likeliest(given(self.decoder, mu, classes).float())

    def encode(self, samples: Samples) -> Latents:
        """The mean of q(z|x) for each sample, or of q(z|x, y) in a conditional VAE; float32, on the CPU."""
        return self.in_chunks(samples, lambda values, labels: self.posterior(values, labels)[0])

    def posterior_sd(self, samples: Samples) -> float:
        """Standard deviation of q(z|x), averaged over latents and samples."""
        spreads = self.in_chunks(samples, lambda values, labels: (0.5 * self.posterior(values, labels)[1]).exp())
        return float(spreads.mean(dtype=torch.float64))

    def place_latents(self, noise: Latents, generator: torch.Generator) -> Latents:
        return noise if self.mixture is None else self.mixture.place(noise, generator)

    @torch.no_grad()
    def conclude(self, some: Callable[[int], Samples], *, generator: torch.Generator) -> None:
        """Fit the mixture to draws from the posteriors of at most `MOST_LATENTS` samples of the pool."""
        if self.mixture is None:
            return
        batch = some(MOST_LATENTS)
        mu, logvar = self.posterior(to_model_range(batch.values), self.classes_of(batch))
        noise = torch.randn(mu.shape, generator=generator).to(mu.device)
        self.mixture.fit(mu + (0.5 * logvar).exp() * noise, generator=generator)

    def posterior(self, values: Values, labels: Labels | None) -> tuple[Latents, Latents]:
        """Means and log-variances of q(z|x) for samples in model range, or of q(z|x, y) in a conditional VAE."""
        mu, logvar = given(self.encoder, values, labels).float().chunk(2, dim=1)
        return mu, logvar

    def players(self) -> Sequence[Player]:
        return [Player(module=self, losses=self.losses, learning_rate=self.learning_rate, adam_betas=self.adam_betas)]

    def losses(self, batch: Samples, shared: Any) -> Losses:
        """The negative evidence lower bound as `loss`, and its two terms."""
        values, labels = self.augmented(to_model_range(batch.values)), self.classes_of(batch)
        mu, logvar = self.posterior(self.noised(values), labels)
        z = mu + (0.5 * logvar).exp() * torch.randn_like(mu)
        reconstruction = self.negative_log_likelihood(given(self.decoder, z, labels).float(), values=values)
        kl_by_latent = 0.5 * (mu.square() + logvar.exp() - 1 - logvar)
        kl = kl_by_latent.sum(1).mean()
        charged = kl if self.plan.free_bits is None else kl_by_latent.mean(0).clamp(min=self.plan.free_bits).sum()
        kl_weight = self.beta * (self.plan.kl_weight_at(self.progress) if self.training else 1.0)
        return {"loss": reconstruction + kl_weight * charged, "reconstruction": reconstruction, "kl": kl}


class VAE(VariationalModel):
    """A VAE of images; `conf/model/vae.yaml` explains its arguments."""

    name = "vae"
    pretrained = "encoder"
    plan_keys = MODEL_SPECIFIC_KEYS

    def __init__(
        self,
        *,
        sample_shape: Sequence[int],
        body: Body = "conv",
        latent_dim: int = 16,
        width: int = 32,
        beta: float = 1.0,
        conditional_beta: float | None = None,
        likelihood: Literal["bernoulli", "gaussian"] = "bernoulli",
        pixel_sd: float = 0.1,
        sample_from: Literal["mean", "likelihood"] = "mean",
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
        check_positive(latent_dim=latent_dim, width=width, pixel_sd=pixel_sd)
        super().__init__(
            sample_shape=sample_shape,
            latent_dim=scaled(latent_dim, latent_factor),
            beta=beta if num_classes is None or conditional_beta is None else conditional_beta,
            sample_from=sample_from,
            learning_rate=learning_rate,
            adam_betas=adam_betas,
            latent_components=latent_components,
            num_classes=num_classes,
        )
        self.save_hyperparameters()
        self.likelihood, self.pixel_sd = likelihood, pixel_sd
        layers = Layers(norm=norm or "none", depth=depth or 0, dropout=dropout or 0.0)
        self.smallest_batch = 2 if layers.norm == "batch" else 1
        self.encoder, self.decoder = make_coder(
            body,
            sample_shape,
            latent_dim=self.latent_dim,
            width=scaled(width, width_factor),
            layers=layers,
            num_classes=num_classes,
        )
        self.begin(initial_weights)

    def decode(
        self, latents: Latents, generator: torch.Generator, *, likelihood_spread: float, labels: Labels | None = None
    ) -> Images:
        logits = given(self.decoder, latents, labels).float()
        if self.sample_from == "mean":
            return self.likeliest(logits)
        if self.likelihood == "bernoulli":
            mean = temper_logits(logits, spread=likelihood_spread).sigmoid()
            return (torch.rand(mean.shape, generator=generator).to(mean.device) < mean).float()
        noise = torch.randn(logits.shape, generator=generator).to(logits.device)
        return logits.sigmoid() + temper_sd(self.pixel_sd, spread=likelihood_spread) * noise

    def likeliest(self, outputs: Images) -> Images:
        return outputs.sigmoid()

    def check_plan(self, plan: Plan) -> None:
        super().check_plan(plan)
        if plan.confidence_cap is not None and self.likelihood != "bernoulli":
            problem = "training.confidence_cap needs model.likelihood=bernoulli, which gives pixels probabilities"
            raise UsageError(f"{problem}: got {self.likelihood}")

    def negative_log_likelihood(self, logits: Images, *, values: Images) -> Scalar:
        if self.likelihood == "bernoulli":
            if self.plan.confidence_cap is not None and self.training:
                losses = F.binary_cross_entropy_with_logits(logits, values, reduction="none")
                is_certain = (-losses.detach()).exp() > self.plan.confidence_cap
                return losses.masked_fill(is_certain, 0.0).sum() / len(values)
            return F.binary_cross_entropy_with_logits(logits, values, reduction="sum") / len(values)
        squared = (logits.sigmoid() - values).square().sum() / len(values)
        log_normaliser = prod(self.sample_shape) * (0.5 * log(2 * pi) + log(self.pixel_sd))
        return squared / (2 * self.pixel_sd**2) + log_normaliser
