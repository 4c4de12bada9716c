"""The VAE: its loss against closed forms, and what counts as a sample."""

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from collapsar.foundations.errors import NonFiniteError, UsageError
from collapsar.foundations.samples import Samples
from collapsar.models import conditioning
from collapsar.models.vae.vae import VAE
from tiny_models import VAE_SWITCHED_OFF

LATENT_DIM = 4
SETTINGS = {
    "sample_shape": [1, 8, 8],
    "body": "conv",
    "latent_dim": LATENT_DIM,
    "width": 4,
    "beta": 1.0,
    "likelihood": "bernoulli",
    "pixel_sd": 0.1,
    "sample_from": "mean",
    "learning_rate": 0.01,
    **VAE_SWITCHED_OFF,
}


def make_vae(**changes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VAE(**{**SETTINGS, **changes})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_images(num_samples, *shape):
    return torch.randint(256, (num_samples, *shape), generator=generator(), dtype=torch.uint8)


class FixedEncoder(nn.Module):
    """Gives every image the same posterior."""

    def __init__(self, mu, logvar):
        super().__init__()
        self.parameters_of_posterior = torch.cat([mu, logvar])

    def forward(self, images):
        return self.parameters_of_posterior.expand(len(images), -1)


@pytest.fixture
def posterior():
    return torch.tensor([0.0, 1.0, -2.0, 0.5]), torch.tensor([0.0, -1.0, 0.5, 1.0])


def step_with_posterior(model, posterior):
    model.encoder = FixedEncoder(*posterior)
    return model.losses(Samples(random_images(16, 1, 8, 8)), None)


def test_kl_is_that_of_two_normal_distributions(posterior):
    mu, logvar = posterior
    expected = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum()
    assert step_with_posterior(make_vae(), posterior)["kl"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_kl_of_the_prior_from_itself_is_zero():
    losses = step_with_posterior(make_vae(), (torch.zeros(LATENT_DIM), torch.zeros(LATENT_DIM)))
    assert losses["kl"].item() == 0.0


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_loss_is_the_reconstruction_plus_beta_times_kl(posterior, beta):
    losses = step_with_posterior(make_vae(beta=beta), posterior)
    expected = losses["reconstruction"] + beta * losses["kl"]
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert losses["kl"] > 1


def test_gaussian_likelihood_is_that_of_torch_distributions():
    model = make_vae(likelihood="gaussian", pixel_sd=0.3)
    logits = torch.randn(5, 1, 8, 8, generator=generator())
    images = torch.rand(5, 1, 8, 8, generator=generator(1))
    expected = -Normal(logits.sigmoid(), 0.3).log_prob(images).sum() / 5
    assert model.negative_log_likelihood(logits, values=images).item() == pytest.approx(expected.item(), rel=1e-5)


def test_bernoulli_likelihood_is_that_of_torch_distributions():
    logits = torch.randn(5, 1, 8, 8, generator=generator())
    images = torch.rand(5, 1, 8, 8, generator=generator(1)).round()
    expected = -Bernoulli(logits=logits).log_prob(images).sum() / 5
    loss = make_vae().negative_log_likelihood(logits, values=images)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_loss_does_not_depend_on_the_batch_size():
    model = make_vae()
    logits, images = torch.randn(1, 1, 8, 8, generator=generator()), torch.rand(1, 1, 8, 8, generator=generator(1))
    one, many = (
        model.negative_log_likelihood(logits.repeat(times, 1, 1, 1), values=images.repeat(times, 1, 1, 1))
        for times in (1, 7)
    )
    assert one.item() == pytest.approx(many.item(), rel=1e-6)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("shape", [[channels, side, side] for channels in (1, 3) for side in (8, 28, 32)])
def test_training_lowers_the_loss(likelihood, shape):
    model, images = make_vae(sample_shape=shape, likelihood=likelihood), random_images(8, *shape) // 4
    (optimizer,), losses = model.configure_optimizers(), []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(10):
            loss = model.losses(Samples(images), None)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("sample_from", ["mean", "likelihood"])
@pytest.mark.parametrize("shape", [[channels, side, side] for channels in (1, 3) for side in (8, 28, 32)])
def test_samples_are_images_of_the_datas_shape(likelihood, sample_from, shape):
    model = make_vae(sample_shape=shape, likelihood=likelihood, sample_from=sample_from)
    samples = model.sample(3, generator()).values
    assert samples.dtype == torch.uint8
    assert samples.shape == (3, *shape)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_likelihood_draws_scatter_around_the_mean(likelihood):
    latents = torch.zeros(4000, LATENT_DIM)
    draws, means = (
        make_vae(likelihood=likelihood, sample_from=sample_from).render(latents, generator()) / 255
        for sample_from in ("likelihood", "mean")
    )
    standard_error = 0.5 / 4000**0.5
    assert torch.allclose(draws.mean(0), means[0], atol=5 * standard_error)


def test_gaussian_draws_have_the_pixel_sd():
    model = make_vae(likelihood="gaussian", sample_from="likelihood", pixel_sd=0.05)
    draws = model.render(torch.zeros(4000, LATENT_DIM), generator()) / 255
    assert torch.allclose(draws.std(0), torch.tensor(0.05), atol=0.004)


def test_bernoulli_draws_are_black_or_white():
    draws = make_vae(sample_from="likelihood").sample(20, generator()).values
    assert set(draws.unique().tolist()) == {0, 255}


def test_the_mean_of_given_latents_draws_nothing():
    latents = torch.randn(5, LATENT_DIM, generator=generator())
    model = make_vae()
    assert torch.equal(model.render(latents, generator(1)), model.render(latents, generator(2)))


@pytest.mark.parametrize("sample_from", ["mean", "likelihood"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_samples_do_not_depend_on_the_chunk_size(sample_from, likelihood, monkeypatch):
    model = make_vae(sample_from=sample_from, likelihood=likelihood)
    expected = model.sample(200, generator()).values.int()
    monkeypatch.setattr(conditioning, "SAMPLES_PER_CHUNK", 7)
    differs = (
        model.sample(200, generator()).values.int() - expected
    ).abs() > 1  # one level: rounding of a batched product
    assert differs.float().mean() < 1e-3


def test_samples_follow_the_generator_and_nothing_else():
    model = make_vae(sample_from="likelihood")
    first = model.sample(5, generator()).values
    torch.rand(1)
    assert torch.equal(model.sample(5, generator()).values, first)
    assert not torch.equal(model.sample(5, generator(1)).values, first)


def test_sampling_leaves_a_model_in_training_mode():
    model = make_vae().train()
    model.sample(2, generator())
    assert model.training


def test_a_decoder_that_gives_nan_is_refused():
    model = make_vae()
    with torch.no_grad():
        model.decoder[0].bias.fill_(torch.nan)
    with pytest.raises(NonFiniteError, match="NaN"):
        model.sample(2, generator())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_dim": 0}, "latent_dim must be above 0: got 0"),
        ({"width": 0}, "width must be above 0: got 0"),
        ({"pixel_sd": 0.0}, "pixel_sd must be above 0: got 0.0"),
        ({"learning_rate": -1.0}, "learning_rate must be above 0: got -1.0"),
        ({"beta": -1.0}, "beta must be at least 0: got -1.0"),
        ({"sample_shape": [100]}, "sample_shape must be"),
    ],
)
def test_a_setting_out_of_range_is_refused(change, message):
    with pytest.raises(UsageError, match=message):
        make_vae(**change)


def test_the_betas_of_adam_are_torchs_unless_they_are_set():
    assert make_vae().configure_optimizers()[0].param_groups[0]["betas"] == (0.9, 0.999)
    assert make_vae(adam_betas=[0.8, 0.95]).configure_optimizers()[0].param_groups[0]["betas"] == (0.8, 0.95)


def test_betas_that_are_no_decays_are_refused():
    with pytest.raises(UsageError, match=r"adam_betas must be two numbers from 0 up to"):
        make_vae(adam_betas=[0.9, 1.0])


def test_a_conditional_model_has_a_beta_of_its_own_if_one_is_set():
    assert make_vae(beta=0.5, conditional_beta=0.1).beta == 0.5
    assert make_vae(beta=0.5, conditional_beta=0.1, num_classes=3).beta == 0.1
    assert make_vae(beta=0.5, num_classes=3).beta == 0.5


def test_a_negative_beta_of_conditional_models_is_refused():
    with pytest.raises(UsageError, match="beta must be at least 0"):
        make_vae(conditional_beta=-0.1, num_classes=3)
