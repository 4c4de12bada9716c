"""Half precision is honest: its chains are as good as float32's, its losses are float32, its numbers come again."""

import math
import statistics

import pytest
import torch

from collapsar.foundations.samples import Samples
from collapsar.models.flow.flow import Flow
from collapsar.models.gan.gan import GAN
from collapsar.models.vae.vae import VAE
from collapsar.training import train as train_module
from test_experiment import lasting
from tiny_chains import fail_in
from tiny_models import FLOW_SETTINGS, GAN_SETTINGS, VAE_SETTINGS

SEEDS = range(4)
MEASURED = (
    "data.num_train=600",
    "batch_size=32",
    "model.width=16",
    "trainer.max_steps=120",
    "evaluation.num_samples=300",
    "evaluation.metrics=[frechet,support]",
)
HALF = "trainer.precision=bf16-mixed"
IMAGES = Samples(torch.randint(256, (16, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8))


@pytest.fixture(scope="module")
def last_metrics(run_chain, tmp_path_factory):
    """`last_metrics("recall", ...)`: the metric after two generations, for each seed, with these overrides."""
    found = {}

    def call(metric, *overrides):
        if overrides not in found:
            folder = tmp_path_factory.mktemp("precision")
            found[overrides] = [
                run_chain(folder / str(seed), *MEASURED, f"seed={seed}", *overrides)[-1].metrics for seed in SEEDS
            ]
        return [metrics[metric] for metrics in found[overrides]]

    return call


@pytest.mark.parametrize("metric", ["fid", "precision", "recall"])
def test_half_precision_moves_no_metric_by_more_than_seeds_do(metric, last_metrics):
    full, half = last_metrics(metric), last_metrics(metric, HALF)
    spread = math.sqrt((statistics.variance(full) + statistics.variance(half)) / len(SEEDS))
    assert abs(statistics.mean(half) - statistics.mean(full)) <= 3 * spread  # of a difference of two means


def test_half_precision_gives_other_samples_than_float32(last_metrics):
    assert last_metrics("fid") != last_metrics("fid", HALF)


@pytest.mark.parametrize("model", [pytest.param("vae", marks=pytest.mark.slow), "gan", "flow"])
def test_a_killed_chain_in_half_precision_equals_an_uninterrupted_one(model, run_chain, tmp_path, monkeypatch):
    settings = (HALF, f"model={model}", "num_generations=3")
    whole = run_chain(tmp_path / "whole", *settings)
    with monkeypatch.context() as patched:
        patched.setattr(train_module, "train", fail_in(1))
        with pytest.raises(KeyboardInterrupt):
            run_chain(tmp_path / "killed", *settings)
    assert lasting(run_chain(tmp_path / "killed", *settings)) == lasting(whole)


def make_vae(likelihood):
    return VAE(**{**VAE_SETTINGS, "likelihood": likelihood})


def make_gan(loss):
    return GAN(**{**GAN_SETTINGS, "loss": loss})


def make_flow(body):
    return Flow(**{**FLOW_SETTINGS, "body": body})


def losses_of(model):
    """Each loss of a batch, at the same noise."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        players = model.players()
        shared = model.share(IMAGES, movers=range(len(players)))
        return {name: loss for player in players for name, loss in player.losses(IMAGES, shared).items()}


@pytest.mark.parametrize(
    "make",
    [lambda kind=kind: make_vae(kind) for kind in ("bernoulli", "gaussian")]
    + [lambda kind=kind: make_gan(kind) for kind in ("non_saturating", "hinge", "wgan_gp")]
    + [lambda kind=kind: make_flow(kind) for kind in ("unet", "mlp")],
    ids=["bernoulli", "gaussian", "non_saturating", "hinge", "wgan_gp", "unet", "mlp"],
)
def test_losses_are_computed_in_float32_and_near_those_of_full_precision(make):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = make().eval()  # which leaves the vectors of the spectral norm as they are
    full = losses_of(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = losses_of(model)
    assert {loss.dtype for loss in half.values()} == {torch.float32}
    assert {name: loss.item() for name, loss in half.items()} == pytest.approx(
        {name: loss.item() for name, loss in full.items()}, rel=2e-2, abs=2e-2
    )


def test_samples_of_half_precision_are_within_two_levels_of_those_of_full():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = make_vae("bernoulli")
    full = model.sample(64, torch.Generator().manual_seed(0)).values.int()
    model.autocast_dtype = torch.bfloat16
    half = model.sample(64, torch.Generator().manual_seed(0)).values.int()
    assert 0 < (half - full).abs().max() <= 2
