from math import inf
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from scipy import stats

from collapsar.foundations.errors import UsageError
from collapsar.models.bias import (
    UNBIASED,
    Bias,
    ScaledLatents,
    TemperedLikelihood,
    TruncatedLatents,
    temper_logits,
    temper_probabilities,
    temper_sd,
    truncated_variance,
    truncation_for_variance,
)

CONF = Path(__file__).parents[2] / "conf" / "bias"
BIASES = [ScaledLatents, TruncatedLatents, TemperedLikelihood]
spreads = st.floats(0.05, 1)


def latents(bias, *, num_samples=200_000):
    return bias.draw_latents(num_samples, latent_dim=1, generator=torch.Generator().manual_seed(0)).squeeze(1)


@pytest.mark.parametrize("bias", [ScaledLatents, TruncatedLatents])
@pytest.mark.parametrize("spread", [0.1, 0.5, 0.9, 1.0])
def test_latents_have_variance_lambda(bias, spread):
    drawn = latents(bias(spread=spread))
    assert drawn.var().item() == pytest.approx(spread, rel=0.02)
    assert drawn.mean().item() == pytest.approx(0, abs=0.01)


def test_truncated_latents_follow_the_truncated_normal():
    bias = TruncatedLatents(spread=0.4)
    tau = truncation_for_variance(0.4)
    assert latents(bias).abs().max() <= tau
    assert stats.kstest(latents(bias, num_samples=20_000).numpy(), stats.truncnorm(-tau, tau).cdf).pvalue > 1e-3


def test_truncation_at_lambda_one_is_none():
    assert truncation_for_variance(1.0) == inf


@given(spread=st.floats(0.001, 0.999))
def test_truncation_leaves_the_variance_asked_for(spread):
    tau = truncation_for_variance(spread)
    assert truncated_variance(tau) == pytest.approx(spread, rel=1e-5)
    assert stats.truncnorm(-tau, tau).var() == pytest.approx(spread, rel=1e-3)


def test_no_bias_draws_the_latents_of_a_plain_model():
    plain = torch.randn(50, 3, generator=torch.Generator().manual_seed(3))
    assert torch.equal(UNBIASED.draw_latents(50, latent_dim=3, generator=torch.Generator().manual_seed(3)), plain)


def test_only_the_tempered_likelihood_leaves_latents_alone_and_tempers_the_decoder():
    assert [bias(spread=0.3).likelihood_spread for bias in BIASES] == [1.0, 1.0, 0.3]
    assert latents(TemperedLikelihood(spread=0.3)).var().item() == pytest.approx(1, rel=0.02)


@given(spread=spreads, shift=st.floats(-3, 3), sd=st.floats(0.1, 3))
def test_a_gaussian_at_lambda_is_its_density_to_the_power_one_over_lambda(spread, shift, sd):
    base, tempered = stats.norm(shift, sd), stats.norm(shift, temper_sd(sd, spread=spread))
    first, second = shift + 0.3 * sd, shift - 0.8 * sd
    expected = (base.logpdf(first) - base.logpdf(second)) / spread
    assert tempered.logpdf(first) - tempered.logpdf(second) == pytest.approx(expected)


@given(spread=spreads, logit=st.floats(-4, 4))
def test_a_pixel_at_lambda_is_a_category_of_two_at_lambda(spread, logit):
    bernoulli = torch.tensor(logit).sigmoid()
    tempered = temper_logits(torch.tensor(logit), spread=spread).sigmoid()
    as_categories = temper_probabilities(torch.stack([1 - bernoulli, bernoulli]), spread=spread)
    assert tempered.item() == pytest.approx(as_categories[1].item(), abs=1e-5)


@given(spread=spreads)
def test_categories_at_lambda_are_powers(spread):
    probabilities = torch.tensor([[0.5, 0.3, 0.2, 0.0], [0.25, 0.25, 0.25, 0.25]], dtype=torch.float64)
    powers = probabilities ** (1 / spread)
    expected = powers / powers.sum(1, keepdim=True)
    assert torch.allclose(temper_probabilities(probabilities, spread=spread), expected)


def test_a_dead_category_stays_dead():
    assert temper_probabilities(torch.tensor([0.7, 0.3, 0.0]), spread=0.5)[2] == 0


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("spread", [0, -0.1, 1.01])
def test_lambda_outside_its_range_is_refused(bias, spread):
    with pytest.raises(UsageError, match=rf"bias.spread must be above 0 and at most 1: got {spread}"):
        bias(spread=spread)


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_bias_in_conf_builds(path):
    bias = instantiate(OmegaConf.load(path), _convert_="object")
    assert isinstance(bias, Bias)
    assert bias.name == path.stem or (path.stem == "none" and bias.spread == 1)
