"""How well a classifier that learns from synthetic samples does on real ones.

The classification accuracy score (Ravuri & Vinyals 2019, section 3, https://arxiv.org/abs/1905.10887): train on
synthetic samples only, score on real test samples. The network differs from the embedder of the feature space, so that
it does not inherit that one's blind spots.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_f1_score

from collapsar.data.real_data import Factors
from collapsar.foundations.errors import UsageError, check_positive
from collapsar.foundations.samples import Samples, to_model_range
from collapsar.judging.spaces.embedders import TrainingBudget, build_seeded, embed, train_classifier
from collapsar.metrics.checks import check_labels


@dataclass(frozen=True, kw_only=True)
class DownstreamTask:
    """Trains the downstream classifier."""

    budget: TrainingBudget  # the same for any number of samples
    seed: int  # of weights and batches; the same for every generation, so that only the samples differ
    chunk_size: int  # test samples classified at once

    def __post_init__(self) -> None:
        check_positive(chunk_size=self.chunk_size)

    def logits(
        self, train: Samples, *, test: Samples, num_classes: int, device: torch.device
    ) -> Float[Tensor, "test class"]:
        """Train on labelled samples; gives the trained classifier's logits for each real test sample.

        Classes may be missing from the training samples; the classifier then never learns to predict them.
        """
        for role, samples in (("training", train), ("test", test)):
            labels = torch.empty(0) if samples.labels is None else samples.labels
            check_labels(labels, name=role, num_classes=num_classes, num_samples=len(samples))
        if train.shape != (shape := test.shape):
            raise UsageError(f"training samples must have the shape of the test samples {shape}: got {train.shape}")
        train = train.to(device)
        network = build_seeded(lambda: build_network(shape, num_classes=num_classes), seed=self.seed)

        def draw_batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
            chosen = torch.randint(len(train), (self.budget.batch_size,), generator=generator).to(device)
            batch = train[chosen]
            assert batch.labels is not None, "checked above"
            return to_model_range(batch.values), batch.labels.long()

        train_classifier(network.to(device), draw_batch, budget=self.budget, seed=self.seed)
        return embed(test.values, network, chunk_size=self.chunk_size, device=device)


def build_network(sample_shape: tuple[int, ...], *, num_classes: int) -> nn.Module:
    """LeNet for images (LeCun et al. 1998: 5x5 kernels, pooling, no normalisation), a two-layer MLP for vectors."""
    if len(sample_shape) == 1:
        return nn.Sequential(nn.Linear(sample_shape[0], 128), nn.GELU(), nn.Linear(128, num_classes))
    num_channels, height, width = sample_shape
    return nn.Sequential(
        nn.Conv2d(num_channels, 16, kernel_size=5, padding=2),
        nn.GELU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, kernel_size=5, padding=2),
        nn.GELU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * (height // 4) * (width // 4), 128),
        nn.GELU(),
        nn.Linear(128, num_classes),
    )


def score_logits(logits: Tensor, *, labels: Int[Tensor, " test"]) -> dict[str, float]:
    """Score logits [test, class] against the true labels: downstream_accuracy, .._f1, .._loss and .._f1_class_0...

    The loss is the mean cross-entropy in nats. F1 of a class is 0 if no prediction of it is right; downstream_f1 is the
    mean over the classes that occur in the test set or among the predictions.
    """
    labels, predicted = labels.to(logits.device, torch.int64), logits.argmax(dim=1)
    num_classes = logits.shape[1]
    # torchmetrics needs at least two classes; the mean leaves out a class that occurs nowhere.
    class_f1 = multiclass_f1_score(predicted, labels, num_classes=max(2, num_classes), average=None)[:num_classes]
    occurs = torch.cat([predicted, labels]).bincount(minlength=num_classes) > 0
    return {
        "downstream_accuracy": (predicted == labels).to(torch.float64).mean().item(),
        "downstream_f1": class_f1[occurs].mean().item(),
        "downstream_loss": F.cross_entropy(logits, labels).item(),
        **{f"downstream_f1_class_{index}": value for index, value in enumerate(class_f1.tolist())},
    }


def area_under_curve(probabilities: np.ndarray, *, classes: np.ndarray) -> float:
    """Mean ROC AUC of one class against the rest, over the classes that some rows have and others do not.

    For two classes this is the usual AUC. NaN if all rows have one class.
    """
    from sklearn.metrics import roc_auc_score  # the import takes half a second, and few chains need it

    counts = np.bincount(classes, minlength=probabilities.shape[1])
    told_apart = np.flatnonzero((counts > 0) & (counts < len(classes)))
    areas = [roc_auc_score(classes == one, probabilities[:, one]) for one in told_apart]
    return float(np.mean(areas)) if areas else float("nan")


def hazard_scores(
    logits: Float[Tensor, "sample class"], *, labels: Int64[Tensor, " sample"], factors: Factors
) -> dict[str, float]:
    """Score a hazard detector: downstream_.. on all samples, and .._where_.. on the samples with each level.

    The logits are those of absence and presence, the labels are the true combinations. An AUC of .5 is chance on every
    level, however common the hazard is there. Levels are left out if all or none of their samples have the hazard.
    """
    target = has_hazard(labels, factors=factors)
    values = _detector_scores(logits, target)
    for level in factors.levels:
        chosen = factors.has(level, labels)
        if 0 < int(target[chosen].sum()) < int(chosen.sum()):
            there = _detector_scores(logits[chosen], target[chosen])
            values[f"downstream_accuracy_where_{level.name}"] = there["downstream_accuracy"]
            values[f"downstream_f1_where_{level.name}"] = there["downstream_f1_class_1"]
            values[f"downstream_auc_where_{level.name}"] = there["downstream_auc"]
    return values


def has_hazard(labels: Int64[Tensor, " sample"], *, factors: Factors) -> Int64[Tensor, " sample"]:
    """Whether each combination has the hazard, as 0 or 1."""
    level = next(level for level in factors.levels if level.name == factors.hazard)
    return factors.has(level, labels).long()


def _detector_scores(logits: Tensor, target: Tensor) -> dict[str, float]:
    area = area_under_curve(logits.double().softmax(dim=1).cpu().numpy(), classes=target.cpu().numpy())
    return score_logits(logits, labels=target) | {"downstream_auc": area}
