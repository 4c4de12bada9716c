"""The learning-rate schedule: its closed form, and the rates that players of a real fit are stepped with."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from lightning import Callback, Trainer

from collapsar.data.pool import REAL, Part, Pool
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.models.gan.gan import GAN
from collapsar.models.plan import DEFAULT_PLAN
from collapsar.models.vae.vae import VAE
from collapsar.training.train import Recipe, train
from tiny_models import SWITCHED_OFF, VAE_SWITCHED_OFF

VAE_SETTINGS = {
    "sample_shape": [1, 8, 8], "body": "mlp", "latent_dim": 2, "width": 1, "beta": 1.0, "likelihood": "bernoulli",
    "pixel_sd": 0.1, "sample_from": "mean", "learning_rate": 0.1, **VAE_SWITCHED_OFF,
}  # fmt: skip
GAN_SETTINGS = {
    "sample_shape": [1, 8, 8], "body": "conv", "latent_dim": 2, "generator_width": 2, "critic_width": 2,
    "loss": "hinge", "has_spectral_norm": True, "gradient_penalty": 10.0, "critic_steps": 1, "ema_decay": 0.9,
    "generator_learning_rate": 0.1, "critic_learning_rate": 0.4, "adam_betas": [0.0, 0.9], **SWITCHED_OFF,
}  # fmt: skip


class RateReader(Callback):
    """Notes the learning rate of each optimiser after each step, in a list that its copies share."""

    def __init__(self, seen):
        self.seen = seen

    def __deepcopy__(self, memo):
        return RateReader(self.seen)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append([optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers])


def rates(model, *, max_steps=8, max_epochs=-1, **plan):
    """The rates of each player of a model, by step."""
    seen = []
    trainer = partial(
        Trainer, accelerator="cpu", max_steps=max_steps, max_epochs=max_epochs, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[RateReader(seen)],
    )  # fmt: skip
    images = torch.randint(256, (32, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    recipe = Recipe(model=model, trainer=trainer, plan=replace(DEFAULT_PLAN, **plan), batch_size=8)
    pool = Pool((Part(Samples(images), REAL),))
    train(recipe, pool, seed=0, generation=0, on_steps=lambda epoch, steps: None)
    return [list(player) for player in zip(*seen, strict=True)]


def test_without_a_schedule_the_rate_stays():
    assert rates(lambda: VAE(**VAE_SETTINGS), max_steps=3) == [[0.1] * 3]


def test_constant_is_the_same_as_none():
    assert rates(lambda: VAE(**VAE_SETTINGS), max_steps=3, schedule="constant") == [[0.1] * 3]


def test_a_linear_schedule_falls_by_the_same_amount_in_each_step_and_would_be_zero_in_the_next():
    (vae,) = rates(lambda: VAE(**VAE_SETTINGS), max_steps=4, schedule="linear")
    assert vae == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_a_cosine_schedule_is_half_a_cosine():
    (vae,) = rates(lambda: VAE(**VAE_SETTINGS), max_steps=4, schedule="cosine")
    assert vae == pytest.approx([0.1 * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)])


def test_a_warm_up_rises_to_the_full_rate_and_the_fall_begins_there():
    (vae,) = rates(lambda: VAE(**VAE_SETTINGS), max_steps=8, schedule="linear", warmup_fraction=0.5)
    assert vae == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.075, 0.05, 0.025])


def test_a_warm_up_alone_ends_at_the_full_rate():
    (vae,) = rates(lambda: VAE(**VAE_SETTINGS), max_steps=4, warmup_fraction=0.5)
    assert vae == pytest.approx([0.05, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("critic_steps", [1, 2])
def test_both_players_of_a_gan_follow_the_steps_of_the_critic(critic_steps):
    gan = partial(GAN, **{**GAN_SETTINGS, "critic_steps": critic_steps})
    critic, generator = rates(gan, max_steps=4, schedule="linear")
    assert critic == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert generator == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_a_budget_in_epochs_is_counted_in_steps():
    (vae,) = rates(lambda: VAE(**VAE_SETTINGS), max_steps=-1, max_epochs=2, schedule="linear")
    assert vae == pytest.approx([0.1 * (1 - step / 8) for step in range(8)])


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1])
def test_a_warm_up_that_is_no_share_of_the_steps_is_refused(value):
    with pytest.raises(UsageError, match=r"training.warmup_fraction must lie between 0 and 1, or be null: got"):
        replace(DEFAULT_PLAN, warmup_fraction=value)
