"""Stacks are sized from the data's shape, and mirror each other."""

import pytest
import torch
from torch import nn

from collapsar.foundations.errors import UsageError
from collapsar.models.layers import PLAIN, Layers, bottom_shape, check_image_shape, downsampler, num_halvings, upsampler

SHAPES = [[channels, side, side] for channels in (1, 3) for side in (8, 28, 32)]


@pytest.mark.parametrize(("side", "expected"), [(4, 0), (5, 0), (7, 0), (8, 1), (28, 2), (32, 3), (64, 4)])
def test_a_side_is_halved_while_even_and_above_four(side, expected):
    assert num_halvings(side) == expected


@pytest.mark.parametrize(
    ("shape", "expected"),
    [([1, 8, 8], (16, 4, 4)), ([1, 28, 28], (32, 7, 7)), ([3, 32, 32], (64, 4, 4)), ([3, 16, 32], (32, 4, 8))],
)
def test_bottom_shape_of_the_data_sets(shape, expected):
    assert bottom_shape(shape, width=16) == expected


@pytest.mark.parametrize("shape", [*SHAPES, [3, 16, 32], [1, 6, 6], [1, 6, 64]])
def test_up_and_down_stacks_have_the_shapes_they_promise(shape):
    down = downsampler(shape, width=4, activation=nn.SiLU, layers=PLAIN)
    up = upsampler(shape, latent_dim=3, width=4, activation=nn.SiLU, layers=Layers(norm="batch"))
    assert down(torch.zeros(2, *shape)).shape == (2, torch.Size(bottom_shape(shape, width=4)).numel())
    assert up(torch.zeros(2, 3)).shape == (2, *shape)


def test_every_convolution_is_wrapped():
    wrapped = []
    downsampler(
        [3, 32, 32], width=4, activation=nn.SiLU, layers=PLAIN, wrap=lambda layer: wrapped.append(layer) or layer
    )
    assert [type(layer) for layer in wrapped] == [nn.Conv2d] * 3


def test_channels_double_with_each_halving():
    stack = downsampler([3, 32, 32], width=4, activation=nn.SiLU, layers=PLAIN)
    convolutions = [layer for layer in stack if isinstance(layer, nn.Conv2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in convolutions] == [(3, 4), (4, 8), (8, 16)]


@pytest.mark.parametrize("shape", [[100], [1, 7, 8], [1, 8, 4], [0, 8, 8], [1, 1, 8, 8], []])
def test_what_is_no_image_shape_is_refused(shape):
    with pytest.raises(UsageError, match="sample_shape must be"):
        check_image_shape(shape)
