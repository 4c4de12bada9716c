"""The encoder trained without labels tells classes apart, and says how well."""

from dataclasses import replace

import pytest
import torch

from collapsar.foundations.errors import UsageError
from collapsar.judging.spaces import self_supervised
from collapsar.judging.spaces.embedders import TrainingBudget
from collapsar.judging.spaces.preprocessing import Augmentation
from collapsar.judging.spaces.self_supervised import SelfSupervisedSpace, SimilarityLogits, probe

CPU = torch.device("cpu")
SETTINGS = SelfSupervisedSpace(
    feature_dim=64,
    temperature=0.5,
    budget=TrainingBudget(num_steps=150, batch_size=64, learning_rate=0.01, weight_decay=0.01),
    augmentation=Augmentation(
        rotation_degrees=12.0, shift_fraction=0.1, scale_change=0.12, shear=0.15, blur=0.5, noise_std=0.2, flip=False
    ),
    min_accuracy=0.95,
    seed=0,
    chunk_size=512,
)
BRIEF = replace(SETTINGS, budget=replace(SETTINGS.budget, num_steps=2), min_accuracy=0.0)


def test_linear_probe_of_digits_is_accurate(digits, tmp_path):
    space = SETTINGS.fit(digits, device=CPU, cache_dir=tmp_path)
    assert space.test_accuracy > 0.96
    assert space.head is None


def test_labels_do_not_change_the_features(digits, tmp_path):
    unlabelled = replace(digits, num_classes=0)
    with_labels = BRIEF.fit(digits, device=CPU, cache_dir=tmp_path)
    without = BRIEF.fit(unlabelled, device=CPU, cache_dir=tmp_path)
    assert torch.equal(with_labels.extract(digits.test.values), without.extract(digits.test.values))
    assert without.test_accuracy is None


def test_cached_encoder_gives_bitwise_the_same_features_without_training(digits, tmp_path, monkeypatch):
    trained = BRIEF.fit(digits, device=CPU, cache_dir=tmp_path)
    monkeypatch.setattr(self_supervised, "train_classifier", None)
    loaded = BRIEF.fit(digits, device=CPU, cache_dir=tmp_path)
    assert torch.equal(loaded.extract(digits.test.values), trained.extract(digits.test.values))
    assert loaded.describe() == trained.describe()


def test_untrained_encoder_is_refused(digits, tmp_path):
    with pytest.raises(UsageError, match="the self_supervised space reaches a test accuracy of"):
        replace(BRIEF, min_accuracy=0.96).fit(digits, device=CPU, cache_dir=tmp_path)


def test_batch_larger_than_the_training_set_is_refused(digits, tmp_path):
    few = replace(digits, train=digits.train[:10])
    with pytest.raises(UsageError, match="batch_size must not exceed 10 images: got 64"):
        BRIEF.fit(few, device=CPU, cache_dir=tmp_path)


def test_no_view_is_its_own_match():
    logits = SimilarityLogits(feature_dim=8, temperature=0.5)(torch.randn(6, 8))
    assert (logits.diagonal() == -torch.inf).all()
    assert logits.masked_fill(torch.eye(6, dtype=torch.bool), 0).abs().max() <= 2 + 1e-6


def test_probe_separates_what_a_plane_separates():
    features = torch.tensor([[0.0, 0.0], [0.0, 1.0], [3.0, 0.0], [3.0, 1.0]])
    assert probe(features, torch.tensor([0, 0, 1, 1]), test=features + 0.1).tolist() == [0, 0, 1, 1]
