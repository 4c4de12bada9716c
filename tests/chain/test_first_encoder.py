"""The encoder of generation 0 measures the samples of all generations."""

import pytest
import torch

from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.models.vae.vae import VAE
from tiny_chains import NARROW, TINY, build_and_run, killed_and_whole, recorded

CHAIN = (*TINY, *NARROW["vae"], "model=vae", "tracking=none", "num_generations=3")
MEASURED = "evaluation.first_encoder=true"


@pytest.fixture
def samples():
    return Samples(torch.randint(256, (20, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)))


def test_the_spread_of_the_posterior_is_a_mean_over_latents_and_samples(samples):
    model = VAE(sample_shape=[1, 8, 8], latent_dim=3).eval()
    with torch.no_grad():
        log_variances = model.posterior(samples.values / 255, None)[1]
    assert model.posterior_sd(samples) == pytest.approx(float(log_variances.exp().sqrt().mean()), rel=1e-5)


def test_each_generation_is_measured_by_the_encoder_of_generation_0_and_all_else_stays(tmp_path, monkeypatch):
    killed, whole = killed_and_whole(tmp_path, monkeypatch, *CHAIN, MEASURED)
    assert killed == whole
    spreads = [line["metrics"].pop("first_encoder_sd") for line in whole]
    assert all(0 < spread < 3 for spread in spreads)
    assert len(set(spreads)) == 3
    build_and_run(tmp_path / "plain", *CHAIN)
    assert [line["metrics"] for line in recorded(tmp_path / "plain")] == [line["metrics"] for line in whole]


def test_a_model_without_a_posterior_is_refused(tmp_path):
    overrides = [override for override in CHAIN if not override.startswith("model")]
    with pytest.raises(UsageError, match=r"evaluation\.first_encoder=true needs a VAE: got model=flow"):
        build_and_run(tmp_path, *overrides, "model=flow", MEASURED)
