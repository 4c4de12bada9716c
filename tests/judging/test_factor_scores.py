"""Scores of factors follow from counts; what is lost is named."""

import math

import pytest
import torch

from collapsar.data.real_data import Factor, Factors
from collapsar.judging.comparison import Classified
from collapsar.judging.downstream import hazard_scores
from collapsar.judging.suite import factor_histogram, factor_scores

# Two coins that fall 3 : 1 and 9 : 1; combinations have .675, .075, .225 and .025.
WORLD = Factors(
    (
        Factor("night", ("no night", "night"), (0.75, 0.25)),
        Factor("fog", ("no fog", "fog"), (0.9, 0.1)),
    )
)


def labels(*counts):
    return torch.repeat_interleave(torch.arange(4), torch.tensor(counts))


def test_samples_in_the_known_shares_lose_nothing():
    scores = factor_scores(labels(675, 75, 225, 25), factors=WORLD)
    assert (scores["factor_share_night"], scores["factor_share_fog"]) == pytest.approx((0.25, 0.1))
    assert (scores["levels_dropped"], scores["combinations_alive"]) == (0, 4)
    divergences = (scores["combinations_kl"], scores["combinations_total_variation"])
    assert divergences == pytest.approx((0.0, 0.0), abs=1e-12)


def test_divergences_are_their_formulas():
    scores = factor_scores(labels(900, 0, 0, 100), factors=WORLD)
    assert scores["combinations_kl"] == pytest.approx(0.9 * math.log(0.9 / 0.675) + 0.1 * math.log(0.1 / 0.025))
    assert scores["combinations_total_variation"] == pytest.approx(0.225 + 0.075)


def test_a_level_is_dropped_below_a_tenth_of_its_known_share():
    assert factor_scores(labels(976, 0, 24, 0), factors=WORLD)["levels_dropped"] == 2
    assert factor_scores(labels(900, 0, 100, 0), factors=WORLD)["levels_dropped"] == 1
    assert factor_scores(labels(963, 11, 26, 0), factors=WORLD)["levels_dropped"] == 0


def test_combinations_are_alive_from_a_tenth_of_their_known_share():
    scores = factor_scores(labels(900, 7, 91, 2), factors=WORLD)
    assert scores["combinations_alive"] == 2


def test_what_is_alive_and_how_much_there_is_of_it_are_told_by_rarity():
    # Beside .25, the share of equally likely ones: 2.7 and .9 are common, .3 and .1 uncommon.
    scores = factor_scores(labels(500, 0, 480, 20), factors=WORLD)
    assert (scores["combinations_alive_common"], scores["combinations_alive_uncommon"]) == (1.0, 0.5)
    shares = (scores["combinations_share_common"], scores["combinations_share_uncommon"])
    assert shares == pytest.approx((0.98, 0.02))
    assert "combinations_share_rare" not in scores


def test_every_level_stands_beside_its_known_share():
    synthetic = torch.nn.functional.one_hot(labels(0, 0, 2, 2), 4).float()
    classified = Classified(real_classes=labels(3, 0, 1, 0), probabilities=synthetic)
    assert factor_histogram(classified, factors=WORLD) == {
        "night": {"known": 0.25, "real": 0.25, "synthetic": 1.0},
        "fog": {"known": 0.1, "real": 0.0, "synthetic": 0.5},
    }


# A detector of fog that is right by day and the wrong way round at night, on 4 scenes each, 2 of them in fog.
FOGGY = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
BY_DAY = torch.tensor([0.0, 1.0, 4.0, 5.0, 4.0, 5.0, 0.0, 1.0])


def test_a_detector_of_the_hazard_is_scored_on_all_scenes_and_where_each_other_level_is():
    factors = Factors(WORLD.factors, hazard="fog")
    scores = hazard_scores(torch.stack([2.5 - BY_DAY, BY_DAY - 2.5], dim=1), labels=FOGGY, factors=factors)
    assert scores["downstream_auc"] == pytest.approx(0.5)
    assert scores["downstream_accuracy"] == 0.5
    assert (scores["downstream_auc_where_night"], scores["downstream_f1_where_night"]) == (0.0, 0.0)
    assert "downstream_auc_where_fog" not in scores


def test_a_level_with_no_hazard_among_its_scenes_has_no_score():
    factors = Factors(WORLD.factors, hazard="fog")
    scores = hazard_scores(torch.stack([-BY_DAY[:6], BY_DAY[:6]], dim=1), labels=FOGGY[:6], factors=factors)
    assert "downstream_auc" in scores
    assert "downstream_auc_where_night" not in scores
