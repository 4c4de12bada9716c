"""Labels hold all factors, shares are exact products, and draws follow them."""

import pytest
import torch
from scipy.stats import chisquare

from collapsar.data.real_data import Factor, Factors
from collapsar.foundations.errors import UsageError

WORLD = Factors(
    (
        Factor("road", ("straight", "left", "right"), (0.5, 0.3, 0.2)),
        Factor("night", ("no night", "night"), (0.9, 0.1)),
        Factor("fog", ("no fog", "fog"), (0.8, 0.2)),
    )
)


def test_labels_and_levels_are_inverse():
    labels = torch.arange(WORLD.num_combinations)
    assert torch.equal(WORLD.labels(WORLD.values(labels)), labels)


def test_the_first_factor_is_the_highest_digit_of_a_label():
    assert WORLD.values(torch.tensor([0, 1, 2, 4, 11])).tolist() == [
        [0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [2, 1, 1],
    ]  # fmt: skip


def test_the_share_of_a_combination_is_the_product_of_those_of_its_levels():
    assert WORLD.shares[11].item() == pytest.approx(0.2 * 0.1 * 0.2)
    assert WORLD.shares.sum().item() == pytest.approx(1.0)


def test_levels_are_told_of_by_name_and_the_absence_of_one_is_not():
    assert [level.name for level in WORLD.levels] == ["straight", "left", "right", "night", "fog"]


def test_a_level_knows_its_samples():
    night = next(level for level in WORLD.levels if level.name == "night")
    assert WORLD.has(night, torch.arange(12)).nonzero().flatten().tolist() == [2, 3, 6, 7, 10, 11]


def test_draws_have_the_known_share_of_each_combination_within_sampling_error():
    labels = WORLD.labels(WORLD.draw(20_000, generator=torch.Generator().manual_seed(0)))
    counts = labels.bincount(minlength=WORLD.num_combinations)
    assert chisquare(counts.numpy(), (20_000 * WORLD.shares).numpy()).pvalue > 0.001


def test_rarities_part_the_combinations_by_their_share_beside_the_equal_one():
    parts = WORLD.shares * WORLD.num_combinations
    assert torch.equal(torch.stack(list(WORLD.rarities.values())).sum(0), torch.ones(12))
    assert parts[WORLD.rarities["common"]].min() >= 0.5
    assert parts[WORLD.rarities["rare"]].max() < 0.1


def test_combinations_that_are_all_as_likely_are_common():
    coins = Factors((Factor("coin", ("heads", "tails"), (0.5, 0.5)), Factor("die", ("1", "2", "3"), (1 / 3,) * 3)))
    assert list(coins.rarities) == ["common"]


def test_what_never_occurs_has_no_rarity():
    sunny = Factors((Factor("fog", ("no fog", "fog"), (1.0, 0.0)), *WORLD.factors[:2]))
    assert not torch.stack(list(sunny.rarities.values())).any(0)[6:].any()


@pytest.mark.parametrize("shares", [(0.5, 0.6), (1.5, -0.5)])
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(UsageError, match=r"the shares of fog must lie in .* and sum to 1"):
        Factor("fog", ("no fog", "fog"), shares)
