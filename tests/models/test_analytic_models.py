import io
import json

import pytest
import torch

from collapsar.data.pool import REAL, Part, Pool
from collapsar.foundations.errors import NonFiniteError, UsageError
from collapsar.foundations.samples import Samples
from collapsar.models.analytic.analytic import Categorical, Gaussian, KernelDensity, LinearRegression, Mixture
from collapsar.models.bias import ScaledLatents
from collapsar.training.train import fit


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(*, dimensions=3, covariance="diagonal", variance="maximum_likelihood"):
    return Gaussian(sample_shape=[dimensions], covariance=covariance, variance=variance)


def mixture(*, num_components=2):
    return Mixture(sample_shape=[2], num_components=num_components, num_starts=1, max_steps=100, min_variance=1e-6)


def categorical(*, dimensions=2, num_categories=4):
    return Categorical(sample_shape=[dimensions], num_categories=num_categories)


def kernel_density(*, bandwidth=None, absolute_bandwidth=None):
    return KernelDensity(sample_shape=[2], bandwidth=bandwidth, absolute_bandwidth=absolute_bandwidth)


def linear_regression(*, dimensions=2, num_inputs=1):
    return LinearRegression(sample_shape=[dimensions], num_inputs=num_inputs, noise_sd=0.5)


def two_clusters(num_samples=400):
    centres = torch.tensor([[-3.0, 0.0], [3.0, 0.0]])[torch.arange(num_samples) % 2]
    return centres + torch.randn(num_samples, 2, generator=generator(1))


def codes(num_samples=60):
    return torch.randint(4, (num_samples, 2), generator=generator(1)).float()


MODELS = {
    "diagonal gaussian": (lambda: gaussian(dimensions=2), two_clusters),
    "full gaussian": (lambda: gaussian(dimensions=2, covariance="full"), two_clusters),
    "categorical": (categorical, codes),
    "kde": (kernel_density, two_clusters),
    "linear_regression": (linear_regression, two_clusters),
    "mixture": (mixture, two_clusters),
}
every_model = pytest.mark.parametrize(("make", "samples"), MODELS.values(), ids=MODELS)
every_model_but_the_mixture = pytest.mark.parametrize(  # its EM draws a weighted pool anew
    ("make", "samples"), list(MODELS.values())[:-1], ids=list(MODELS)[:-1]
)


@every_model
def test_a_checkpoint_gives_the_same_samples(make, samples):
    model = make()
    model.fit(samples(), weights=None, generator=generator())
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    loaded = make()
    loaded.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(loaded.sample(50, generator()).values, model.sample(50, generator()).values)
    assert loaded.fitted_parameters() == model.fitted_parameters()


@every_model
def test_samples_are_float_vectors_and_parameters_go_into_json(make, samples):
    model = make()
    model.fit(samples(), weights=None, generator=generator())
    drawn = model.sample(37, generator()).values
    assert drawn.shape == (37, 2)
    assert drawn.dtype == torch.float32
    json.dumps(model.fitted_parameters(), allow_nan=False)


@every_model_but_the_mixture
def test_even_weights_change_nothing(make, samples):
    plain, weighted = make(), make()
    plain.fit(samples(), weights=None, generator=generator())
    weights = torch.full((len(samples()),), 1 / len(samples()), dtype=torch.float64)
    weighted.fit(samples(), weights=weights, generator=generator())
    for name, buffer in plain.named_buffers():
        assert torch.allclose(weighted.get_buffer(name), buffer, atol=1e-5), name


@every_model
def test_a_weight_of_zero_leaves_a_sample_out(make, samples):
    kept, with_ballast = make(), make()
    kept.fit(samples(), weights=None, generator=generator())
    pool = torch.cat([samples(), samples().flip(1)[:20]])
    weights = torch.cat([torch.full((len(samples()),), 1 / len(samples())), torch.zeros(20)]).double()
    with_ballast.fit(pool, weights=weights, generator=generator())
    first, second = (model.sample(20_000, generator()).values.mean(0) for model in (kept, with_ballast))
    assert torch.allclose(first, second, atol=0.4 if make is mixture else 0.1)


@pytest.mark.parametrize(("variance", "correction"), [("maximum_likelihood", 0), ("unbiased", 1)])
def test_a_diagonal_gaussian_is_the_mean_and_variance_of_each_dimension(variance, correction):
    samples = torch.randn(7, 3, generator=generator()) * 2 + 5
    model = gaussian(variance=variance)
    model.fit(samples, weights=None, generator=generator())
    fitted = model.fitted_parameters()
    assert fitted["mean"] == pytest.approx(samples.mean(0).tolist())
    assert fitted["variance"] == pytest.approx(samples.var(0, correction=correction).tolist())


@pytest.mark.parametrize(("variance", "correction"), [("maximum_likelihood", 0), ("unbiased", 1)])
def test_a_full_gaussian_is_the_sample_covariance(variance, correction):
    samples = torch.randn(9, 3, generator=generator()) @ torch.randn(3, 3, generator=generator(1))
    model = gaussian(covariance="full", variance=variance)
    model.fit(samples, weights=None, generator=generator())
    expected = torch.cov(samples.T, correction=correction)
    assert torch.allclose(torch.tensor(model.fitted_parameters()["covariance"]), expected, atol=1e-5)


def test_weights_count_like_repetitions():
    samples = torch.randn(5, 3, generator=generator())
    times = torch.tensor([1, 2, 3, 1, 1])
    weighted, repeated = gaussian(), gaussian()
    weighted.fit(samples, weights=times / times.sum(), generator=generator())
    repeated.fit(samples.repeat_interleave(times, dim=0), weights=None, generator=generator())
    assert torch.allclose(weighted.mean, repeated.mean, atol=1e-6)
    assert torch.allclose(weighted.covariance, repeated.covariance, atol=1e-6)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_weighted_unbiased_variance_is_unbiased(covariance):
    weights = torch.tensor([0.4, 0.3, 0.2, 0.1])
    model = gaussian(dimensions=1, covariance=covariance, variance="unbiased")
    fits = []
    for seed in range(3000):
        model.fit(torch.randn(4, 1, generator=generator(seed)), weights=weights, generator=generator())
        fits.append(model.covariance.item())
    assert sum(fits) / len(fits) == pytest.approx(1, abs=0.07)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_gaussian_samples_have_the_fitted_moments(covariance):
    mixing = torch.tensor([[1.0, 0.9], [0.0, 0.3]])
    samples = torch.randn(50, 2, generator=generator()) @ mixing + 4
    model = gaussian(dimensions=2, covariance=covariance)
    model.fit(samples, weights=None, generator=generator())
    drawn = model.sample(200_000, generator()).values
    expected = model.covariance if covariance == "full" else model.covariance.diag()
    assert torch.allclose(drawn.mean(0), model.mean, atol=0.02)
    assert torch.allclose(torch.cov(drawn.T), expected, atol=0.02)


def test_a_full_gaussian_of_fewer_samples_than_dimensions_stays_in_their_span():
    model = gaussian(covariance="full")
    model.fit(torch.tensor([[0.0, 0.0, 1.0], [2.0, 0.0, 1.0]]), weights=None, generator=generator())
    drawn = model.sample(100, generator()).values
    assert torch.allclose(drawn[:, 1:], torch.tensor([0.0, 1.0]).expand(100, 2), atol=1e-3)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_bias_multiplies_the_covariance_by_lambda(covariance):
    model = gaussian(dimensions=2, covariance=covariance)
    model.fit(two_clusters(), weights=None, generator=generator())
    plain = model.sample(100, generator()).values
    biased = model.sample(100, generator(), bias=ScaledLatents(spread=0.25)).values
    assert torch.allclose(biased - model.mean, 0.5 * (plain - model.mean), atol=1e-4)


def test_a_mixture_finds_its_components():
    model = mixture()
    model.fit(two_clusters(4000), weights=None, generator=generator())
    fitted = model.fitted_parameters()
    assert sorted(mean[0] for mean in fitted["means"]) == pytest.approx([-3, 3], abs=0.1)
    assert fitted["shares"] == pytest.approx([0.5, 0.5], abs=0.02)
    drawn = model.sample(50_000, generator()).values
    assert torch.allclose(torch.cov(drawn.T), torch.cov(two_clusters(4000).T), atol=0.25)


def test_a_weighted_mixture_follows_its_weights():
    samples = two_clusters(4000)
    weights = torch.where(samples[:, 0] < 0, 0.9, 0.1) / 2000
    model = mixture()
    model.fit(samples, weights=weights / weights.sum(), generator=generator())
    assert max(model.fitted_parameters()["shares"]) == pytest.approx(0.9, abs=0.03)


def test_a_mixture_of_one_repeated_sample_does_not_break():
    model = mixture()
    model.fit(torch.ones(10, 2), weights=None, generator=generator())
    assert torch.allclose(model.sample(5, generator()).values, torch.ones(5, 2), atol=0.02)


def test_a_histogram_holds_the_shares_of_each_dimension():
    model = categorical()
    model.fit(torch.tensor([[0.0, 3.0], [0.0, 3.0], [1.0, 3.0], [2.0, 0.0]]), weights=None, generator=generator())
    assert model.fitted_parameters()["probabilities"] == [[0.5, 0.25, 0.25, 0.0], [0.25, 0.0, 0.0, 0.75]]


def test_a_histogram_draws_its_shares_and_nothing_else():
    model = categorical()
    model.fit(torch.tensor([[1.0, 3.0], [1.0, 0.0], [2.0, 3.0]]), weights=None, generator=generator())
    drawn = model.sample(300_000, generator()).values
    assert (drawn[:, 0] == 1).float().mean().item() == pytest.approx(2 / 3, abs=0.005)
    assert sorted(drawn[:, 0].unique().tolist()) == [1, 2]
    assert sorted(drawn[:, 1].unique().tolist()) == [0, 3]


def test_a_biased_histogram_prefers_its_mode():
    model = categorical(dimensions=1, num_categories=2)
    model.fit(torch.tensor([[0.0], [0.0], [1.0]]), weights=None, generator=generator())
    drawn = model.sample(100_000, generator(), bias=ScaledLatents(spread=0.5)).values
    assert (drawn == 0).float().mean().item() == pytest.approx(4 / 5, abs=0.01)


@pytest.mark.parametrize("value", [-1.0, 4.0, 0.5])
def test_a_histogram_refuses_what_is_no_category(value):
    with pytest.raises(UsageError, match="whole numbers from 0 to 3"):
        categorical().fit(torch.tensor([[value, 0.0]]), weights=None, generator=generator())


def test_a_kernel_density_adds_the_kernel_to_the_sample():
    model = kernel_density(bandwidth=0.5)
    samples = two_clusters(2000)
    model.fit(samples, weights=None, generator=generator())
    variance = samples.var(0, correction=0)
    assert model.fitted_parameters()["variance"] == pytest.approx((1.25 * variance).tolist(), rel=1e-3)
    assert model.sample(200_000, generator()).values.var(0).tolist() == pytest.approx(
        (1.25 * variance).tolist(), rel=0.02
    )


def test_an_absolute_bandwidth_is_the_same_for_every_pool():
    model = kernel_density(absolute_bandwidth=0.25)
    for scale in (1.0, 100.0):
        model.fit(scale * two_clusters(), weights=None, generator=generator())
        assert model.kernel_sd.tolist() == [0.25, 0.25]


def test_a_kernel_density_uses_scotts_rule():
    model = kernel_density()
    model.fit(two_clusters(400), weights=None, generator=generator())
    expected = 400 ** (-1 / 6) * two_clusters(400).std(0, correction=0)
    assert model.kernel_sd.tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_least_squares_is_the_normal_equations():
    samples = torch.randn(30, 5, generator=generator())
    model = linear_regression(dimensions=5, num_inputs=3)
    model.fit(samples, weights=None, generator=generator())
    inputs, outputs = samples[:, :3], samples[:, 3:]
    expected = torch.linalg.solve(inputs.T @ inputs, inputs.T @ outputs)
    assert torch.allclose(model.coefficients, expected, atol=1e-5)


def test_regression_answers_its_own_inputs_in_order():
    samples = torch.randn(4, 2, generator=generator())
    model = linear_regression()
    model.fit(samples, weights=None, generator=generator())
    drawn = model.sample(10, generator()).values
    assert torch.equal(drawn[:, 0], samples[[0, 1, 2, 3, 0, 1, 2, 3, 0, 1], 0])
    residuals = model.sample(100_000, generator()).values @ torch.tensor([-model.coefficients.item(), 1.0])
    assert residuals.std().item() == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Gaussian(sample_shape=[1, 8, 8], covariance="full", variance="unbiased"), "model=gaussian models vec"),
        (lambda: Categorical(sample_shape=[3], num_categories=None), "choose data=categorical"),
        (lambda: LinearRegression(sample_shape=[3], num_inputs=None, noise_sd=1.0), "choose data=linear_regression"),
        (lambda: LinearRegression(sample_shape=[3], num_inputs=3, noise_sd=1.0), "between 1 and 2: got 3"),
        (lambda: kernel_density(bandwidth=0.0), "bandwidth must be above 0"),
        (lambda: kernel_density(absolute_bandwidth=-1.0), "absolute_bandwidth must be above 0"),
        (lambda: kernel_density(bandwidth=0.5, absolute_bandwidth=0.5), "exclude each other: got 0.5 and 0.5"),
        (lambda: mixture(num_components=0), "num_components must be above 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(build, message):
    with pytest.raises(UsageError, match=message):
        build()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            gaussian(dimensions=2, variance="unbiased"),
            "model.variance=unbiased needs a pool of at least 2 samples: got 1",
        ),
        (mixture(), "model.num_components=2 needs a pool of at least 2 samples: got 1"),
        (linear_regression(dimensions=3, num_inputs=2), "model.num_inputs=2 needs a pool of at least 2 samples: got 1"),
    ],
)
def test_too_few_samples_are_refused(model, message):
    with pytest.raises(UsageError, match=message):
        fit(model, Pool((Part(Samples(torch.zeros(1, model.num_dimensions)), REAL),)), generator=generator())


def test_broken_parameters_are_not_sampled():
    model = gaussian()
    model.fit(torch.tensor([[0.0, 1.0, float("nan")]] * 3), weights=None, generator=generator())
    with pytest.raises(NonFiniteError):
        model.sample(3, generator())
