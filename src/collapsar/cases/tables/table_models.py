"""The VAE and the GAN of rows of a table: linear layers with a head for each block of the encoded vector.

Outputs are the mean of a `number`, and logits of a `flag` or a `choice` (`Table.blocks`); a missing number counts in no
likelihood. As in TVAE and CTGAN (Xu et al. 2019, arXiv:1907.00503), the VAE learns the standard deviation of each
number, and the GAN draws categories by Gumbel noise with straight-through gradients.
"""

from collections.abc import Sequence
from math import log, pi
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm

from collapsar.foundations.errors import UsageError, check_positive
from collapsar.models.bias import temper_logits
from collapsar.models.conditioning import LabelledLatents, OneHotLatents, ProjectionCritic, begun_vectors, given
from collapsar.models.gan.gan import AdversarialModel, Loss, averaged
from collapsar.models.layers import InitialWeights, Layers, Norm, scaled, unwrapped
from collapsar.models.plan import MODEL_SPECIFIC_KEYS
from collapsar.models.shapes import Labels, Latents, PerSample, Rows, Scalar
from collapsar.models.vae.vae import VariationalModel
from collapsar.models.vae.vae_bodies import linear_layers

Block = Sequence[Any]  # kind (`number`, `flag` or `choice`), start and stop in the vector
NORMALISER = 0.5 * log(2 * pi)
SMALLEST_UNIFORM = 1e-10  # keeps log(-log(uniform)) finite
SMALLEST_LOG_SD = log(0.01)  # of a number: in a constant column it would fall without bound


class Heads(nn.Module):
    """The likelihood of rows, and draws of them; `blocks` None: every value is a number."""

    numbers: Int64[Tensor, " number"]  # indices of values
    flags: Int64[Tensor, " flag"]  # indices of values
    flagged: Int64[Tensor, " flag"]  # indices of numbers

    def __init__(self, num_values: int, blocks: Sequence[Block] | None) -> None:
        super().__init__()
        blocks = blocks or [("number", place, place + 1) for place in range(num_values)]
        numbers = [start for kind, start, _ in blocks if kind == "number"]
        flags = [start for kind, start, _ in blocks if kind == "flag"]
        flagged = [numbers.index(flag - 1) for flag in flags]  # a flag follows its number
        for name, places in {"numbers": numbers, "flags": flags, "flagged": flagged}.items():
            self.register_buffer(name, torch.tensor(places, dtype=torch.int64), persistent=False)
        self.choices = [slice(start, stop) for kind, start, stop in blocks if kind == "choice"]

    def negative_log_likelihood(self, outputs: Rows, *, values: Rows, log_sd: Float[Tensor, " number"]) -> PerSample:
        """-log p of each row, in nats."""
        flags, log_sd = values[:, self.flags], log_sd.clamp(min=SMALLEST_LOG_SD)
        errors = (values[:, self.numbers] - outputs[:, self.numbers]) * (-log_sd).exp()
        is_there = torch.ones_like(errors).index_copy(1, self.flagged, 1 - flags)
        of_numbers = ((0.5 * errors.square() + log_sd + NORMALISER) * is_there).sum(1)
        of_flags = F.binary_cross_entropy_with_logits(outputs[:, self.flags], flags, reduction="none").sum(1)
        of_choices = [-(values[:, part] * outputs[:, part].log_softmax(1)).sum(1) for part in self.choices]
        return of_numbers + of_flags + sum(of_choices, torch.zeros_like(of_numbers))

    def likeliest(self, outputs: Rows) -> Rows:
        """Rows of the means of numbers and the likeliest flags and categories."""
        return self._assembled(outputs, numbers=outputs[:, self.numbers], noise=torch.zeros_like(outputs))

    def drawn(
        self, outputs: Rows, *, log_sd: Float[Tensor, " number"], spread: float, generator: torch.Generator
    ) -> Rows:
        """Rows drawn from the likelihood, its density raised to the power 1/lambda; lambda is `spread`."""
        normal = torch.randn(len(outputs), len(self.numbers), generator=generator).to(outputs.device)
        numbers = outputs[:, self.numbers] + spread**0.5 * log_sd.clamp(min=SMALLEST_LOG_SD).exp() * normal
        uniform = torch.rand(outputs.shape, generator=generator).to(outputs.device)
        return self._assembled(temper_logits(outputs, spread=spread), numbers=numbers, noise=gumbel(uniform))

    def relaxed(self, outputs: Rows, *, temperature: float, uniform: Rows) -> Rows:
        """Rows with drawn flags and categories whose gradients are those of softened ones.

        The straight-through Gumbel-softmax estimator (Jang et al. 2017, arXiv:1611.01144, section 2.2). Numbers are the
        network's outputs. The lower the temperature, the nearer softened categories are to drawn ones; `uniform` is the
        noise of the draws, in [0, 1).
        """
        noise = gumbel(uniform)
        rows = self._assembled(outputs, numbers=outputs[:, self.numbers], noise=noise)
        soft = rows.index_copy(1, self.flags, self._flag_odds(outputs, noise).div(temperature).sigmoid())
        for part in self.choices:
            soft[:, part] = ((outputs[:, part] + noise[:, part]) / temperature).softmax(1)
        return rows.detach() + soft - soft.detach()

    def _assembled(self, outputs: Tensor, *, numbers: Tensor, noise: Tensor) -> Tensor:
        flags = (self._flag_odds(outputs, noise) > 0).to(outputs.dtype)
        is_there = torch.ones_like(numbers).index_copy(1, self.flagged, 1 - flags)
        rows = torch.zeros_like(outputs).index_copy(1, self.numbers, numbers * is_there)
        rows = rows.index_copy(1, self.flags, flags)
        for part in self.choices:
            rows[:, part] = F.one_hot((outputs[:, part] + noise[:, part]).argmax(1), part.stop - part.start)
        return rows

    def _flag_odds(self, outputs: Tensor, noise: Tensor) -> Tensor:
        """Logits of flags plus logistic noise (a difference of Gumbel variables): above 0 with a flag's probability."""
        return outputs[:, self.flags] + noise[:, self.flags] - noise[:, self.flags - 1]


def gumbel(uniform: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Standard Gumbel variables from uniform ones: the largest of logits plus these is a draw from their softmax."""
    return -(-uniform.clamp(min=SMALLEST_UNIFORM, max=1 - 1e-7).log()).log()


class TableVAE(VariationalModel):
    """A VAE of rows of a table, or of any vectors; `conf/model/table_vae.yaml` explains its arguments."""

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
        start = torch.full((len(self.heads.numbers),), log(number_sd or 1.0))
        self.log_sd = nn.Parameter(start, requires_grad=number_sd is None)

    def decode(
        self, latents: Latents, generator: torch.Generator, *, likelihood_spread: float, labels: Labels | None = None
    ) -> Rows:
        outputs = given(self.decoder, latents, labels).float()
        if self.sample_from == "mean":
            return self.likeliest(outputs)
        return self.heads.drawn(outputs, log_sd=self.log_sd, spread=likelihood_spread, generator=generator)

    def likeliest(self, outputs: Rows) -> Rows:
        return self.heads.likeliest(outputs)

    def negative_log_likelihood(self, outputs: Rows, *, values: Rows) -> Scalar:
        return self.heads.negative_log_likelihood(outputs, values=values, log_sd=self.log_sd).mean()


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
        device = outputs.device if generator is None else None
        uniform = torch.rand(outputs.shape, generator=generator, device=device).to(outputs.device)
        return self.heads.relaxed(outputs, temperature=self.temperature, uniform=uniform)


def make_critic(
    num_values: int, num_units: int, *, layers: Layers, has_spectral_norm: bool, num_classes: int | None
) -> nn.Module:
    """Two hidden linear layers and a logit; with `num_classes`, a projection conditions it on the class."""
    wrap = with_spectral_norm if has_spectral_norm else unwrapped
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
        problem = f"model={model} takes vectors, and samples have the shape {list(sample_shape)}"
        raise UsageError(f"{problem}: choose model=vae or gan")
    return sample_shape[0]
