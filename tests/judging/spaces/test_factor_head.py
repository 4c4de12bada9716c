"""A head that reads factors one by one gives combinations the product of their probabilities."""

import pytest
import torch
import torch.nn.functional as F

from collapsar.judging.spaces.embedders import FactorHead, join

LEVELS = (3, 2, 2)


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(7, size, generator=generator, dtype=torch.float64) for size in LEVELS]


def test_the_probability_of_a_combination_is_the_product_of_those_of_its_levels(logits):
    first, second, third = (each.softmax(1) for each in logits)
    expected = torch.einsum("si,sj,sk->sijk", first, second, third).flatten(1)
    assert torch.allclose(join(logits).exp(), expected)


def test_the_cross_entropy_of_combinations_is_the_sum_of_those_of_factors(logits):
    levels = torch.stack([torch.arange(7) % size for size in LEVELS])
    labels = (levels[0] * 2 + levels[1]) * 2 + levels[2]
    apart = sum(F.cross_entropy(each, own) for each, own in zip(logits, levels, strict=True))
    assert F.cross_entropy(join(logits), labels).item() == pytest.approx(apart.item())


def test_the_likeliest_combination_holds_the_likeliest_level_of_each_factor(logits):
    first, second, third = (each.argmax(1) for each in logits)
    assert torch.equal(join(logits).argmax(1), (first * 2 + second) * 2 + third)


def test_a_head_has_a_weight_for_every_level_and_not_for_every_combination():
    assert FactorHead(5, LEVELS).linear.out_features == 7
