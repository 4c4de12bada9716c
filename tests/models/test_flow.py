"""Flow matching: its equation against closed forms, what its loss is least at, and which end is noise."""

from dataclasses import replace
from math import cos, exp, sin, sqrt

import pytest
import torch
from torch import nn

from collapsar.foundations.errors import NonFiniteError, UsageError
from collapsar.foundations.samples import Samples
from collapsar.models import conditioning
from collapsar.models.bias import ScaledLatents, TemperedLikelihood, TruncatedLatents
from collapsar.models.flow.flow import Flow, between, solve
from collapsar.models.plan import DEFAULT_PLAN
from tiny_models import FLOW_SETTINGS

MEAN, SD = 1.5, 0.4
PLANE = {"sample_shape": [2], "vector_sd": 1.0}


def make_flow(**changes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Flow(**{**FLOW_SETTINGS, **changes})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(num_samples, *shape, seed=0):
    return torch.randn(num_samples, *shape, generator=generator(seed), dtype=torch.float64)


def gaussian_velocity(position, time):
    """E[x_1 - x_0 | x_t] where x_1 is N(MEAN, SD^2) in each dimension: the regression of two normal variables."""
    covariance, variance = time * SD**2 - (1 - time), (1 - time) ** 2 + time**2 * SD**2
    return MEAN + covariance / variance * (position - time * MEAN)


class Learnt(nn.Module):
    """A network that knows the velocity of a Gaussian, or one that is off by a shift."""

    def __init__(self, shift=0.0):
        super().__init__()
        self.shift = shift

    def forward(self, position, time, labels):
        return gaussian_velocity(position, time.reshape(-1, *[1] * (position.ndim - 1))) + self.shift


def gaussian_flow(*, shift=0.0, **changes):
    model = make_flow(**{**PLANE, "num_steps": 40, **changes})
    model.network = Learnt(shift)
    return model


# The equation


@pytest.mark.parametrize("solver", ["euler", "midpoint"])
def test_the_velocity_of_a_gaussian_leads_noise_to_that_gaussian(solver):
    noise = normal(1000, 2)
    led_to = solve(gaussian_velocity, noise, begin=0.0, end=1.0, num_steps=4000, solver=solver)
    assert torch.allclose(led_to, MEAN + SD * noise, atol=1e-3)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2)])
def test_the_error_falls_with_the_order_of_the_solver(solver, order):
    start = normal(100, 2)

    def error(num_steps):
        found = solve(lambda x, t: x * cos(t), start, begin=0.0, end=1.0, num_steps=num_steps, solver=solver)
        return (found - start * exp(sin(1))).abs().max()

    assert torch.log2(error(100) / error(200)).item() == pytest.approx(order, abs=0.1)


def test_midpoint_is_nearer_than_euler_at_as_many_velocities():
    noise = normal(100, 2)
    errors = [
        (solve(gaussian_velocity, noise, begin=0.0, end=1.0, num_steps=steps, solver=solver) - MEAN - SD * noise)
        .abs()
        .max()
        for solver, steps in (("euler", 20), ("midpoint", 10))
    ]
    assert errors[1] < errors[0] / 3


def test_backwards_the_equation_leads_back_to_the_noise():
    noise = normal(100, 2)
    there = solve(gaussian_velocity, noise, begin=0.0, end=1.0, num_steps=200, solver="midpoint")
    back = solve(gaussian_velocity, there, begin=1.0, end=0.0, num_steps=200, solver="midpoint")
    assert torch.allclose(back, noise, atol=1e-3)


def test_noise_is_at_time_0_and_data_at_time_1():
    noise, data = torch.zeros(3, 2), torch.ones(3, 2)
    assert between(noise, data, time=torch.tensor([0.0, 0.25, 1.0])).tolist() == [[0.0] * 2, [0.25] * 2, [1.0] * 2]


# The loss


def loss_of(model, values, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model.losses(Samples(values), None)["loss"]


def test_the_loss_of_the_conditional_mean_is_the_variance_that_it_leaves():
    data = (MEAN + SD * normal(200_000, 2)).float()
    time = torch.linspace(0, 1, 1001, dtype=torch.float64)
    variance, of_position = 1 + SD**2, (1 - time) ** 2 + time**2 * SD**2
    left = variance - (time * SD**2 - (1 - time)) ** 2 / of_position
    assert loss_of(gaussian_flow(), data).item() == pytest.approx(2 * left.mean().item(), rel=0.01)


@pytest.mark.parametrize("shift", [-0.1, 0.1])
def test_any_other_velocity_has_a_greater_loss(shift):
    data = (MEAN + SD * normal(100_000, 2)).float()
    assert loss_of(gaussian_flow(shift=shift), data) > loss_of(gaussian_flow(), data)


def test_what_is_learned_is_the_velocity_of_a_gaussian():
    model = make_flow(**PLANE, width=16, learning_rate=0.005)
    (optimizer,) = model.configure_optimizers()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(400):
            loss = model.losses(Samples(MEAN + SD * torch.randn(256, 2)), None)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    drawn = model.sample(4000, generator()).values
    assert drawn.mean(0).tolist() == pytest.approx([MEAN] * 2, abs=0.1)
    assert drawn.std(0).tolist() == pytest.approx([SD] * 2, abs=0.1)


@pytest.mark.parametrize("shape", [[channels, side, side] for channels in (1, 3) for side in (8, 28, 32)])
@pytest.mark.parametrize("body", ["unet", "mlp"])
def test_training_lowers_the_loss(body, shape):
    model = make_flow(sample_shape=shape, body=body, learning_rate=0.01)
    images = torch.randint(64, (8, *shape), generator=generator(), dtype=torch.uint8)
    (optimizer,), before = model.configure_optimizers(), loss_of(model, images)
    for seed in range(20):
        loss = loss_of(model, images, seed=seed)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss_of(model, images) < before


# Samples


def test_samples_have_the_mean_and_the_spread_of_the_data():
    drawn = gaussian_flow().sample(50_000, generator()).values
    assert drawn.mean(0).tolist() == pytest.approx([MEAN] * 2, abs=0.01)
    assert drawn.std(0).tolist() == pytest.approx([SD] * 2, abs=0.01)


def test_vectors_come_back_in_their_own_scale():
    drawn = gaussian_flow(vector_sd=3.0).sample(50_000, generator()).values
    assert drawn.std(0).tolist() == pytest.approx([3 * SD] * 2, abs=0.03)


@pytest.mark.parametrize("bias", [ScaledLatents(spread=0.25), TruncatedLatents(spread=0.25)], ids=["scaled", "cut"])
def test_a_bias_narrows_the_noise_that_samples_begin_with(bias):
    drawn = gaussian_flow().sample(50_000, generator(), bias=bias).values
    assert drawn.std(0).tolist() == pytest.approx([sqrt(0.25) * SD] * 2, rel=0.02)


def test_a_likelihood_that_there_is_not_cannot_be_tempered():
    with pytest.raises(UsageError, match="draws from no likelihood: choose bias=scaled_latents"):
        make_flow().check_bias(TemperedLikelihood(spread=0.5))


@pytest.mark.parametrize("shape", [[channels, side, side] for channels in (1, 3) for side in (8, 28, 32)])
@pytest.mark.parametrize("body", ["unet", "mlp"])
def test_samples_are_images_of_the_datas_shape(body, shape):
    samples = make_flow(sample_shape=shape, body=body).sample(3, generator()).values
    assert samples.dtype == torch.uint8
    assert samples.shape == (3, *shape)


def test_samples_do_not_depend_on_the_chunk_size(monkeypatch):
    model = trained_a_little()
    expected = model.sample(50, generator()).values.int()
    monkeypatch.setattr(conditioning, "SAMPLES_PER_CHUNK", 7)
    differs = (model.sample(50, generator()).values.int() - expected).abs() > 1
    assert differs.float().mean() < 1e-3


def test_a_network_that_gives_nan_is_refused():
    model = make_flow(**PLANE)
    with torch.no_grad():
        model.network.begin.bias.fill_(torch.nan)
    with pytest.raises(NonFiniteError, match="NaN"):
        model.sample(2, generator())


# Latents


def trained_a_little(**changes):
    """A flow whose network no longer begins at zero."""
    model = make_flow(num_steps=50, **changes)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def test_images_come_back_from_their_latents():
    model = trained_a_little()
    images = model.sample(20, generator())
    latents = model.encode(images)
    assert latents.shape == (20, 64)
    assert (model.render(latents, generator()).int() - images.values.int()).abs().max() <= 1


def test_latents_of_samples_are_the_noise_that_they_were_drawn_from():
    model = gaussian_flow()
    noise = torch.randn(100, 2, generator=generator())
    drawn = model.sample(100, generator())
    assert torch.allclose(model.encode(drawn), noise, atol=1e-2)


def test_vectors_have_no_film_strip():
    assert make_flow(**PLANE).film_strip(3, latents=generator(), noise=generator()) is None


# What does not go together


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "width must be above 0: got 0"),
        ({"num_steps": 0}, "num_steps must be above 0: got 0"),
        ({"vector_sd": 0.0}, "vector_sd must be above 0: got 0.0"),
        ({"patch_side": 3}, r"patch_side must divide both sides of an image, \[8, 8\]: got 3"),
        ({"sample_shape": [2], "body": "unet"}, "model.body=unet is of images"),
        ({"sample_shape": [2, 3]}, "sample_shape must be"),
    ],
)
def test_a_setting_out_of_range_is_refused(change, message):
    with pytest.raises(UsageError, match=message):
        make_flow(**change)


def test_vectors_are_not_augmented():
    with pytest.raises(UsageError, match=r"set training\.augmentation=null"):
        make_flow(**PLANE).check_plan(replace(DEFAULT_PLAN, augmentation=["flip"]))


# Stopping early, and noise on the way


def spread_of(model, *, seed=0):
    values = model.sample(20_000, generator(seed)).values.double()
    return values.mean().item(), values.var().item()


@pytest.mark.parametrize("changes", [{"stopped_early": 0}, {"churn": 0}, {"stopped_early": None, "churn": None}])
def test_neither_changes_a_bit_at_zero(changes):
    plain, same = gaussian_flow(), gaussian_flow(**changes)
    assert torch.equal(plain.sample(50, generator()).values, same.sample(50, generator()).values)
    samples = Samples(normal(5, 2).float())
    assert torch.equal(plain.encode(samples), same.encode(samples))


@pytest.mark.parametrize("early", [0.1, 0.3])
def test_a_flow_that_is_stopped_early_adds_the_noise_that_is_left(early):
    mean, variance = spread_of(gaussian_flow(stopped_early=early))
    assert mean == pytest.approx(MEAN, abs=0.01)
    assert variance == pytest.approx(SD**2 + (early / (1 - early)) ** 2, rel=0.03)


def test_its_encoder_leads_back_to_the_noise():
    model, latents = gaussian_flow(stopped_early=0.2, num_steps=200), normal(20, 2).float()
    values = model.decode(latents, generator(), likelihood_spread=1.0)
    assert torch.allclose(model.encode(Samples(values)), latents, atol=1e-3)


@pytest.mark.parametrize("early", [0.0, 0.2])
def test_noise_on_the_way_keeps_the_distribution_and_changes_the_samples(early):
    model = gaussian_flow(num_steps=400, stopped_early=early, churn=3.0)
    mean, variance = spread_of(model)
    assert mean == pytest.approx(MEAN, abs=0.02)
    assert variance == pytest.approx(SD**2 + (early / (1 - early)) ** 2, rel=0.05)
    first, again, other = (model.sample(50, generator(seed)).values for seed in (0, 0, 1))
    assert torch.equal(first, again)
    latents = normal(50, 2).float()
    ways = [model.decode(latents, generator(seed), likelihood_spread=1.0) for seed in (0, 1)]
    assert (ways[0] - ways[1]).abs().min() > 1e-4
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stopped_early": 1.0}, r"model\.stopped_early must be at least 0 and below 1, or null: got 1\.0"),
        ({"stopped_early": -0.1}, r"model\.stopped_early must be at least 0"),
        ({"churn": -1}, r"model\.churn must be at least 0: got -1"),
    ],
)
def test_times_and_noise_out_of_range_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        make_flow(**PLANE, **changes)


# Guidance


class OfClasses(nn.Module):
    """Learnt, of a Gaussian that the class moves by 2, and an unknown class (2) not at all; keeps the labels it saw."""

    def forward(self, position, time, labels):
        self.labels = labels
        moved = torch.tensor([-2.0, 2.0, 0.0])[labels][:, None]
        return gaussian_velocity(position - time.reshape(-1, 1) * moved, time.reshape(-1, 1)) + moved


def flow_of_classes(**changes):
    model = make_flow(**{**PLANE, "num_classes": 2, "num_steps": 40, **changes})
    model.network = OfClasses()
    return model


@pytest.mark.parametrize("guidance", [0.5, 2.0])
def test_guidance_moves_a_class_away_from_what_all_classes_have(guidance):
    """With one spread for all, velocities are linear in the mean: the class's is moved by 1 + w times what it was."""
    drawn = flow_of_classes(guidance=guidance).sample(20_000, generator())
    for label, moved in ((0, -2.0), (1, 2.0)):
        own = drawn.values[drawn.labels == label]
        assert own.mean().item() == pytest.approx(MEAN + (1 + guidance) * moved, abs=0.02)
        assert own.std().item() == pytest.approx(SD, rel=0.03)


def test_no_guidance_is_the_flow_without_it_to_the_bit():
    plain, same = flow_of_classes(), flow_of_classes(guidance=0)
    assert torch.equal(plain.sample(50, generator()).values, same.sample(50, generator()).values)
    batch = Samples(normal(64, 2).float(), labels=torch.arange(64) % 2)
    for model in (plain, same):
        model.losses(batch, None)
    assert torch.equal(plain.network.labels, same.network.labels)


def test_a_tenth_of_the_classes_is_hidden_in_training_if_sampling_is_guided():
    batch = Samples(normal(20_000, 2).float(), labels=torch.arange(20_000) % 2)
    model, plain = flow_of_classes(guidance=1), flow_of_classes()
    for trained in (model, plain):
        trained.losses(batch, None)
    is_hidden = model.network.labels == 2
    assert is_hidden.float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert torch.equal(model.network.labels[~is_hidden], batch.labels[~is_hidden])
    assert torch.equal(plain.network.labels, batch.labels)


def test_a_guided_encoder_leads_back_to_the_noise():
    model, latents, labels = flow_of_classes(guidance=1, num_steps=200), normal(20, 2).float(), torch.arange(20) % 2
    values = model.decode(latents, generator(), likelihood_spread=1.0, labels=labels)
    assert torch.allclose(model.encode(Samples(values, labels=labels)), latents, atol=1e-3)


def test_guidance_needs_classes_and_is_not_negative():
    with pytest.raises(UsageError, match=r"guidance=1 needs a model of classes: set lever=\[class_conditional\]"):
        make_flow(**PLANE, guidance=1)
    with pytest.raises(UsageError, match=r"model\.guidance must be at least 0: got -1"):
        make_flow(**PLANE, num_classes=2, guidance=-1)
