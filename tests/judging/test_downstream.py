"""The classification accuracy score falls when samples get worse, and survives what collapse does to samples."""

from dataclasses import replace

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split

from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.judging.downstream import DownstreamTask, score_logits
from collapsar.judging.spaces.embedders import TrainingBudget

CPU = torch.device("cpu")
TASK = DownstreamTask(
    budget=TrainingBudget(num_steps=200, batch_size=64, learning_rate=3e-3, weight_decay=0.01), seed=0, chunk_size=512
)
BRIEF = replace(TASK, budget=replace(TASK.budget, num_steps=40))


@pytest.fixture(scope="module")
def digits():
    scanned = load_digits()
    images = torch.tensor(scanned.images / 16 * 255).round().to(torch.uint8)[:, None]
    labels = torch.tensor(scanned.target)
    train, test = train_test_split(range(len(images)), test_size=360, stratify=scanned.target, random_state=0)
    return images[train], labels[train], images[test], labels[test]


def score(task, digits, samples, labels):
    _, _, test, test_labels = digits
    train = Samples(samples, labels)
    logits = task.logits(train, test=Samples(test, test_labels), num_classes=10, device=CPU)
    return score_logits(logits, labels=test_labels)


def test_real_digits_teach_the_classifier(digits):
    train, labels, _, _ = digits
    scores = score(TASK, digits, train, labels)
    assert scores["downstream_accuracy"] > 0.94
    assert scores["downstream_f1"] == pytest.approx(scores["downstream_accuracy"], abs=0.02)
    assert scores["downstream_loss"] < 0.3


def test_wrong_labels_bring_the_score_to_chance(digits):
    train, labels, _, _ = digits
    shuffled = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    assert score(BRIEF, digits, train, shuffled)["downstream_accuracy"] < 0.35


def test_missing_classes_lose_their_f1_and_no_other(digits):
    train, labels, _, _ = digits
    kept = labels < 8
    scores = score(BRIEF, digits, train[kept], labels[kept])
    by_class = [scores[f"downstream_f1_class_{index}"] for index in range(10)]
    assert by_class[8:] == [0.0, 0.0]
    assert min(by_class[:8]) > 0.5
    assert scores["downstream_f1"] == pytest.approx(sum(by_class) / 10, abs=1e-6)


def test_one_class_alone_scores_its_share(digits):
    train, labels, _, test_labels = digits
    kept = labels == 3
    scores = score(BRIEF, digits, train[kept], labels[kept])
    assert scores["downstream_accuracy"] == pytest.approx((test_labels == 3).double().mean().item())


def test_a_single_sample_can_be_scored(digits):
    train, labels, _, _ = digits
    assert 0 <= score(BRIEF, digits, train[:1], labels[:1])["downstream_accuracy"] <= 0.2


def test_same_seed_gives_the_same_score(digits):
    train, labels, _, _ = digits
    assert score(BRIEF, digits, train, labels) == score(BRIEF, digits, train, labels)
    assert score(replace(BRIEF, seed=1), digits, train, labels) != score(BRIEF, digits, train, labels)


def test_vectors_are_classified_too():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 2
    vectors = torch.randn(200, 2, generator=generator) + 5 * labels[:, None]
    samples = Samples(vectors, labels)
    logits = BRIEF.logits(samples, test=samples, num_classes=2, device=CPU)
    assert score_logits(logits, labels=labels)["downstream_accuracy"] > 0.95


def test_f1_agrees_with_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(300, 5, generator=generator), torch.randint(5, (300,), generator=generator)
    scores = score_logits(logits, labels=labels)
    predicted = logits.argmax(dim=1)
    assert scores["downstream_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"), abs=1e-6)
    by_class = [scores[f"downstream_f1_class_{index}"] for index in range(5)]
    assert by_class == pytest.approx(f1_score(labels, predicted, average=None), abs=1e-6)


def test_one_class_in_all_is_perfect():
    scores = score_logits(torch.zeros(4, 1), labels=torch.zeros(4, dtype=torch.int64))
    assert scores == {
        "downstream_accuracy": 1.0,
        "downstream_f1": 1.0,
        "downstream_loss": 0.0,
        "downstream_f1_class_0": 1.0,
    }


def test_unusable_samples_are_refused(digits):
    train, labels, _, _ = digits
    with pytest.raises(UsageError, match=r"training labels must lie in 0\.\.9: got 1\.\.10"):
        score(BRIEF, digits, train, labels + 1)
    with pytest.raises(UsageError, match="training labels must be a non-empty vector of integers: got"):
        score(BRIEF, digits, train[:0], labels[:0])
    with pytest.raises(UsageError, match="must have the shape of the test samples"):
        score(BRIEF, digits, train[:, :, :4], labels)
