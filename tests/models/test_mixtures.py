"""A mixture of latents: it is fitted to what the encoder gives, placed from normal noise, and kept with the weights."""

import pytest
import torch
from sklearn.mixture import GaussianMixture
from sklearn.mixture._gaussian_mixture import _estimate_gaussian_parameters

from collapsar.config import composition
from collapsar.data.pool import REAL, Part, Pool
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.models.bias import ScaledLatents, TemperedLikelihood, TruncatedLatents
from collapsar.models.vae.vae import VAE
from collapsar.models.vae.vae_bodies import LatentMixture, fit_mixture, log_densities, maximised, spread_out
from collapsar.training.train import train
from tiny_chains import compose_settings
from tiny_models import VAE_SETTINGS


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def two_clouds(num_samples=1000):
    """Three of four points about (5, 0), a quarter about (-5, 0), with standard deviations .5 and 2."""
    centres = torch.tensor([[5.0, 0.0], [5.0, 0.0], [5.0, 0.0], [-5.0, 0.0]]).repeat(num_samples // 4, 1)
    return centres + torch.tensor([0.5, 2.0]) * torch.randn(num_samples, 2, generator=generator())


def fitted():
    mixture = LatentMixture(2, latent_dim=2)
    mixture.fit(two_clouds(), generator=generator())
    return mixture


def make_vae(**changes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VAE(**{**VAE_SETTINGS, "latent_components": 2, **changes}).eval()


def images(num_images=64):
    return Samples(torch.randint(256, (num_images, 1, 8, 8), generator=generator(), dtype=torch.uint8))


def test_a_fit_finds_the_clouds():
    order = fitted().means[:, 0].argsort()
    assert torch.allclose(fitted().means[order], torch.tensor([[-5.0, 0.0], [5.0, 0.0]]), atol=0.3)
    assert torch.allclose(fitted().weights[order], torch.tensor([0.25, 0.75]), atol=0.01)
    assert torch.allclose(fitted().factors[:, 1, 1], torch.tensor(2.0), atol=0.2)


def test_placed_noise_has_the_moments_of_what_was_fitted():
    placed = fitted().place(torch.randn(20_000, 2, generator=generator()), generator(1))
    assert torch.allclose(placed.mean(0), two_clouds().mean(0), atol=0.15)
    assert torch.allclose(placed.T.cov(), two_clouds().T.cov(), atol=0.5)


def test_the_same_seed_gives_the_same_mixture():
    assert str(fitted().state_dict()) == str(fitted().state_dict())


def test_a_mixture_that_was_not_fitted_leaves_the_noise():
    noise = torch.randn(5, 3, generator=generator())
    assert torch.allclose(LatentMixture(4, latent_dim=3).place(noise, generator()), noise)


def test_a_vae_fits_it_to_the_draws_of_its_encoder():
    model = make_vae()
    model.conclude(lambda num_samples: images()[:num_samples], generator=generator())
    mu, logvar = model.posterior(images().values / 255, None)
    expected = mu + (0.5 * logvar).exp() * torch.randn(mu.shape, generator=generator())
    mean = (model.mixture.weights.unsqueeze(1) * model.mixture.means).sum(0)
    assert torch.allclose(mean, expected.mean(0), atol=1e-4)


def test_samples_come_from_the_mixture():
    model = make_vae()
    model.mixture.means.fill_(3.0)
    model.mixture.factors.zero_()
    latents = torch.full((6, 4), 3.0)  # as many at once as are drawn, or pixels may be rounded differently
    expected = model.render(latents, generator())
    assert torch.equal(model.sample(6, generator()).values, expected)


def test_a_film_strip_keeps_its_noise_and_its_components():
    model = make_vae()
    strips = [model.film_strip(6, latents=generator(1), noise=generator(2)) for _ in range(2)]
    assert torch.equal(*strips)


def test_a_checkpoint_holds_the_mixture(tmp_path):
    settings = compose_settings(
        "lever=[latent_mixture]", "tracking=none", "trainer.accelerator=cpu", "trainer.max_steps=2", "batch_size=8"
    )
    pool = Pool((Part(images(), REAL),))
    training = train(composition.build(settings).parts.recipe, pool, seed=0, generation=0, on_steps=lambda *_: None)
    assert training.model.mixture.means.abs().max() > 0
    training.save(tmp_path / "model.ckpt")
    loaded = VAE.load_from_checkpoint(tmp_path / "model.ckpt", map_location="cpu", weights_only=True)
    expected, again = (model.sample(5, generator()).values for model in (training.model, loaded))
    assert torch.equal(again, expected)


@pytest.mark.parametrize("bias", [ScaledLatents(spread=0.5), TruncatedLatents(spread=0.5)], ids=lambda bias: bias.name)
def test_a_bias_of_latents_narrows_each_component_and_keeps_the_shares(bias):
    make_vae().check_bias(bias)
    noise = bias.draw_latents(40_000, latent_dim=2, generator=generator())
    placed = fitted().place(noise, generator(1))
    right = placed[placed[:, 0] > 0]
    assert len(right) / len(placed) == pytest.approx(0.75, abs=0.02)
    assert torch.allclose(right.T.cov().diagonal(), 0.5 * torch.tensor([0.25, 4.0]), rtol=0.15)


def test_a_bias_of_the_likelihood_goes_with_it():
    make_vae(sample_from="likelihood").check_bias(TemperedLikelihood(spread=0.5))


def test_a_step_is_that_of_scikit_learn():
    rows = two_clouds().double()
    belongs = torch.rand(3, len(rows), generator=generator(), dtype=torch.float64).softmax(0)
    shares, means, factors = maximised(rows, belongs)
    weights, centres, covariances = _estimate_gaussian_parameters(rows.numpy(), belongs.T.numpy(), 1e-4, "full")
    assert torch.allclose(len(rows) * shares, torch.from_numpy(weights))
    assert torch.allclose(means, torch.from_numpy(centres))
    assert torch.allclose(factors @ factors.mT, torch.from_numpy(covariances))


def test_densities_are_those_of_normal_distributions():
    shares, means, factors = fit_mixture(two_clouds(), num_components=3, generator=generator())
    normal = torch.distributions.MultivariateNormal(means.unsqueeze(1), scale_tril=factors.unsqueeze(1))
    rows = two_clouds().double()
    assert torch.allclose(log_densities(rows, means=means, factors=factors), normal.log_prob(rows))
    assert shares.sum() == pytest.approx(1)


def test_a_fit_is_as_likely_as_that_of_scikit_learn():
    rows = torch.cat([two_clouds(), two_clouds() @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]])]).double()
    shares, means, factors = fit_mixture(rows, num_components=4, generator=generator())
    ours = (shares.log().unsqueeze(1) + log_densities(rows, means=means, factors=factors)).logsumexp(0).mean()
    theirs = GaussianMixture(4, reg_covar=1e-4, random_state=0, n_init=3).fit(rows.numpy()).score(rows.numpy())
    assert float(ours) == pytest.approx(theirs, abs=0.02)


def test_fewer_distinct_samples_than_components_are_fitted():
    rows = torch.tensor([[0.0, 1.0], [2.0, 3.0]]).repeat(10, 1)
    shares, means, factors = fit_mixture(rows, num_components=5, generator=generator())
    assert all(each.isfinite().all() for each in (shares, means, factors))
    assert spread_out(rows, 2, generator()).unique(dim=0).shape == (2, 2)


def test_more_components_than_samples_are_refused():
    with pytest.raises(UsageError, match=r"model\.latent_components=2 needs a pool of at least 2 samples: got 1"):
        make_vae().check_pool_size(1)
