"""The metrics of the record, in the groups of `metrics.yaml`: each function takes a `Comparison` and returns values.

A function leaves out what it cannot measure, such as classes of unlabelled data or a ratio to zero. Functions that take
`factors` are for data drawn from known ones, where a class is a combination of levels: most are rare, so these metrics
are by factor, by rarity, and over all combinations.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from collapsar.data.real_data import Factors
from collapsar.foundations.samples import Samples
from collapsar.judging.comparison import Classified, Comparison, choose
from collapsar.judging.downstream import DownstreamTask, has_hazard, hazard_scores, score_logits
from collapsar.metrics.frechet import debiased_frechet_distance, frechet_distance_at_infinity, kernel_distance
from collapsar.metrics.memorisation import holdout_scores, memorisation_scores
from collapsar.metrics.modes import (
    DROPPED_BELOW,
    class_shares,
    diversity_scores,
    kl_divergence,
    known_mode_scores,
    low_confidence_share,
    mode_scores,
    score_bins,
    variance_around_means,
)
from collapsar.metrics.neighbours.scores import (
    clipped_scores,
    neighbour_scores,
    score_classes,
    symmetric_scores,
    tail_recall,
)

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


def support_sensitivity(comparison: Comparison, *, num_neighbours: int) -> Values:
    """Recall with 3 and with 10 neighbours, and of every second sample: verdicts should not hang on either."""
    real, drawn = comparison.real.features, comparison.features
    settings = {"3_neighbours": (1, 3), "10_neighbours": (1, 10), "half_samples": (2, num_neighbours)}  # step and k
    return {
        f"recall_{name}": float(neighbour_scores(real=real[::step], synthetic=drawn[::step], num_neighbours=k).recall)
        for name, (step, k) in settings.items()
    }


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


def factor_scores(labels: Int64[Tensor, " sample"], *, factors: Factors) -> Values:
    """factor_share_.., levels_dropped and combinations_.. of samples, by the numbers of their combinations.

    A level or a combination is dropped if its share is below a tenth of its known share. A combination is alive if it
    has samples and is not dropped. A combination whose known share is zero counts as half a sample, so that
    combinations_kl, KL(samples || known) in nats, stays finite.
    """
    shares, known = class_shares(labels.cpu(), num_classes=factors.num_combinations), factors.shares
    level_shares = shares_of_levels(shares, factors=factors)
    is_alive, rarities = (shares >= DROPPED_BELOW * known) & (shares > 0), factors.rarities.items()
    return {
        **{f"factor_share_{name}": share for name, share in level_shares.items()},
        "levels_dropped": float(sum(level_shares[each.name] < DROPPED_BELOW * each.share for each in factors.levels)),
        "combinations_alive": float(is_alive.sum()),
        **{f"combinations_alive_{name}": float(is_alive[mask].double().mean()) for name, mask in rarities},
        **{f"combinations_share_{name}": float(shares[mask].sum()) for name, mask in rarities},
        "combinations_kl": kl_divergence(shares, reference=known.where(known > 0, 0.5 / len(labels))),
        "combinations_total_variation": 0.5 * float((shares - known).abs().sum()),
    }


def shares_of_levels(shares: Float64[Tensor, " combination"], *, factors: Factors) -> dict[str, float]:
    """Sum the shares of the combinations that have each level."""
    every = torch.arange(factors.num_combinations)
    return {level.name: float(shares[factors.has(level, every)].sum()) for level in factors.levels}


def factor_histogram(classified: Classified, *, factors: Factors) -> dict[str, dict[str, float]]:
    """For each level, its known share, and its shares among real and synthetic samples."""
    real, synthetic = (
        shares_of_levels(class_shares(classes.cpu(), num_classes=factors.num_combinations), factors=factors)
        for classes in (classified.real_classes, classified.classes)
    )
    return {
        level.name: {"known": level.share, "real": real[level.name], "synthetic": synthetic[level.name]}
        for level in factors.levels
    }


def combinations(comparison: Comparison, *, factors: Factors, low_confidence: float) -> Values:
    """factor_share_.., levels_dropped, combinations_.. and low_confidence_share, by the classifier's answers."""
    if comparison.classified is None:
        return {}
    low = low_confidence_share(comparison.classified.probabilities, threshold=low_confidence)
    return factor_scores(comparison.classified.classes, factors=factors) | {"low_confidence_share": low}


def modes(comparison: Comparison, *, factors: Factors) -> Values:
    """modes_captured and reverse_kl: combinations that occur, and the divergence of their shares from the known ones.

    VEEGAN (Srivastava et al. 2017, section 5.2) and PacGAN (Lin et al. 2018, section 4.2) report them for stacked
    MNIST, where a classifier also tells each sample's mode.
    """
    if comparison.classified is None:
        return {}
    classes = comparison.classified.classes
    divergence = factor_scores(classes, factors=factors)["combinations_kl"]
    return {"modes_captured": float(len(classes.unique())), "reverse_kl": divergence}


def recall_by_rarity(comparison: Comparison, *, factors: Factors) -> Values:
    """recall_common, recall_uncommon and recall_rare, by the true combinations of the real samples."""
    return _by_rarity("recall", comparison, factors=factors, is_hit=comparison.members.is_recalled)


def coverage_by_rarity(comparison: Comparison, *, factors: Factors) -> Values:
    """coverage_common, coverage_uncommon and coverage_rare, by the true combinations of the real samples."""
    return _by_rarity("coverage", comparison, factors=factors, is_hit=comparison.members.is_covered)


def _by_rarity(name: str, comparison: Comparison, *, factors: Factors, is_hit: Bool[Tensor, " real"]) -> Values:
    labels = comparison.real.labels
    if labels is None:
        return {}
    by_rarity = {rarity: is_hit[mask.to(labels.device)[labels]] for rarity, mask in factors.rarities.items()}
    return {f"{name}_{rarity}": float(hits.double().mean()) for rarity, hits in by_rarity.items() if len(hits)}


def hazard(comparison: Comparison, *, factors: Factors, task: DownstreamTask) -> Values:
    """`hazard_scores` of a hazard detector that is trained on the samples, on all held-out real samples."""
    real, labels = comparison.real, comparison.labels
    if factors.hazard is None or labels is None or real.labels is None:
        return {}
    logits = task.logits(
        Samples(comparison.samples.values, has_hazard(labels, factors=factors)),
        test=Samples(real.held_out.values, has_hazard(real.labels, factors=factors)),
        num_classes=2,
        device=real.space.device,
    )
    return hazard_scores(logits, labels=real.labels, factors=factors)


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
