"""Levers of architecture: each changes the graph of every body as its name says, and no lever changes nothing."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from collapsar import make_model
from collapsar.foundations.errors import UsageError
from collapsar.models.gan.gan import GAN
from collapsar.models.layers import begin_as_he, num_groups
from collapsar.models.vae.vae import VAE
from collapsar.training.pretraining import features_of
from tiny_models import GAN_SETTINGS, VAE_SETTINGS

SHAPES = [[1, 8, 8], [1, 28, 28], [3, 32, 32]]
VAES = [(VAE, body) for body in ("conv", "patch", "mlp", "residual")]
GANS = [(GAN, body) for body in ("conv", "sn_conv", "sn_residual")]
NORMS = {"batch": nn.modules.batchnorm._BatchNorm, "group": nn.GroupNorm, "layer": (nn.LayerNorm, nn.GroupNorm)}
SETTINGS = {VAE: VAE_SETTINGS, GAN: GAN_SETTINGS}
WITH_EVERYTHING = {
    "norm": "group", "depth": 1, "dropout": 0.2, "width_factor": 2.0, "latent_factor": 0.5, "num_classes": 3,
}  # fmt: skip
every_body = pytest.mark.parametrize(("family", "body"), [*VAES, *GANS], ids=lambda part: getattr(part, "name", part))


def make(family, body, **changes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return family(**{**SETTINGS[family], "body": body, **changes})


def count(network, kind):
    return sum(isinstance(module, kind) for module in network.modules())


def generating(model):
    """The part that samples come from, and that norms are for."""
    return model.generator if isinstance(model, GAN) else model.decoder


def judging(model):
    """The part that sees images, and that dropout is for."""
    return model.critic if isinstance(model, GAN) else model.encoder


@pytest.mark.parametrize("norm", NORMS)
@every_body
def test_a_norm_stands_before_every_hidden_activation(family, body, norm):
    network = generating(make(family, body, norm=norm))
    num_activations = count(network, (nn.ReLU, nn.SiLU))
    assert count(network, NORMS[norm]) == num_activations > 0
    assert count(network, (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)) == num_activations


@every_body
def test_without_a_norm_there_is_none(family, body):
    model = make(family, body, norm="none")
    assert count(model, (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)) == 0


@pytest.mark.parametrize(("family", "body"), GANS, ids=str)
def test_a_critic_has_no_norm_whatever_the_generator_has(family, body):
    assert count(make(family, body, norm="layer").critic, (nn.GroupNorm, nn.modules.batchnorm._BatchNorm)) == 0


@every_body
def test_what_a_body_has_by_itself_may_also_be_named(family, body):
    own, named = make(family, body), make(family, body, norm="batch" if family is GAN else "none")
    assert str(own.state_dict()) == str(named.state_dict())


def test_a_group_has_eight_channels_or_what_divides_them():
    assert [num_groups(channels) for channels in (8, 32, 12, 4)] == [1, 4, 3, 1]


def test_groups_of_single_channels_are_refused():
    with pytest.raises(UsageError, match="even number of channels in each layer: got 5"):
        make(VAE, "conv", norm="group", width=5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@every_body
def test_depth_adds_as_many_layers_for_each_unit(family, body, shape):
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    models = [make(family, body, depth=depth, sample_shape=shape) for depth in (None, 1, 2)]
    for part in (generating, judging):
        none, one, two = (count(part(model), kinds) for model in models)
        assert none < one
        assert two - one == one - none


@every_body
def test_dropout_follows_every_hidden_activation_of_what_sees_images(family, body):
    network = judging(make(family, body, dropout=0.2))
    assert count(network, nn.Dropout) == count(network, (nn.ReLU, nn.SiLU, nn.LeakyReLU)) > 0


@pytest.mark.parametrize(("family", "body"), VAES, ids=str)
def test_dropout_is_in_the_decoder_of_a_vae(family, body):
    assert count(make(family, body, dropout=0.2).decoder, nn.Dropout) > 0


@pytest.mark.parametrize(("family", "body"), GANS, ids=str)
def test_dropout_is_not_in_the_generator_of_a_gan(family, body):
    assert count(make(family, body, dropout=0.2).generator, nn.Dropout) == 0


def test_dropout_drops_in_training_alone():
    model, images = make(VAE, "mlp", dropout=0.5), torch.rand(4, 1, 8, 8)
    with torch.random.fork_rng(devices=[]):
        assert not torch.equal(model.encoder(images), model.encoder(images))
        model.eval()
        assert torch.equal(model.encoder(images), model.encoder(images))


@every_body
def test_factors_are_those_of_widths_and_latents(family, body):
    widths = {key: value for key, value in SETTINGS[family].items() if key.endswith("width")}
    scaled = make(family, body, width_factor=2.0, latent_factor=1.5)
    typed = make(family, body, **{key: 2 * value for key, value in widths.items()}, latent_dim=6)
    assert scaled.latent_dim == 6
    assert str(scaled.state_dict()) == str(typed.state_dict())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@every_body
def test_a_body_with_everything_on_gives_images_of_the_shape(family, body, shape):
    model = make(family, body, sample_shape=shape, **WITH_EVERYTHING)
    samples = model.sample(3, torch.Generator().manual_seed(0))
    assert list(samples.values.shape) == [3, *shape]
    features = features_of(model.get_submodule(model.pretrained))(torch.zeros(2, *shape))
    assert (features.ndim, len(features)) == (2, 2)


@every_body
def test_every_weight_learns_with_everything_on(family, body):
    model = make(family, body, **WITH_EVERYTHING | {"dropout": None})
    images, labels = torch.rand(6, 1, 8, 8), torch.arange(6) % 3
    latents = torch.randn(6, model.latent_dim)
    with torch.random.fork_rng(devices=[]):
        (judging(model)(images, labels).square().sum() + generating(model)(latents, labels).square().sum()).backward()
    idle = {name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None}
    assert {name for name in idle if not name.startswith("averaged_generator")} == set()


@pytest.mark.parametrize(("family", "body"), GANS, ids=str)
def test_every_layer_of_a_critic_has_its_spectral_norm_with_everything_on(family, body):
    critic = make(family, body, **WITH_EVERYTHING).critic
    weighty = [module for module in critic.modules() if isinstance(module, (nn.Conv2d, nn.Linear, nn.Embedding))]
    assert weighty
    assert all(parametrize.is_parametrized(module, "weight") for module in weighty)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": -1}, "depth must lie between 0 and 100, or be null: got -1"),
        ({"dropout": 1.0}, "model.dropout must be at least 0 and below 1, or null: got 1.0"),
        ({"width_factor": 0.0}, "width_factor and model.latent_factor must be positive, or null: got 0.0"),
        ({"num_classes": 0}, "num_classes must be above 0: got 0"),
    ],
    ids=str,
)
@pytest.mark.parametrize("family", [VAE, GAN])
def test_a_setting_out_of_range_is_refused(family, change, message):
    with pytest.raises(UsageError, match=message):
        make(family, "conv", **change)


def weights_of(network):
    kinds = nn.Linear | nn.Conv2d | nn.ConvTranspose2d
    return [layer.weight for layer in network.modules() if isinstance(layer, kinds)]


@pytest.mark.parametrize("num_classes", [None, 3])
@pytest.mark.parametrize(("family", "body"), VAES, ids=lambda part: getattr(part, "name", part))
def test_he_scales_all_weights_but_those_of_the_last_layers(family, body, num_classes):
    plain, begun = (make(family, body, initial_weights=way, num_classes=num_classes) for way in (None, "he"))
    for network in ("encoder", "decoder"):
        *before, last_before = weights_of(getattr(plain, network))
        *after, last_after = weights_of(getattr(begun, network))
        assert torch.equal(last_before, last_after)
        assert all(torch.allclose(6**0.5 * old, new) for old, new in zip(before, after, strict=True))


def test_he_keeps_the_size_of_what_goes_through_a_deep_network():
    torch.manual_seed(0)
    network = nn.Sequential(*[layer for _ in range(10) for layer in (nn.Linear(400, 400, bias=False), nn.ReLU())])
    network.append(nn.Linear(400, 400, bias=False))
    begin_as_he(network)
    inputs = torch.randn(200, 400)
    with torch.no_grad():
        size = network[:-1](inputs).square().mean().item()
    assert size == pytest.approx(1.0, rel=0.5)


def test_other_initial_weights_are_refused():
    with pytest.raises(UsageError, match=r"model.initial_weights has a wrong value: got 'glorot'; .* 'he'"):
        make_model("vae", initial_weights="glorot")
