"""The VAE of images (`variational.py`), with its bodies (`vae_bodies.py`) and its likelihoods of pixels in [0, 1]."""

from collections.abc import Sequence
from math import log, pi, prod
from typing import Literal

import torch
import torch.nn.functional as F

from collapsar.errors import UsageError, check_positive
from collapsar.models.bias import temper_logits, temper_sd
from collapsar.models.conditioning import LabelledImages, given
from collapsar.models.layers import Layers, Norm, scaled, without_last
from collapsar.models.learned import MODEL_SPECIFIC_KEYS
from collapsar.models.plan import Plan
from collapsar.models.pretext import Representation
from collapsar.models.shapes import Images, Labels, Latents, Scalar
from collapsar.models.vae.vae_bodies import Body, make_coder
from collapsar.models.vae.variational import VariationalModel


class VAE(VariationalModel):
    """A VAE of images; `conf/model/vae.yaml` explains its arguments."""

    name = "vae"
    plan_keys = MODEL_SPECIFIC_KEYS

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
        check_positive(latent_dim=latent_dim, width=width, pixel_sd=pixel_sd)
        super().__init__(
            sample_shape=sample_shape,
            latent_dim=scaled(latent_dim, latent_factor),
            beta=beta,
            sample_from=sample_from,
            learning_rate=learning_rate,
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

    def decode(
        self, latents: Latents, generator: torch.Generator, *, likelihood_spread: float, labels: Labels | None = None
    ) -> Images:
        logits = given(self.decoder, latents, labels).float()
        if self.sample_from == "mean":
            return logits.sigmoid()
        if self.likelihood == "bernoulli":
            mean = temper_logits(logits, spread=likelihood_spread).sigmoid()
            return (torch.rand(mean.shape, generator=generator).to(mean.device) < mean).float()
        noise = torch.randn(logits.shape, generator=generator).to(logits.device)
        return logits.sigmoid() + temper_sd(self.pixel_sd, spread=likelihood_spread) * noise

    def representation(self) -> Representation:
        """The encoder without its last layer, which gives means and variances."""
        encoder = self.encoder
        features = encoder.features if isinstance(encoder, LabelledImages) else without_last(encoder)
        return Representation(module=encoder, features=features, learning_rate=self.learning_rate)

    def check_plan(self, plan: Plan) -> None:
        super().check_plan(plan)
        if plan.confidence_cap is not None and self.likelihood != "bernoulli":
            raise UsageError(
                f"training.confidence_cap needs model.likelihood=bernoulli, which gives pixels probabilities: got "
                f"{self.likelihood}"
            )

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
