"""Bodies of the VAE: sized from the shape of the data, of the sizes that they promise, and able to learn."""

from math import prod

import pytest
import torch
from lightning import Trainer

from collapsar.foundations.samples import Samples
from collapsar.models.vae.vae import VAE
from collapsar.models.vae.vae_bodies import CODERS, make_coder, patch_side, residual_block
from tiny_models import VAE_SWITCHED_OFF

SHAPES = [[channels, side, side] for channels in (1, 3) for side in (8, 28, 32)]
ODD_SHAPES = [[3, 16, 32], [1, 6, 6], [1, 6, 64]]
BODIES = list(CODERS)
LATENT_DIM, WIDTH = 3, 4
SETTINGS = {
    "sample_shape": [1, 8, 8], "latent_dim": 4, "width": 8, "beta": 0.0, "likelihood": "bernoulli", "pixel_sd": 0.3,
    "sample_from": "mean", "learning_rate": 0.01, **VAE_SWITCHED_OFF,
}  # fmt: skip


def seeded(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def coder(body, shape, *, latent_dim=LATENT_DIM, width=WIDTH):
    return seeded(lambda: make_coder(body, shape, latent_dim=latent_dim, width=width))


def num_weights(network):
    """Of matrices and kernels, without biases."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.ndim > 1)


@pytest.mark.parametrize("shape", [*SHAPES, *ODD_SHAPES])
@pytest.mark.parametrize("body", BODIES)
def test_a_body_maps_images_to_posteriors_and_latents_to_images(body, shape):
    encoder, decoder = coder(body, shape)
    assert encoder(torch.zeros(2, *shape)).shape == (2, 2 * LATENT_DIM)
    assert decoder(torch.zeros(2, LATENT_DIM)).shape == (2, *shape)


@pytest.mark.parametrize("body", BODIES)
def test_a_body_grows_with_its_width(body):
    narrow, wide = (coder(body, [1, 28, 28], width=width) for width in (4, 8))
    assert all(num_weights(large) > 1.9 * num_weights(small) for small, large in zip(narrow, wide, strict=True))


def test_the_patch_body_at_28_pixels_has_the_layers_of_its_description():
    encoder, decoder = coder("patch", [1, 28, 28], latent_dim=24, width=32)
    grid = 7 * 7 * 32
    assert num_weights(encoder) == 32 * 4 * 4 + grid * 512 + 512 * 256 + 256 * 48
    assert num_weights(decoder) == 24 * 256 + 256 * 512 + 512 * grid + 32 * 64 + 64 * 4 * 4


def test_the_mlp_body_has_two_hidden_layers_each_way():
    encoder, decoder = coder("mlp", [3, 8, 8], latent_dim=5, width=2)
    assert num_weights(encoder) == 192 * 32 + 32 * 32 + 32 * 10
    assert num_weights(decoder) == 5 * 32 + 32 * 32 + 32 * 192


@pytest.mark.parametrize(
    ("shape", "side"), [([1, 8, 8], 2), ([1, 28, 28], 4), ([3, 32, 32], 4), ([3, 16, 30], 2), ([1, 6, 64], 2)]
)
def test_small_images_are_cut_into_small_patches(shape, side):
    assert patch_side(shape) == side


def test_a_patch_is_made_from_its_own_features_alone():
    _, decoder = coder("patch", [1, 28, 28])
    unflatten = next(index for index, layer in enumerate(decoder) if isinstance(layer, torch.nn.Unflatten))
    features = torch.randn(1, prod((WIDTH, 7, 7)), generator=torch.Generator().manual_seed(0)).requires_grad_()
    image = decoder[unflatten:](features)
    (gradient,) = torch.autograd.grad(image[0, 0, 8:12, 4:8].sum(), features)
    reached = gradient.reshape(WIDTH, 7, 7).abs().sum(0).nonzero().tolist()
    assert reached == [[2, 1]]


def test_a_residual_block_begins_as_the_identity():
    block, features = seeded(lambda: residual_block(4)), torch.randn(2, 4, 5, 5)
    assert torch.equal(block(features), features)


def test_a_residual_block_is_trained_away_from_the_identity():
    block, features = seeded(lambda: residual_block(4)), torch.randn(2, 4, 5, 5)
    block(features).square().sum().backward()
    assert block.branch[-1].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("body", BODIES)
def test_every_body_learns_to_tell_images_apart(body, likelihood):
    """Eight images, each of one grey: at least half of what can be gained over one image for all is gained."""
    images = (torch.arange(8, dtype=torch.uint8) * 36).reshape(8, 1, 1, 1).expand(8, 1, 8, 8).contiguous()
    model = seeded(lambda: VAE(body=body, **SETTINGS | {"likelihood": likelihood}))
    values = images.float() / 255
    one_for_all, each_its_own = (
        model.negative_log_likelihood(images.logit().expand(8, 1, 8, 8), values=values).item()
        for images in (values.mean(0, keepdim=True), values.clamp(0.004, 0.996))
    )
    (optimizer,) = model.configure_optimizers()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(100):
            loss = model.losses(Samples(images), None)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert loss.item() < (one_for_all + each_its_own) / 2


@pytest.mark.parametrize("body", BODIES)
def test_a_checkpoint_of_every_body_gives_the_same_samples_again(body, tmp_path):
    model = seeded(lambda: VAE(body=body, **SETTINGS))
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    loaded = VAE.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    samples = [one.sample(5, torch.Generator().manual_seed(0)).values for one in (model, loaded)]
    assert torch.equal(*samples)
