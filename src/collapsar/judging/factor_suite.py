"""Metrics for data drawn from known factors, in place of the class metrics of `suite`.

A class is a combination of factor levels, and most are rare, so scores by class would be noise: these metrics are by
factor, by rarity, and over all combinations, as a classifier of combinations reads the samples.
"""

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from collapsar.data.real_data import Factors
from collapsar.judging.comparison import Classified, Comparison
from collapsar.judging.downstream import DownstreamTask, area_under_curve, score_logits
from collapsar.metrics.modes import DROPPED_BELOW, class_shares, kl_divergence, low_confidence_share
from collapsar.samples import Samples

Values = dict[str, float]


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
        Samples(comparison.samples.values, _has_hazard(labels, factors=factors)),
        test=Samples(real.held_out.values, _has_hazard(real.labels, factors=factors)),
        num_classes=2,
        device=real.space.device,
    )
    return hazard_scores(logits, labels=real.labels, factors=factors)


def hazard_scores(
    logits: Float[Tensor, "sample class"], *, labels: Int64[Tensor, " sample"], factors: Factors
) -> Values:
    """Score a hazard detector: downstream_.. on all samples, and .._where_.. on the samples with each level.

    The logits are those of absence and presence, the labels are the true combinations. An AUC of .5 is chance on every
    level, however common the hazard is there. Levels are left out if all or none of their samples have the hazard.
    """
    target = _has_hazard(labels, factors=factors)
    values = _detector_scores(logits, target)
    for level in factors.levels:
        chosen = factors.has(level, labels)
        if 0 < int(target[chosen].sum()) < int(chosen.sum()):
            there = _detector_scores(logits[chosen], target[chosen])
            values[f"downstream_accuracy_where_{level.name}"] = there["downstream_accuracy"]
            values[f"downstream_f1_where_{level.name}"] = there["downstream_f1_class_1"]
            values[f"downstream_auc_where_{level.name}"] = there["downstream_auc"]
    return values


def _has_hazard(labels: Int64[Tensor, " sample"], *, factors: Factors) -> Int64[Tensor, " sample"]:
    level = next(level for level in factors.levels if level.name == factors.hazard)
    return factors.has(level, labels).long()


def _detector_scores(logits: Tensor, target: Tensor) -> Values:
    area = area_under_curve(logits.double().softmax(dim=1).cpu().numpy(), classes=target.cpu().numpy())
    return score_logits(logits, labels=target) | {"downstream_auc": area}
