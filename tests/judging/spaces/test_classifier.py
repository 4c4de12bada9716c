"""Feature spaces: accurate enough to be trusted, frozen, reproducible, cached by content."""

import json
import os
from dataclasses import replace

import pytest
import torch

from collapsar.data.real_data import RealData
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.judging.spaces import classifier as classifier_module
from collapsar.judging.spaces.base import digest_real
from collapsar.judging.spaces.classifier import ClassifierSpace
from collapsar.judging.spaces.embedders import TrainingBudget
from collapsar.judging.spaces.preprocessing import Augmentation

CPU = torch.device("cpu")
AUGMENTATION = Augmentation(
    rotation_degrees=12.0, shift_fraction=0.1, scale_change=0.12, shear=0.15, blur=0.5, noise_std=0.3, flip=False
)
CLASSIFIER = ClassifierSpace(
    feature_dim=64,
    budget=TrainingBudget(num_steps=300, batch_size=64, learning_rate=0.01, weight_decay=0.01),
    augmentation=AUGMENTATION,
    min_accuracy=0.95,
    seed=0,
    chunk_size=512,
)
BRIEF = replace(CLASSIFIER, budget=replace(CLASSIFIER.budget, num_steps=3), min_accuracy=0.0)


@pytest.fixture(scope="module")
def digits_space(digits, tmp_path_factory):
    return CLASSIFIER.fit(digits, device=CPU, cache_dir=tmp_path_factory.mktemp("cache"))


def add_noise(images, *, std):
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)) * std
    return (images / 255 + noise).clamp(0, 1).mul(255).round().to(torch.uint8)


def share_of_real(space, images, labels):
    """How often each class is predicted, over how often it occurs."""
    predicted = space.classify(space.extract(images)).argmax(dim=1)
    return predicted.bincount(minlength=10) / labels.bincount(minlength=10)


# The classifier space


def test_classifier_is_accurate_on_held_out_digits(digits_space):
    assert digits_space.test_accuracy >= 0.96


def test_classifier_has_about_eighty_thousand_parameters(digits_space):
    parameters = [*digits_space.embedder.parameters(), *digits_space.head.parameters()]
    assert 70_000 < sum(parameter.numel() for parameter in parameters) < 90_000


def test_test_accuracy_is_that_of_the_probabilities(digits, digits_space):
    predicted = digits_space.classify(digits_space.extract(digits.test.values)).argmax(dim=1)
    assert digits_space.test_accuracy == pytest.approx((predicted == digits.test.labels).double().mean().item())


def test_probabilities_sum_to_one(digits, digits_space):
    probabilities = digits_space.classify(digits_space.extract(digits.test.values))
    assert probabilities.shape == (360, 10)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(360))


def test_noisy_digits_do_not_read_as_dropped_classes(digits, digits_space):
    shares = share_of_real(digits_space, add_noise(digits.test.values, std=0.2), digits.test.labels)
    assert shares.min() > 0.4


def test_features_do_not_depend_on_the_chunk_size(digits, digits_space):
    in_sevens = replace(digits_space, chunk_size=7).extract(digits.test.values)
    torch.testing.assert_close(in_sevens, digits_space.extract(digits.test.values), rtol=1e-5, atol=1e-5)


def test_extraction_is_frozen(digits, digits_space):
    features = digits_space.extract(digits.test.values)
    assert features.dtype == torch.float32
    assert features.shape == (360, digits_space.feature_dim)
    assert not features.requires_grad
    assert not any(parameter.requires_grad for parameter in digits_space.embedder.parameters())
    assert not any(module.training for module in digits_space.embedder.modules())


def test_every_feature_varies(digits, digits_space):
    assert digits_space.extract(digits.train.values).std(dim=0).min() > 1e-3


def test_same_seed_gives_the_same_weights_and_another_seed_others(digits, tmp_path):
    first = BRIEF.fit(digits, device=CPU, cache_dir=tmp_path / "a").extract(digits.test.values)
    again = BRIEF.fit(digits, device=CPU, cache_dir=tmp_path / "b").extract(digits.test.values)
    other = replace(BRIEF, seed=1).fit(digits, device=CPU, cache_dir=tmp_path / "a").extract(digits.test.values)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_training_leaves_the_global_generator_alone(digits, tmp_path):
    before = torch.get_rng_state()
    BRIEF.fit(digits, device=CPU, cache_dir=tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_inaccurate_classifier_is_refused_also_from_the_cache(digits, tmp_path):
    strict = replace(BRIEF, min_accuracy=0.95)
    for _ in range(2):
        with pytest.raises(UsageError, match=r"test accuracy of 0\.\d+, below min_accuracy=0\.95"):
            strict.fit(digits, device=CPU, cache_dir=tmp_path)


def test_classifier_refuses_missing_labels(digits, tmp_path):
    with pytest.raises(UsageError, match="needs labelled real data"):
        BRIEF.fit(replace(digits, num_classes=0), device=CPU, cache_dir=tmp_path)


def test_classifier_fits_every_image_size(tmp_path):
    for shape in [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 48)]:
        images = torch.randint(256, (8, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        labels = torch.arange(8) % 2
        real = RealData(train=Samples(images, labels), test=Samples(images, labels), num_classes=2)
        space = BRIEF.fit(real, device=CPU, cache_dir=tmp_path)
        assert space.extract(images).shape == (8, 64)


@pytest.mark.slow
@pytest.mark.skipif("COLLAPSAR_DATA" not in os.environ, reason="COLLAPSAR_DATA names no folder with MNIST")
def test_classifier_is_accurate_on_mnist_and_noise_drops_no_class(tmp_path):
    from torchvision.datasets import MNIST

    train, test = (MNIST(os.environ["COLLAPSAR_DATA"], train=is_train) for is_train in (True, False))
    real = RealData(
        train=Samples(train.data[:, None], train.targets),
        test=Samples(test.data[:, None], test.targets),
        num_classes=10,
    )
    budget = replace(CLASSIFIER.budget, num_steps=1000, batch_size=128)
    settings = replace(CLASSIFIER, budget=budget, augmentation=replace(AUGMENTATION, blur=1.0), min_accuracy=0.98)
    space = settings.fit(real, device=CPU, cache_dir=tmp_path)
    assert space.test_accuracy >= 0.985
    assert share_of_real(space, add_noise(real.test.values, std=0.2), real.test.labels).min() > 0.5


# The cache


def test_cached_space_gives_bitwise_the_same_features_without_training(digits, tmp_path, monkeypatch):
    trained = BRIEF.fit(digits, device=CPU, cache_dir=tmp_path)
    monkeypatch.setattr(classifier_module, "train_classifier", None)
    loaded = BRIEF.fit(digits, device=CPU, cache_dir=tmp_path)
    assert torch.equal(loaded.extract(digits.test.values), trained.extract(digits.test.values))
    assert loaded.describe() == trained.describe()


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def replace_by_text(path):
    path.write_text("not a feature space")


def replace_by_other_tensors(path):
    torch.save({"weights": torch.zeros(3)}, path)


def alter_weights(path):
    stored = torch.load(path, weights_only=True)
    next(iter(stored["tensors"].values())).add_(1e-3)
    torch.save(stored, path)


@pytest.mark.parametrize("damage", [truncate, empty, replace_by_text, replace_by_other_tensors, alter_weights])
def test_damaged_or_foreign_cache_file_is_retrained_with_a_warning(digits, tmp_path, caplog, damage):
    trained = BRIEF.fit(digits, device=CPU, cache_dir=tmp_path)
    (stored,) = tmp_path.glob("*.pt")
    damage(stored)
    retrained = BRIEF.fit(digits, device=CPU, cache_dir=tmp_path)
    assert torch.equal(retrained.extract(digits.test.values), trained.extract(digits.test.values))
    assert "is unusable and is computed anew" in caplog.text


def test_content_hash_follows_pixels_labels_and_settings_only(digits, tmp_path):
    def hash_of(settings, real):
        return settings.fit(real, device=CPU, cache_dir=tmp_path).content_hash

    one_step = replace(BRIEF, budget=replace(BRIEF.budget, num_steps=1))
    brightened = digits.train.values.clone()
    brightened[0, 0, 0, 0] += 1
    relabelled = digits.train.labels.clone()
    relabelled[0] = (relabelled[0] + 1) % 10
    hashes = {
        hash_of(one_step, digits),
        hash_of(one_step, replace(digits, train=Samples(brightened, digits.train.labels))),
        hash_of(one_step, replace(digits, train=Samples(digits.train.values, relabelled))),
        hash_of(replace(one_step, augmentation=replace(AUGMENTATION, blur=0.4)), digits),
    }
    assert len(hashes) == 4
    assert hash_of(replace(one_step, chunk_size=100), digits) in hashes


def test_description_is_json(digits_space):
    described = json.loads(json.dumps(digits_space.describe()))
    assert described["name"] == "classifier"
    assert described["feature_dim"] == 64
    assert described["test_accuracy"] == digits_space.test_accuracy


def test_digest_of_the_real_samples_is_what_earlier_caches_are_named_after():
    images, labels = torch.arange(128, dtype=torch.uint8).view(2, 1, 8, 8), torch.tensor([0, 1])
    real = RealData(train=Samples(images, labels), test=Samples(255 - images, labels), num_classes=2)
    assert digest_real(real) == "3ba4122326ca6aaa8ccfccf30954d57d"
    assert digest_real(replace(real, num_classes=0)) == "79598d6c6ab864f8f8a584f6fa72d638"
