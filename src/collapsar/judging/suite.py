"""The metrics of the record: each function takes a `Comparison` and returns the values of one group by key.

`metric_keys.METRICS` lists the groups and their keys. A function leaves out what it cannot measure, such as classes of
unlabelled data or a ratio to zero.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool
from torch import Tensor

from collapsar.judging.comparison import Classified, Comparison
from collapsar.judging.downstream import DownstreamTask, score_logits
from collapsar.judging.reference import choose
from collapsar.metrics.diversity import diversity_scores
from collapsar.metrics.frechet import debiased_frechet_distance, frechet_distance_at_infinity, kernel_distance
from collapsar.metrics.memorisation import holdout_scores, memorisation_scores
from collapsar.metrics.modes import (
    class_shares,
    known_mode_scores,
    low_confidence_share,
    mode_scores,
    score_bins,
    variance_around_means,
)
from collapsar.metrics.neighbours.scores import clipped_scores, score_classes, symmetric_scores, tail_recall
from collapsar.samples import Samples

Values = dict[str, float]


def frechet(comparison: Comparison) -> Values:
    """fid: the Fréchet distance."""
    return {"fid": comparison.fid}


def frechet_relative(comparison: Comparison) -> Values:
    """fid_relative: the Fréchet distance over the trace of the real covariance, independent of the features' unit."""
    total_variance = float(comparison.real.moments.covariance.trace())
    return {"fid_relative": comparison.fid / total_variance} if total_variance > 0.0 else {}


def frechet_debiased(comparison: Comparison) -> Values:
    """fid_debiased; may be slightly negative."""
    return _corrected("fid_debiased", comparison, estimate=debiased_frechet_distance, min_samples=4)


def frechet_infinity(comparison: Comparison) -> Values:
    """fid_infinity; may be slightly negative."""
    return _corrected("fid_infinity", comparison, estimate=frechet_distance_at_infinity, min_samples=16)


def kernel(comparison: Comparison) -> Values:
    """kid; may be slightly negative."""
    real = comparison.real
    return {"kid": kernel_distance(real=real.features, synthetic=comparison.features, real_term=real.kernel_mean)}


def support(comparison: Comparison) -> Values:
    """precision, recall, density, coverage."""
    return comparison.support


def support_clipped(comparison: Comparison) -> Values:
    """clipped_density and clipped_coverage."""
    return clipped_scores(comparison.members, real=comparison.real.side)


def support_symmetric(comparison: Comparison) -> Values:
    """symmetric_precision and symmetric_recall."""
    return symmetric_scores(comparison.members)


def support_tail(comparison: Comparison) -> Values:
    """tail_recall."""
    return {"tail_recall": tail_recall(comparison.members, real=comparison.real.side)}


def recall_by_class(comparison: Comparison) -> Values:
    """recall_class_0.., recall_worst_class, recall_macro_mean, by the true classes of the real samples."""
    return _by_class("recall", comparison, is_hit=comparison.members.is_recalled)


def coverage_by_class(comparison: Comparison) -> Values:
    """coverage_class_0.., coverage_worst_class, coverage_macro_mean, by the true classes of the real samples."""
    return _by_class("coverage", comparison, is_hit=comparison.members.is_covered)


def bins(comparison: Comparison, *, num_bins: int) -> Values:
    """ndb, the share of bins that differ, and ndb_jensen_shannon; the bins are the same in every chain."""
    return score_bins(comparison.real.bins(num_bins), synthetic=comparison.features)


def diversity(comparison: Comparison) -> Values:
    """vendi, and trace_ratio, generalised_variance and effective_rank within classes (one class if there are none)."""
    real, synthetic, classified = comparison.real.features, comparison.features, comparison.classified
    real_classes, classes = (side.new_zeros(len(side), dtype=torch.int64) for side in (real, synthetic))
    if classified is not None:
        real_classes, classes = classified.real_classes, classified.classes
    return diversity_scores(
        real=real,
        synthetic=synthetic,
        real_labels=real_classes,
        synthetic_labels=classes,
        num_classes=classified.num_classes if classified else 1,
    )


def novelty(comparison: Comparison) -> Values:
    """authenticity, duplicates, nearest_ratio against the real training set; pool_.. the same against the pool.

    A chain can copy its pool long after it has forgotten the real data. Both sides have up to `num_training` samples.
    """
    sides = {"": comparison.real.training_side} | ({"pool_": comparison.pool} if comparison.pool else {})
    return {
        f"{prefix}{name}": value
        for prefix, side in sides.items()
        for name, value in memorisation_scores(training=side, synthetic=comparison.features).items()
    }


def privacy(comparison: Comparison) -> Values:
    """closer_to_training and nearest_p5_ratio, on equal numbers of training and held-out samples."""
    sides = (comparison.real.training_side.features, comparison.real.features)
    training, held_out = (side[choose(len(side), num_samples=min(map(len, sides)))] for side in sides)
    return holdout_scores(training=training, held_out=held_out, synthetic=comparison.features)


def classes(comparison: Comparison, *, low_confidence: float) -> Values:
    """class_entropy, class_kl, ..., classes_dropped, low_confidence_share, by the classifier's answers."""
    classified = comparison.classified
    if classified is None:
        return {}
    low = low_confidence_share(classified.probabilities, threshold=low_confidence)
    scores = mode_scores(real=classified.real_classes, synthetic=classified.classes, num_classes=classified.num_classes)
    return scores | {"low_confidence_share": low}


def downstream(comparison: Comparison, *, task: DownstreamTask) -> Values:
    """downstream_accuracy, downstream_f1, downstream_loss, downstream_f1_class_0.., on real test samples."""
    real, labels = comparison.real, comparison.labels
    if labels is None or real.labels is None or real.table is not None:
        return {}  # a table's row contains its label; `table_downstream` hides it from the predictor
    train = Samples(comparison.samples.values, labels)
    logits = task.logits(train, test=real.held_out, num_classes=real.num_classes, device=real.space.device)
    return score_logits(logits, labels=real.labels)


def known_modes(comparison: Comparison) -> Values:
    """modes_captured, high_quality_share and reverse_kl, for data with known modes."""
    modes = comparison.real.known_modes
    if modes is None:
        return {}
    return known_mode_scores(comparison.samples.values, centres=modes.centres, standard_deviation=modes.mode_sd)


def variance_within_modes(comparison: Comparison) -> Values:
    """within_mode_variance, for data with known modes."""
    modes, samples = comparison.real.known_modes, comparison.samples.values
    if modes is None or len(samples) <= len(modes.centres):
        return {}
    variance = variance_around_means(samples, centres=modes.centres)
    return {"within_mode_variance": variance / modes.mode_sd**2}


def class_histogram(classified: Classified) -> dict[str, list[float]]:
    """Share of each class among real and synthetic samples."""
    sides = {"real": classified.real_classes, "synthetic": classified.classes}
    return {name: class_shares(side.cpu(), num_classes=classified.num_classes).tolist() for name, side in sides.items()}


def _corrected(key: str, comparison: Comparison, *, estimate: Callable[..., float], min_samples: int) -> Values:
    """A bias-corrected Fréchet distance, from random parts of both sides; nothing if there are too few samples."""
    real, synthetic = comparison.real.features, comparison.features
    if min(len(real), len(synthetic)) < min_samples:
        return {}
    return {key: estimate(real=real, synthetic=synthetic, generator=comparison.make_generator(key))}


def _by_class(name: str, comparison: Comparison, *, is_hit: Bool[Tensor, " real"]) -> Values:
    if comparison.real.labels is None:
        return {}
    scores = score_classes(is_hit, real_labels=comparison.real.labels, num_classes=comparison.real.num_classes)
    return {
        **{f"{name}_class_{label}": value for label, value in scores.items()},
        f"{name}_worst_class": min(scores.values()),
        f"{name}_macro_mean": float(torch.tensor([*scores.values()], dtype=torch.float64).mean()),
    }
