"""The GAN: its losses against hand values, and that both players move."""

from functools import partial
from math import exp, log

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from collapsar.data.pool import REAL, Part, Pool
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.models.gan.gan import GAN, critic_loss, generator_loss, gradient_penalty
from collapsar.models.plan import DEFAULT_PLAN
from collapsar.training.train import Recipe, train
from tiny_models import SWITCHED_OFF

SETTINGS = {
    "sample_shape": [1, 8, 8],
    "body": "conv",
    "latent_dim": 4,
    "generator_width": 4,
    "critic_width": 4,
    "loss": "non_saturating",
    "has_spectral_norm": True,
    "gradient_penalty": 10.0,
    "critic_steps": 1,
    "ema_decay": 0.9,
    "generator_learning_rate": 0.01,
    "critic_learning_rate": 0.01,
    "adam_betas": [0.5, 0.99],
    **SWITCHED_OFF,
}
SHAPES = [[channels, side, side] for channels in (1, 3) for side in (8, 28, 32)]
REAL_LOGITS, FAKE_LOGITS = torch.tensor([[2.0], [0.5]]), torch.tensor([[-0.5], [-3.0]])


def make_gan(**changes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GAN(**{**SETTINGS, **changes})


def random_pool(*shape, num_samples=32):
    images = torch.randint(256, (num_samples, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Pool((Part(Samples(images), REAL),))


def train_gan(*, max_steps=4, **changes):
    """A trained GAN, and the fresh one it began as."""
    settings = {**SETTINGS, **changes}
    made = []

    def recipe():
        model = GAN(**settings)
        made.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return model

    trainer = partial(
        Trainer,
        accelerator="cpu",
        max_steps=max_steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    pool = random_pool(*settings["sample_shape"])
    made_from = Recipe(model=recipe, trainer=trainer, plan=DEFAULT_PLAN, batch_size=8)
    training = train(made_from, pool, seed=0, generation=0, on_steps=lambda epoch, steps: None)
    return training, made[0]


def softplus(value):
    return log(1 + exp(value))


def test_non_saturating_critic_loss_by_hand():
    expected = (softplus(-2) + softplus(-0.5)) / 2 + (softplus(-0.5) + softplus(-3)) / 2
    loss = critic_loss(real=REAL_LOGITS, fake=FAKE_LOGITS, loss="non_saturating")
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_hinge_critic_loss_by_hand():
    loss = critic_loss(real=REAL_LOGITS, fake=FAKE_LOGITS, loss="hinge")
    assert loss.item() == pytest.approx((0 + 0.5) / 2 + (0.5 + 0) / 2)


def test_wasserstein_critic_loss_by_hand():
    loss = critic_loss(real=REAL_LOGITS, fake=FAKE_LOGITS, loss="wgan_gp")
    assert loss.item() == pytest.approx((-0.5 - 3) / 2 - (2 + 0.5) / 2)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [("non_saturating", (softplus(0.5) + softplus(3)) / 2), ("hinge", 1.75), ("wgan_gp", 1.75)],
)
def test_generator_loss_by_hand(loss, expected):
    assert generator_loss(fake=FAKE_LOGITS, loss=loss).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("loss", ["non_saturating", "hinge", "wgan_gp"])
def test_a_critic_that_tells_real_from_fake_has_the_lower_loss(loss):
    right, wrong = (
        critic_loss(real=real, fake=fake, loss=loss)
        for real, fake in ((REAL_LOGITS, FAKE_LOGITS), (FAKE_LOGITS, REAL_LOGITS))
    )
    assert right < wrong


@pytest.mark.parametrize("loss", ["non_saturating", "hinge", "wgan_gp"])
def test_a_generator_that_is_taken_for_real_has_the_lower_loss(loss):
    assert generator_loss(fake=REAL_LOGITS, loss=loss) < generator_loss(fake=FAKE_LOGITS, loss=loss)


def test_gradient_penalty_of_a_linear_critic_in_closed_form():
    linear = nn.Linear(64, 1)
    critic = nn.Sequential(nn.Flatten(), linear)
    real, fake = torch.rand(5, 1, 8, 8), torch.rand(5, 1, 8, 8)
    expected = (linear.weight.norm() - 1).square()
    assert gradient_penalty(critic, real=real, fake=fake).item() == pytest.approx(expected.item(), rel=1e-5)


def test_gradient_penalty_reaches_the_critics_weights():
    linear = nn.Linear(64, 1)
    gradient_penalty(nn.Sequential(nn.Flatten(), linear), real=torch.rand(5, 1, 8, 8), fake=torch.rand(5, 1, 8, 8))
    penalty = gradient_penalty(
        nn.Sequential(nn.Flatten(), linear), real=torch.rand(5, 1, 8, 8), fake=torch.rand(5, 1, 8, 8)
    )
    penalty.backward()
    expected = 2 * (1 - 1 / linear.weight.norm()) * linear.weight
    assert torch.allclose(linear.weight.grad, expected, rtol=1e-4)


def test_gradient_penalty_is_weighted_in_the_critics_loss():
    free, penalised = (train_gan(loss="wgan_gp", gradient_penalty=weight, max_steps=1)[0] for weight in (0.0, 100.0))
    assert penalised.summary["critic_loss"] > free.summary["critic_loss"] + 1


@pytest.mark.parametrize("has_spectral_norm", [True, False])
@pytest.mark.parametrize("loss", ["non_saturating", "hinge", "wgan_gp"])
def test_every_loss_moves_both_players_and_the_average(loss, has_spectral_norm):
    training, fresh = train_gan(loss=loss, has_spectral_norm=has_spectral_norm)
    trained = dict(training.model.named_parameters())
    assert {name.split(".")[0] for name in trained} == {"generator", "averaged_generator", "critic"}
    matrices = {name: weight for name, weight in trained.items() if weight.ndim > 1}  # a shift leaves wgan_gp alone
    unmoved = [name for name, weight in matrices.items() if torch.equal(weight, fresh[name])]
    assert unmoved == []


@pytest.mark.parametrize("shape", SHAPES)
def test_samples_are_images_of_the_datas_shape(shape):
    training, _ = train_gan(sample_shape=shape, max_steps=2)
    samples = training.model.sample(3, torch.Generator().manual_seed(0)).values
    assert samples.dtype == torch.uint8
    assert samples.shape == (3, *shape)


@pytest.mark.parametrize("critic_steps", [1, 2, 3])
def test_a_step_is_a_critic_update_whatever_the_generator_does(critic_steps):
    training, _ = train_gan(critic_steps=critic_steps, max_steps=6)
    assert training.summary["steps"] == 6


@pytest.mark.parametrize(("critic_steps", "num_updates"), [(1, 6), (2, 3), (3, 2), (4, 2)])
def test_the_generator_moves_every_so_many_critic_steps(critic_steps, num_updates):
    training, _ = train_gan(critic_steps=critic_steps, max_steps=6)
    assert training.model.averaged_generator.n_averaged.item() == num_updates


def test_without_decay_the_average_is_the_generator():
    model = train_gan(ema_decay=0.0)[0].model
    averaged = model.averaged_generator.module.state_dict()
    assert all(torch.equal(averaged[name], value) for name, value in model.generator.state_dict().items())


def test_with_decay_the_average_lags_behind_the_generator():
    model = train_gan(ema_decay=0.9)[0].model
    averaged = model.averaged_generator.module.state_dict()
    assert not torch.allclose(averaged["0.weight"], model.generator.state_dict()["0.weight"])


def test_samples_come_from_the_averaged_generator():
    model = train_gan()[0].model
    expected = model.sample(3, torch.Generator().manual_seed(0)).values
    with torch.no_grad():
        model.generator[0].bias.fill_(100.0)
    assert torch.equal(model.sample(3, torch.Generator().manual_seed(0)).values, expected)
    with torch.no_grad():
        model.averaged_generator.module[0].bias.fill_(100.0)
    assert not torch.equal(model.sample(3, torch.Generator().manual_seed(0)).values, expected)


def test_spectral_norm_bounds_every_layer_of_the_critic():
    model = train_gan(has_spectral_norm=True, max_steps=10)[0].model
    layers = [layer for layer in model.critic.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    norms = [torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() for layer in layers]
    assert norms == pytest.approx([1.0] * len(layers), abs=0.1)


def test_without_spectral_norm_the_critics_weights_are_free():
    model = make_gan(has_spectral_norm=False)
    assert not any(is_parametrized(layer) for layer in model.critic.modules())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_dim": 0}, "latent_dim must be above 0: got 0"),
        ({"critic_steps": 0}, "critic_steps must be above 0: got 0"),
        ({"ema_decay": 1.5}, "ema_decay must lie between 0 and 1: got 1.5"),
        ({"critic_learning_rate": 0.0}, "critic_learning_rate must be above 0: got 0.0"),
        ({"gradient_penalty": -1.0}, "gradient_penalty must be at least 0: got -1.0"),
        ({"adam_betas": [0.5, 1.0]}, "adam_betas must be two numbers"),
        ({"adam_betas": [0.5]}, "adam_betas must be two numbers"),
        ({"deviation_group_size": 1}, "model.deviation_group_size must be at least 2, or null: got 1"),
        ({"logit_scale": 0.0}, "model.logit_scale must be above 0: got 0.0"),
        ({"logit_scale": float("nan")}, "model.logit_scale"),
    ],
)
def test_a_setting_out_of_range_is_refused(change, message):
    with pytest.raises(UsageError, match=message):
        make_gan(**change)


@pytest.mark.parametrize("body", ["conv", "sn_conv", "sn_residual"])
def test_a_checkpoint_of_every_body_gives_the_same_samples_again(body, tmp_path):
    training, _ = train_gan(body=body)
    expected = training.model.sample(5, torch.Generator().manual_seed(0)).values
    training.save(tmp_path / "model.ckpt")
    loaded = GAN.load_from_checkpoint(tmp_path / "model.ckpt", map_location="cpu", weights_only=True)
    assert torch.equal(loaded.sample(5, torch.Generator().manual_seed(0)).values, expected)
    assert torch.equal(loaded.eval().realism(Samples(expected)), training.model.realism(Samples(expected)))
