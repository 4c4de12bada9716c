"""Steps as CUDA graphs: the same step as without, on a CPU by its parts and on a GPU as a whole."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from lightning import Trainer

from collapsar.data.pool import REAL, Part, Pool
from collapsar.errors import UsageError
from collapsar.models.flow import Flow
from collapsar.models.gan import GAN
from collapsar.models.learned import LearnedModel
from collapsar.models.plan import AS_IT_IS
from collapsar.models.vae import VAE
from collapsar.samples import Samples
from collapsar.training.hardware import choose_graphs
from collapsar.training.train import Recipe, train
from tiny_models import FLOW_SETTINGS, GAN_SETTINGS, VAE_SETTINGS

NUM_STEPS = 40
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

vae = partial(VAE, **VAE_SETTINGS)
gan = partial(GAN, **{**GAN_SETTINGS, "body": "sn_conv", "critic_steps": 2, "adam_betas": [0.0, 0.9]})
MODELS = {"vae": vae, "gan": gan, "wgan_gp": partial(gan, loss="wgan_gp"), "flow": partial(Flow, **FLOW_SETTINGS)}
SCHEDULED = replace(AS_IT_IS, schedule="linear", warmup_fraction=0.1)
CLIPPED = replace(SCHEDULED, gradient_clip_norm=0.5)


def trained(model, *, plan=SCHEDULED, accelerator="cpu", precision="32-true"):
    """A model after NUM_STEPS steps on random images."""
    images = torch.randint(256, (64, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    trainer = partial(
        Trainer,
        accelerator=accelerator,
        precision=precision,
        devices=1,
        max_steps=NUM_STEPS,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    recipe = Recipe(model=model, trainer=trainer, plan=plan, batch_size=16)
    pool = Pool((Part(Samples(images), REAL),))
    return train(recipe, pool, seed=0, generation=0, on_steps=lambda epoch, steps: None)


def weights(training):
    return {name: tensor.cpu() for name, tensor in training.model.state_dict().items()}


def assert_equal(first, second):
    assert all(torch.equal(first[name], second[name]) for name in first | second)


@pytest.mark.parametrize("plan", [SCHEDULED, CLIPPED], ids=["scheduled", "clipped"])
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_a_step_without_the_trainer_moves_what_a_step_with_it_moves(model, plan, monkeypatch):
    with_trainer = weights(trained(model, plan=plan))

    def without(self, batch, movers):
        self._optimizers()[0]._on_before_step()
        losses = self._move_all(batch, movers)
        self._optimizers()[0]._on_after_step()
        return losses

    monkeypatch.setattr(LearnedModel, "_move_each", without)
    assert_equal(weights(trained(model, plan=plan)), with_trainer)


def test_graphs_are_taken_where_they_are_asked_for():
    assert choose_graphs(True, device="cuda", precision="bf16-mixed") is True
    assert choose_graphs(None, device="cuda", precision="bf16-mixed") is False
    assert choose_graphs(None, device="cpu", precision="bf16-mixed") is None


@pytest.mark.parametrize(("device", "precision"), [("cpu", "32-true"), ("cuda", "16-mixed"), ("cpu", None)])
def test_graphs_are_refused_where_there_can_be_none(device, precision):
    with pytest.raises(UsageError, match=r"training\.cuda_graphs=null"):
        choose_graphs(True, device=device, precision=precision)


@pytest.mark.gpu
@NEEDS_GPU
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_graphed_training_repeats_itself(model, precision):
    graphed = replace(SCHEDULED, cuda_graphs=True)
    first, second = (trained(model, plan=graphed, accelerator="cuda", precision=precision) for _ in range(2))
    assert_equal(weights(first), weights(second))


@pytest.mark.gpu
@NEEDS_GPU
@pytest.mark.parametrize("plan", [SCHEDULED, CLIPPED], ids=["scheduled", "clipped"])
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_graphed_training_ends_where_training_without_graphs_ends(model, plan):
    graphed = trained(model, plan=replace(plan, cuda_graphs=True), accelerator="cuda")
    plain = trained(model, plan=replace(plan, cuda_graphs=False), accelerator="cuda")
    assert graphed.summary["steps"] == plain.summary["steps"] == NUM_STEPS
    for name, tensor in weights(plain).items():
        torch.testing.assert_close(weights(graphed)[name].float(), tensor.float(), rtol=1e-2, atol=2e-3)
