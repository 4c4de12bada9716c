"""Bodies of the GAN: the layers of the published tables, a spectral norm on each, and players that learn."""

from math import prod

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from collapsar.foundations.samples import Samples
from collapsar.models.gan.gan import GAN
from collapsar.models.gan.gan_bodies import NETWORKS, MinibatchDeviation, make_rivals
from collapsar.models.layers import Layers
from tiny_models import SWITCHED_OFF

SHAPES = [[channels, side, side] for channels in (1, 3) for side in (8, 28, 32)]
ODD_SHAPES = [[3, 16, 32], [1, 6, 6], [1, 6, 64]]
BODIES = list(NETWORKS)
SETTINGS = {
    "sample_shape": [1, 8, 8], "latent_dim": 4, "generator_width": 8, "critic_width": 8, "loss": "hinge",
    "has_spectral_norm": True, "gradient_penalty": 10.0, "critic_steps": 1, "ema_decay": 0.0,
    "generator_learning_rate": 0.002, "critic_learning_rate": 0.002, "adam_betas": [0.0, 0.9], **SWITCHED_OFF,
}  # fmt: skip


def seeded(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def rivals(body, shape, *, generator_width=4, critic_width=4, latent_dim=3, wrap=lambda layer: layer, **options):
    widths = {"generator_width": generator_width, "critic_width": critic_width}
    return seeded(lambda: make_rivals(body, shape, latent_dim=latent_dim, wrap=wrap, **widths, **options))


def gan(body, **changes):
    return seeded(lambda: GAN(body=body, **{**SETTINGS, **changes}))


def batch(num_samples=16):
    images = torch.zeros(num_samples, 1, 8, 8, dtype=torch.uint8)
    images[:, :, 2:6, 2:6] = 255
    return Samples(images)


def layers_of(network):
    """(channels in, channels out, kernel, stride) of each convolution in order, then the sizes of linear layers."""
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    return [(layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0]) for layer in convolutions], [
        (layer.in_features, layer.out_features) for layer in linear
    ]


@pytest.mark.parametrize("shape", [*SHAPES, *ODD_SHAPES])
@pytest.mark.parametrize("body", BODIES)
def test_a_body_maps_latents_to_images_and_images_to_one_logit(body, shape):
    generator, critic = rivals(body, shape)
    assert generator(torch.zeros(2, 3)).shape == (2, *shape)
    assert critic(torch.zeros(2, *shape)).shape == (2, 1)


def test_the_standard_cnn_of_sn_gan_at_32_pixels_is_that_of_table_3():
    generator, critic = rivals("sn_conv", [3, 32, 32], generator_width=64, critic_width=64, latent_dim=128)
    assert layers_of(generator) == (
        [(512, 256, 4, 2), (256, 128, 4, 2), (128, 64, 4, 2), (64, 3, 3, 1)],
        [(128, 4 * 4 * 512)],
    )
    assert layers_of(critic) == (
        [
            (3, 64, 3, 1), (64, 64, 4, 2), (64, 128, 3, 1), (128, 128, 4, 2), (128, 256, 3, 1), (256, 256, 4, 2),
            (256, 512, 3, 1),
        ],
        [(4 * 4 * 512, 1)],
    )  # fmt: skip


def test_the_resnet_of_sn_gan_at_32_pixels_is_that_of_table_4():
    generator, critic = rivals("sn_residual", [3, 32, 32], generator_width=256, critic_width=128, latent_dim=128)
    up, plain = [(256, 256, 3, 1), (256, 256, 3, 1), (256, 256, 1, 1)], [(128, 128, 3, 1), (128, 128, 3, 1)]
    first = [(3, 128, 3, 1), (128, 128, 3, 1), (3, 128, 1, 1)]
    assert layers_of(generator) == ([*up, *up, *up, (256, 3, 3, 1)], [(128, 4 * 4 * 256)])
    assert layers_of(critic) == ([*first, *plain, (128, 128, 1, 1), *plain, *plain], [(128, 1)])


@pytest.mark.parametrize(
    ("body", "generator_width", "critic_width", "millions"),
    [("sn_conv", 64, 64, (3.81, 2.94)), ("sn_residual", 256, 128, (4.28, 1.05))],
)
def test_sn_gan_at_the_papers_widths_has_this_many_million_parameters(body, generator_width, critic_width, millions):
    generator, critic = rivals(
        body, [3, 32, 32], generator_width=generator_width, critic_width=critic_width, latent_dim=128
    )  # fmt: skip
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in (generator, critic)]
    assert [round(count / 1e6, 2) for count in counts] == list(millions)


@pytest.mark.parametrize(("side", "start", "num_doublings"), [(8, 4, 1), (28, 7, 2), (32, 4, 3)])
@pytest.mark.parametrize("body", BODIES)
def test_a_generator_begins_where_the_sides_of_the_data_say(body, side, start, num_doublings):
    generator = rivals(body, [1, side, side])[0]
    unflatten = next(layer for layer in generator if isinstance(layer, nn.Unflatten))
    doubling = [
        layer
        for layer in generator.modules()
        if isinstance(layer, nn.Upsample) or (isinstance(layer, nn.ConvTranspose2d) and layer.stride == (2, 2))
    ]
    assert unflatten.unflattened_size[1:] == (start, start)
    assert len(doubling) == num_doublings


@pytest.mark.parametrize("body", BODIES)
def test_every_layer_of_a_critic_is_wrapped_the_last_one_too(body):
    wrapped = []
    critic = rivals(body, [3, 32, 32], wrap=lambda layer: wrapped.append(layer) or layer)[1]
    assert set(wrapped) == {layer for layer in critic.modules() if isinstance(layer, nn.Conv2d | nn.Linear)}


@pytest.mark.parametrize("body", ["sn_conv", "sn_residual"])
def test_the_critics_of_sn_gan_see_a_grey_image_as_zeros(body):
    critic = rivals(body, [1, 8, 8])[1]
    assert torch.equal(critic[0](torch.full((1, 1, 8, 8), 0.5)), torch.zeros(1, 1, 8, 8))
    assert torch.equal(critic[0](torch.full((1, 1, 8, 8), 1.0)), torch.ones(1, 1, 8, 8))


@pytest.mark.parametrize("body", BODIES)
def test_the_spectral_norm_of_every_layer_of_a_trained_critic_is_one(body):
    model = gan(body)
    train_players(model, num_steps=30)
    layers = [layer for layer in model.critic.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    model.eval()
    norms = [torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() for layer in layers]
    assert norms == pytest.approx([1.0] * len(layers), abs=0.1)  # one power iteration a call lags behind the weights


def train_players(model, *, num_steps, movers=(0, 1)):
    """The losses of the players that move, by step."""
    optimizers, history = model.configure_optimizers(), []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(num_steps):
            shared, watched = model.share(batch(), movers=movers), []
            for number in movers:
                loss = next(iter(model.players()[number].losses(batch(), shared).values()))
                optimizers[number].zero_grad()
                loss.backward()
                optimizers[number].step()
                watched.append(loss.item())
            history.append(watched)
    return history


@pytest.mark.parametrize("loss", ["non_saturating", "hinge", "wgan_gp"])
@pytest.mark.parametrize("body", BODIES)
def test_a_critic_learns_to_tell_real_images_from_those_of_a_fixed_generator(body, loss):
    history = train_players(gan(body, loss=loss), num_steps=40, movers=[0])
    assert history[-1][0] < history[0][0] - 0.1


@pytest.mark.parametrize("loss", ["non_saturating", "hinge", "wgan_gp"])
@pytest.mark.parametrize("body", BODIES)
def test_a_generator_learns_what_a_fixed_critic_takes_for_real(body, loss):
    model = gan(body, loss=loss)
    train_players(model, num_steps=40, movers=[0])
    history = train_players(model, num_steps=40, movers=[1])
    assert history[-1][0] < history[0][0] - 0.1


@pytest.mark.parametrize("body", BODIES)
def test_the_generators_move_computes_no_gradient_of_the_critic(body):
    model = gan(body)
    shared = model.share(batch(), movers=[0, 1])
    model.generator_losses(batch(), shared)["generator_loss"].backward()
    assert {parameter.grad for parameter in model.critic.parameters()} == {None}
    assert all(parameter.grad is not None for parameter in model.generator.parameters())


def test_the_critic_can_be_moved_after_the_generator_was():
    model = gan("sn_conv")
    model.generator_losses(batch(), model.share(batch(), movers=[0, 1]))
    assert all(parameter.requires_grad for parameter in model.critic.parameters())


@pytest.mark.parametrize("body", BODIES)
def test_real_and_generated_images_in_one_call_get_the_logits_of_two(body):
    critic = rivals(body, [1, 8, 8], wrap=spectral_norm)[1].eval()
    one, other = torch.rand(5, 1, 8, 8), torch.rand(3, 1, 8, 8)
    together = critic(torch.cat([one, other]))
    assert torch.allclose(together, torch.cat([critic(one), critic(other)]), atol=1e-6)


@pytest.mark.parametrize("body", BODIES)
def test_weights_lie_channels_last(body):
    generator, critic = rivals(body, [3, 32, 32])
    kernels = [
        weight
        for network in (generator, critic)
        for weight in network.parameters()
        if weight.ndim == 4 and prod(weight.shape[2:]) > 1 and min(weight.shape[:2]) > 1
    ]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in kernels)


def in_groups_of(group_size, body, **changes):
    """A critic of grey 8x8 images with a minibatch deviation, or without one."""
    layers = Layers(norm="none", group_size=group_size)
    return rivals(body, [1, 8, 8], wrap=spectral_norm, critic_layers=layers, **changes)[1].eval()


def shown_to(group_size, features):
    """The map that a minibatch deviation appends, after a check that it leaves the features as they are."""
    appended = MinibatchDeviation(group_size)(features)
    assert torch.equal(appended[:, :-1], features)
    return appended[:, -1:]


def test_copies_have_the_minibatch_deviation_zero():
    assert torch.allclose(shown_to(4, torch.rand(1, 3, 2, 2).expand(8, 3, 2, 2)), torch.zeros(8, 1, 2, 2), atol=2e-4)


def test_the_minibatch_deviation_is_the_mean_over_features_of_the_standard_deviation_over_the_group():
    features = torch.zeros(2, 2, 1, 2)
    features[1] = torch.tensor([[[2.0, 4.0]], [[0.0, -6.0]]])  # half of a difference is the deviation of two
    assert torch.allclose(shown_to(2, features), torch.full((2, 1, 1, 2), (1 + 2 + 0 + 3) / 4), atol=1e-4)


def test_the_minibatch_deviation_scales_as_the_features_and_shifts_do_not_move_it():
    features = torch.randn(8, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(shown_to(4, 5 * features + 7), 5 * shown_to(4, features), rtol=1e-4)


def test_each_group_has_a_minibatch_deviation_of_its_own_in_the_order_of_the_batch():
    features = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    together = shown_to(4, torch.cat([features, 3 * features]))
    assert torch.allclose(together, torch.cat([shown_to(4, features), shown_to(4, 3 * features)]))
    assert torch.equal(together[:4], together[:1, :, :1, :1].expand(4, 1, 2, 2))


@pytest.mark.parametrize("num_samples", [1, 3, 5, 11])
def test_samples_beyond_the_last_whole_group_get_its_minibatch_deviation(num_samples):
    features = torch.randn(num_samples, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    size = min(num_samples, 4)
    expected = shown_to(4, features[num_samples // size * size - size :][:size])[:1]
    assert torch.allclose(shown_to(4, features)[num_samples // size * size - size :], expected)


def test_the_minibatch_deviation_of_copies_has_a_finite_slope():
    features = torch.zeros(4, 3, 2, 2, requires_grad=True)
    MinibatchDeviation(4)(features).sum().backward()
    assert features.grad.isfinite().all()


def test_the_minibatch_deviation_keeps_half_precision():
    assert MinibatchDeviation(2)(torch.rand(4, 3, 2, 2).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("body", BODIES)
def test_a_critic_with_a_group_size_judges_a_group_together_and_without_one_each_image_alone(body):
    images = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    changed = torch.cat([images[:3], 1 - images[3:]])  # three of the first group of four, and none else, stay
    alone, together = in_groups_of(None, body), in_groups_of(4, body)
    assert torch.allclose(alone(images)[:3], alone(changed)[:3], atol=1e-6)
    assert not torch.isclose(together(images)[:3], together(changed)[:3], atol=1e-6).any()
    assert torch.allclose(together(images)[:4], together(torch.cat([images[:4], changed[4:]]))[:4], atol=1e-6)


@pytest.mark.parametrize("body", BODIES)
def test_a_conditional_critic_has_the_minibatch_deviation_too(body):
    critic = in_groups_of(4, body, num_classes=3)
    images, labels = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(4)
    changed = torch.cat([images[:3], 1 - images[3:]])
    assert not torch.isclose(critic(images, labels)[:3], critic(changed, labels)[:3], atol=1e-6).any()


@pytest.mark.parametrize("num_classes", [None, 3])
@pytest.mark.parametrize("body", BODIES)
def test_a_logit_scale_multiplies_how_far_logits_lie_apart(body, num_classes):
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    given = (images,) if num_classes is None else (images, torch.arange(6) % 3)

    def distances(scale):
        torch.manual_seed(0)
        critic = gan(body, logit_scale=scale, num_classes=num_classes).critic.eval()
        return torch.pdist(critic(*given).detach())

    assert distances(4.0) == pytest.approx(4 * distances(None), rel=1e-4)


@pytest.mark.parametrize("loss", ["non_saturating", "hinge", "wgan_gp"])
@pytest.mark.parametrize("body", BODIES)
def test_players_with_a_minibatch_deviation_learn(body, loss):
    model = gan(body, loss=loss, deviation_group_size=4)
    criticised = train_players(model, num_steps=40, movers=[0])
    generated = train_players(model, num_steps=40, movers=[1])
    assert criticised[-1][0] < criticised[0][0] - 0.1
    assert generated[-1][0] < generated[0][0] - 0.1
