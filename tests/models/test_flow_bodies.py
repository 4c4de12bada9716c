"""Bodies of the flow: they begin at rest, follow place, time and class, and heed the levers of architecture."""

import pytest
import torch
from torch import nn

from collapsar.models.flow.flow import Flow
from tiny_models import FLOW_SETTINGS

SHAPES = {"unet": [[1, 8, 8], [1, 28, 28], [3, 32, 32]], "mlp": [[1, 8, 8], [3, 32, 32], [2]]}
every_body = pytest.mark.parametrize("body", SHAPES)
every_shape = pytest.mark.parametrize(
    ("body", "shape"), [(body, shape) for body, shapes in SHAPES.items() for shape in shapes], ids=str
)
NORM_KINDS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)
WITH_EVERYTHING = {"norm": "batch", "depth": 1, "dropout": 0.2, "width_factor": 2.0, "num_classes": 3}


def make(body, **changes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Flow(**{**FLOW_SETTINGS, "body": body, **changes})


def stirred(body, **changes):
    """A flow after a step away from where networks begin."""
    model = make(body, **changes)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def count(network, kind):
    return sum(isinstance(module, kind) for module in network.modules())


def velocities(model, *, place=0.0, time=0.5, label=None):
    position = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8) + place
    labels = None if label is None else torch.tensor([label])
    return model.velocities(position, torch.tensor([time]), labels)


@every_shape
def test_a_body_gives_a_velocity_for_each_value_and_begins_at_rest(body, shape):
    model = make(body, sample_shape=shape)
    velocity = model.velocities(torch.randn(3, *shape), torch.rand(3))
    assert torch.equal(velocity, torch.zeros(3, *shape))


@every_body
def test_the_velocity_depends_on_place_time_and_class(body):
    model = stirred(body, num_classes=3)
    here = velocities(model, label=0)
    others = [velocities(model, place=0.5, label=0), velocities(model, time=0.1, label=0), velocities(model, label=1)]
    assert not any(torch.allclose(here, other, atol=1e-4) for other in others)


@every_body
def test_each_sample_has_a_time_of_its_own(body):
    model = stirred(body)
    places, times = torch.randn(2, 1, 8, 8), torch.tensor([0.1, 0.9])
    both = model.velocities(places, times)
    assert torch.allclose(both[1:], model.velocities(places[1:], times[1:]), atol=1e-5)


@pytest.mark.parametrize("norm", ["batch", "group", "layer"])
@every_body
def test_a_norm_stands_before_every_hidden_activation(body, norm):
    model = make(body, norm=norm)
    assert count(model, NORM_KINDS) == count(model, nn.SiLU) > 0


@every_body
def test_without_a_norm_there_is_none(body):
    assert count(make(body, norm="none"), NORM_KINDS) == 0


@every_body
def test_depth_adds_as_many_layers_for_each_unit(body):
    none, one, two = (count(make(body, depth=depth), (nn.Conv2d, nn.Linear)) for depth in (None, 1, 2))
    assert two - one == one - none > 0


@every_body
def test_dropout_drops_in_training_alone(body):
    model = stirred(body, dropout=0.5)
    assert torch.equal(velocities(model), velocities(model))
    model.train()
    with torch.random.fork_rng(devices=[]):
        assert not torch.equal(velocities(model), velocities(model))


@every_body
def test_a_factor_is_that_of_the_width(body):
    scaled, typed = make(body, width_factor=2.0), make(body, width=2 * FLOW_SETTINGS["width"])
    assert {name: value.shape for name, value in scaled.state_dict().items()} == {
        name: value.shape for name, value in typed.state_dict().items()
    }


@every_shape
def test_a_body_with_everything_on_gives_samples_of_the_shape(body, shape):
    samples = stirred(body, sample_shape=shape, **WITH_EVERYTHING).sample(3, torch.Generator().manual_seed(0))
    assert list(samples.values.shape) == [3, *shape]


@every_body
def test_every_weight_learns_with_everything_on(body):
    model = stirred(body, **WITH_EVERYTHING | {"dropout": None}).train()
    velocity = model.velocities(torch.randn(6, 1, 8, 8), torch.rand(6), torch.arange(6) % 3)
    velocity.square().sum().backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []
