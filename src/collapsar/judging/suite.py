"""The metrics of the record: each function takes a `Comparison` and returns the values of one group by key.

`metric_keys.METRICS` lists the groups. The evaluator calls each function in every feature space; those that use no
features (classes, downstream, known modes) return values in the first space only. A function leaves out what it cannot
measure, such as classes of unlabelled data or a ratio to zero.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from collapsar.judging.comparison import Classified, Comparison
from collapsar.judging.downstream import DownstreamTask
from collapsar.judging.reference import MEASURING_SEED, choose
from collapsar.metrics.diversity import find_diversity_scores, vendi_score
from collapsar.metrics.frechet import (
    debiased_frechet_distance,
    frechet_distance_at_infinity,
    kernel_distance,
)
from collapsar.metrics.memorisation import TrainingSide, holdout_scores, memorisation_scores
from collapsar.metrics.modes import class_shares, known_mode_scores, low_confidence_share, mode_scores, score_bins
from collapsar.metrics.neighbours.scores import (
    ScoresByClass,
    clipped_coverage,
    clipped_density,
    coverage_per_class,
    recall_per_class,
    symmetric_precision,
    symmetric_recall,
    tail_recall,
)
from collapsar.seeding import derive_seed

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
    members, real = comparison.members, comparison.real.side
    return {
        "clipped_density": clipped_density(members, real=real),
        "clipped_coverage": clipped_coverage(members, real=real),
    }


def support_symmetric(comparison: Comparison) -> Values:
    """symmetric_precision and symmetric_recall."""
    members = comparison.members
    return {"symmetric_precision": symmetric_precision(members), "symmetric_recall": symmetric_recall(members)}


def support_tail(comparison: Comparison) -> Values:
    """tail_recall."""
    return {"tail_recall": tail_recall(comparison.members, real=comparison.real.side)}


def recall_by_class(comparison: Comparison) -> Values:
    """recall_class_0.., recall_worst_class, recall_macro_mean, by the true classes of the real samples."""
    if comparison.real.labels is None:
        return {}
    classes, labels = _number(comparison.real.labels)
    scores = recall_per_class(comparison.members, real_labels=labels, num_classes=len(classes))
    return _by_class("recall", scores, classes=classes)


def coverage_by_class(comparison: Comparison) -> Values:
    """coverage_class_0.., coverage_worst_class, coverage_macro_mean, by the true classes of the real samples."""
    if comparison.real.labels is None:
        return {}
    classes, labels = _number(comparison.real.labels)
    scores = coverage_per_class(comparison.members, real_labels=labels, num_classes=len(classes))
    return _by_class("coverage", scores, classes=classes)


def bins(comparison: Comparison, *, num_bins: int) -> Values:
    """ndb, the share of bins that differ, and ndb_jensen_shannon; the bins are the same in every chain."""
    seed = derive_seed(MEASURING_SEED, 0, "bins")
    scores = score_bins(comparison.real.bins(num_bins, seed=seed), synthetic=comparison.features)
    return {"ndb": scores.different_share, "ndb_jensen_shannon": scores.jensen_shannon}


def diversity(comparison: Comparison) -> Values:
    """vendi, and trace_ratio, generalised_variance and effective_rank within classes (one class if there are none)."""
    real, synthetic, classified = comparison.real.features, comparison.features, comparison.classified
    real_classes, classes, num_classes = real.new_zeros(len(real)).long(), synthetic.new_zeros(len(synthetic)).long(), 1
    if classified is not None:
        real_classes, classes = classified.real_classes, classified.classes
        num_classes = classified.num_classes
    scores = find_diversity_scores(
        real=real, synthetic=synthetic, real_labels=real_classes, synthetic_labels=classes, num_classes=num_classes
    )
    if scores is None:
        return {"vendi": vendi_score(synthetic, centre=real.mean(0, dtype=torch.float64))}
    return {
        "trace_ratio": scores.trace_ratio,
        "generalised_variance": scores.generalised_variance,
        "effective_rank": scores.effective_rank,
        "vendi": scores.vendi,
    }


def novelty(comparison: Comparison) -> Values:
    """authenticity, duplicates, nearest_ratio against the real training set; pool_.. the same against the pool.

    The evaluator takes up to `num_training` samples of each, so that the values can be compared.
    """
    values = _novelty("", comparison.real.training_side, synthetic=comparison.features)
    if comparison.pool is not None:
        values |= _novelty("pool_", comparison.pool, synthetic=comparison.features)
    return values


def privacy(comparison: Comparison) -> Values:
    """closer_to_training and nearest_p5_ratio, on equal numbers of training and held-out samples."""
    training, held_out = comparison.real.training_side.features, comparison.real.features
    num_each = min(len(training), len(held_out))
    scores = holdout_scores(
        training=training[choose(len(training), num_samples=num_each)],
        held_out=held_out[choose(len(held_out), num_samples=num_each)],
        synthetic=comparison.features,
    )
    return {"closer_to_training": scores.closer_share, "nearest_p5_ratio": scores.distance_ratio}


def classes(comparison: Comparison, *, low_confidence: float) -> Values:
    """class_entropy, class_kl, ..., classes_dropped, low_confidence_share, by the classifier's answers."""
    classified = comparison.classified
    if classified is None or not comparison.is_first:
        return {}
    scores = mode_scores(real=classified.real_classes, synthetic=classified.classes, num_classes=classified.num_classes)
    return {
        "class_entropy": scores.entropy,
        "class_kl": scores.kl,
        "class_jensen_shannon": scores.jensen_shannon,
        "class_total_variation": scores.total_variation,
        "effective_classes": scores.effective_classes,
        "classes_dropped": float(scores.num_dropped),
        "low_confidence_share": low_confidence_share(classified.probabilities, threshold=low_confidence),
    }


def downstream(comparison: Comparison, *, task: DownstreamTask) -> Values:
    """downstream_accuracy, downstream_f1, downstream_loss, downstream_f1_class_0.., on real test samples."""
    real, labels = comparison.real, comparison.labels
    if labels is None or real.labels is None or real.table is not None or not comparison.is_first:
        return {}  # a table's row contains its label; `table_downstream` hides it from the predictor
    scores = task.score(
        comparison.samples.values,
        labels=labels,
        test=real.held_out.values,
        test_labels=real.labels,
        num_classes=real.num_classes,
        device=real.space.device,
    )
    by_class = {f"downstream_f1_class_{index}": value for index, value in enumerate(scores.class_f1)}
    return {
        "downstream_accuracy": scores.accuracy,
        "downstream_f1": scores.f1,
        "downstream_loss": scores.validation_loss,
        **by_class,
    }


def known_modes(comparison: Comparison) -> Values:
    """modes_captured, high_quality_share and reverse_kl, for data with known modes."""
    modes = comparison.real.known_modes
    if modes is None or not comparison.is_first:
        return {}
    scores = known_mode_scores(comparison.samples.values, centres=modes.centres, standard_deviation=modes.mode_sd)
    return {
        "modes_captured": float(scores.num_captured),
        "high_quality_share": scores.high_quality_share,
        "reverse_kl": scores.reverse_kl,
    }


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


def _number(labels: Tensor) -> tuple[list[int], Tensor]:
    """The classes that occur, in order, and each label's position among them."""
    found, positions = labels.unique(return_inverse=True)
    return found.tolist(), positions


def _by_class(name: str, scores: ScoresByClass, *, classes: list[int]) -> Values:
    by_class = zip(classes, scores.per_class.tolist(), strict=True)
    return {
        **{f"{name}_class_{label}": value for label, value in by_class},
        f"{name}_worst_class": scores.worst,
        f"{name}_macro_mean": scores.macro_mean,
    }


def _novelty(prefix: str, training: TrainingSide, *, synthetic: Tensor) -> Values:
    scores = memorisation_scores(training=training, synthetic=synthetic)
    return {
        f"{prefix}authenticity": scores.authenticity,
        f"{prefix}duplicates": scores.duplicate_share,
        f"{prefix}nearest_ratio": scores.nearest_ratio,
    }
