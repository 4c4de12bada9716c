"""Scenes show what their labels say, in the shares that are known; nuisances move the rest."""

import pytest
import torch
from scipy.stats import chisquare

from collapsar.cases.scenes.scenes import FACTORS, draw_scenes
from collapsar.config.composition import build
from collapsar.foundations.errors import UsageError
from tiny_chains import compose_settings

SMALL = ("data=scenes", "data.num_train=300", "data.num_test=200", "data.num_reserve=100")
NUM_PICTURES = 40


def source(*overrides):
    return build(compose_settings(*SMALL, *overrides)).data


def pictures(*present, road=0):
    """The same nuisances with these factors, in model range."""
    levels = torch.tensor([[road, *(int(name in present) for name in FACTORS[1:])]]).repeat(NUM_PICTURES, 1)
    return draw_scenes(levels, generator=torch.Generator().manual_seed(0)).float() / 255


def test_sets_are_colour_pictures_that_share_no_scene():
    real = source().load()
    sets = (real.train, real.test, real.reserve)
    assert [len(each) for each in sets] == [300, 200, 100]
    assert {each.shape for each in sets} == {(3, 32, 32)}
    everything = torch.cat([each.values for each in sets])
    assert everything.dtype == torch.uint8
    assert len(everything.flatten(1).unique(dim=0)) == 600


def test_a_seed_gives_the_same_scenes_and_another_one_others():
    first, again, other = (source(f"seed={seed}").load().train for seed in (3, 3, 4))
    assert torch.equal(first.values, again.values)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.values, other.values)


def test_real_scenes_have_the_known_share_of_each_combination_within_sampling_error():
    scenes = source("data.num_train=6000")
    counts = scenes.load().train.labels.bincount(minlength=96).double()
    expected = 6000 * scenes.factors.shares
    is_counted = expected >= 5  # the others together, as a chi-squared test asks
    pooled = [torch.cat([each[is_counted], each[~is_counted].sum()[None]]).numpy() for each in (counts, expected)]
    assert chisquare(*pooled).pvalue > 0.001


def test_the_shares_of_factors_are_those_of_the_settings():
    shares = {level.name: level.share for level in source("data.fog=0.4", "data.left=0.1").factors.levels}
    assert (shares["fog"], shares["left"], shares["right"], shares["straight"]) == pytest.approx((0.4, 0.1, 0.2, 0.7))


def test_night_is_dark_and_fog_is_without_contrast():
    assert pictures("night").mean() < 0.5 * pictures().mean()
    assert pictures("fog").std(dim=(1, 2, 3)).max() < 0.7 * pictures().std(dim=(1, 2, 3)).min()


@pytest.mark.parametrize(
    ("factor", "fewest", "most"), [("vehicle", 15, 120), ("pedestrian", 10, 60), ("occlusion", 50, 160)]
)
def test_a_thing_changes_some_pixels_of_every_picture_and_leaves_the_others(factor, fewest, most):
    for around in ((), ("night",), ("fog",), ("night", "fog")):
        changed = ((pictures(factor, *around) - pictures(*around)).abs().amax(1) > 0.02).flatten(1).sum(1)
        assert fewest <= changed.min()
        assert changed.max() <= most


def test_a_barrier_never_hides_all_of_somebody():
    seen = (pictures("pedestrian", "occlusion") - pictures("occlusion")).abs().amax(1) > 0.05
    assert seen.flatten(1).sum(1).min() >= 6


def test_roads_bend_to_where_they_are_said_to():
    def asphalt(road):
        """Mean column of what is grey, just below the horizon."""
        rows = pictures(road=road)[:, :, 13:16]
        is_grey = (rows.amax(1) - rows.amin(1)) < 0.1
        return (is_grey * torch.arange(32)).sum((1, 2)) / is_grey.sum((1, 2))

    straight, left, right = (asphalt(road) for road in range(3))
    assert (left < straight - 3).all()
    assert (right > straight + 3).all()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.fog=1.5", "data.fog must lie between 0 and 1"),
        ("data.left=0.9", "data.left and data.right must sum to 1 at most: got 0.9 and 0.2"),
        ("data.sample_shape=[3,64,64]", r"data.sample_shape must be \[3, 32, 32\]: got \[3, 64, 64\]"),
        ("data.num_train=0", "data.num_train must be above 0: got 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(override, message):
    with pytest.raises(UsageError, match=message):
        source(override)
