import math

import pytest
import torch

from collapsar.foundations.errors import UsageError
from collapsar.metrics.memorisation import holdout_scores, memorisation_scores, prepare_training_side
from collapsar.metrics.neighbours import nearest


def draw(num_samples, feature_dim, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_samples, feature_dim, generator=generator)


def test_copies_are_neither_authentic_nor_new():
    training = draw(500, 8)
    scores = memorisation_scores(training=prepare_training_side(training), synthetic=training[:200].clone())
    assert (scores["authenticity"], scores["duplicates"], scores["nearest_ratio"]) == (0.0, 1.0, 0.0)


def test_a_share_of_copies_is_counted():
    training = draw(500, 8)
    synthetic = torch.cat([training[:100], draw(300, 8, seed=1)])
    scores = memorisation_scores(training=prepare_training_side(training), synthetic=synthetic)
    assert scores["duplicates"] == 0.25
    assert scores["authenticity"] < 0.75


def test_unseen_samples_are_as_far_as_training_samples_from_each_other():
    scores = memorisation_scores(training=prepare_training_side(draw(3000, 4)), synthetic=draw(3000, 4, seed=1))
    assert scores["nearest_ratio"] == pytest.approx(1.0, abs=0.03)
    assert scores["duplicates"] == 0.0
    assert 0.4 < scores["authenticity"] < 0.6


def test_authenticity_equals_the_definition():
    training, synthetic = draw(200, 3), 0.8 * draw(150, 3, seed=1)
    across = torch.cdist(synthetic.double(), training.double())
    within = torch.cdist(training.double(), training.double()).fill_diagonal_(math.inf).amin(1)
    expected = float((across.amin(1) > within[across.argmin(1)]).double().mean())
    assert (
        memorisation_scores(training=prepare_training_side(training), synthetic=synthetic)["authenticity"] == expected
    )


def test_copies_of_duplicated_training_samples_are_not_authentic():
    training = draw(50, 4).repeat(2, 1)
    scores = memorisation_scores(training=prepare_training_side(training), synthetic=training[:30].clone())
    assert (scores["authenticity"], scores["duplicates"], scores["nearest_ratio"]) == (0.0, 1.0, 1.0)


def test_memorising_with_a_little_noise_is_seen_by_the_ratio():
    training = draw(1000, 8)
    synthetic = training + 0.05 * draw(1000, 8, seed=1)
    scores = memorisation_scores(training=prepare_training_side(training), synthetic=synthetic)
    assert scores["nearest_ratio"] < 0.2
    assert scores["authenticity"] < 0.05


def test_tiles_do_not_change_the_result(monkeypatch):
    training, synthetic = draw(200, 5), draw(150, 5, seed=1)
    whole = memorisation_scores(training=prepare_training_side(training), synthetic=synthetic)
    monkeypatch.setattr(nearest, "TILE_ELEMENTS", 500)
    side = prepare_training_side(training)
    monkeypatch.setattr(nearest, "TILE_ELEMENTS", 100)
    assert whole == memorisation_scores(training=side, synthetic=synthetic)


def test_bad_features_are_refused():
    side = prepare_training_side(draw(20, 3))
    with pytest.raises(UsageError, match="same dimension"):
        memorisation_scores(training=side, synthetic=draw(20, 4))
    with pytest.raises(UsageError, match="NaN"):
        prepare_training_side(torch.full((5, 2), math.nan))


def held_out_scores(*, synthetic, num_each=1000):
    return holdout_scores(training=draw(num_each, 6), held_out=draw(num_each, 6, seed=1), synthetic=synthetic)


def test_unseen_samples_are_as_near_to_training_as_to_held_out_ones():
    scores = held_out_scores(synthetic=draw(1000, 6, seed=2))
    assert scores["closer_to_training"] == pytest.approx(0.5, abs=0.05)
    assert scores["nearest_p5_ratio"] == pytest.approx(1.0, abs=0.1)


def test_copies_of_training_samples_are_all_closer_to_training_and_of_held_out_ones_none():
    of_training, of_held_out = (held_out_scores(synthetic=draw(1000, 6, seed=seed)) for seed in (0, 1))
    assert (of_training["closer_to_training"], of_training["nearest_p5_ratio"]) == (1.0, 0.0)
    assert (of_held_out["closer_to_training"], of_held_out["nearest_p5_ratio"]) == (0.0, 1.0)


def test_a_tie_counts_half():
    everything = torch.zeros(10, 2)
    assert holdout_scores(training=everything, held_out=everything, synthetic=everything)["closer_to_training"] == 0.5


def test_the_few_nearest_samples_decide_the_ratio():
    """A tenth of copies shows in the 5th percentile, and hardly in the share."""
    synthetic = torch.cat([draw(1000, 6)[:100], draw(900, 6, seed=2)])
    scores = held_out_scores(synthetic=synthetic)
    assert scores["nearest_p5_ratio"] == 0.0
    assert scores["closer_to_training"] == pytest.approx(0.55, abs=0.05)
