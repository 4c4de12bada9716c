"""Metrics for data drawn from known factors, in place of the class metrics of `suite`.

A class is a combination of factor levels, and most are rare, so scores by class would be noise. These metrics are by
factor, by rarity, and over all combinations.
"""

from collections.abc import Callable

from jaxtyping import Float, Int64
from torch import Tensor

from collapsar.data.factors import Factors, Level
from collapsar.judging.comparison import Classified, Comparison
from collapsar.judging.downstream import DownstreamTask, area_under_curve, score_logits
from collapsar.judging.factor_scores import factor_scores, share_rows
from collapsar.metrics.modes import low_confidence_share
from collapsar.metrics.neighbours.scores import ScoresByClass, coverage_per_class, recall_per_class

Values = dict[str, float]


def combinations(comparison: Comparison, *, factors: Factors, low_confidence: float) -> Values:
    """factor_share_.., levels_dropped, combinations_.. and low_confidence_share, by the classifier's answers."""
    classified = comparison.classified
    if classified is None or not comparison.is_first:
        return {}
    scores = factor_scores(classified.classes, factors=factors)
    return {
        **{f"factor_share_{level.name}": scores.level_shares[level.name] for level in factors.levels},
        "levels_dropped": float(len(scores.dropped_levels)),
        "combinations_alive": float(scores.num_alive),
        **{f"combinations_alive_{rarity}": share for rarity, share in scores.alive_shares.items()},
        **{f"combinations_share_{rarity}": share for rarity, share in scores.rarity_shares.items()},
        "combinations_kl": scores.kl,
        "combinations_total_variation": scores.total_variation,
        "low_confidence_share": low_confidence_share(classified.probabilities, threshold=low_confidence),
    }


def modes(comparison: Comparison, *, factors: Factors) -> Values:
    """modes_captured and reverse_kl: combinations that occur, and the divergence of their shares from the known ones.

    VEEGAN (Srivastava et al. 2017, section 5.2) and PacGAN (Lin et al. 2018, section 4.2) report them for stacked
    MNIST, where a classifier also tells each sample's mode.
    """
    classified = comparison.classified
    if classified is None or not comparison.is_first:
        return {}
    return {
        "modes_captured": float(len(classified.classes.unique())),
        "reverse_kl": factor_scores(classified.classes, factors=factors).kl,
    }


def recall_by_rarity(comparison: Comparison, *, factors: Factors) -> Values:
    """recall_common, recall_uncommon and recall_rare, by the true combinations of the real samples."""
    return _by_rarity("recall", comparison, factors=factors, score=recall_per_class)


def coverage_by_rarity(comparison: Comparison, *, factors: Factors) -> Values:
    """coverage_common, coverage_uncommon and coverage_rare, by the true combinations of the real samples."""
    return _by_rarity("coverage", comparison, factors=factors, score=coverage_per_class)


def _by_rarity(name: str, comparison: Comparison, *, factors: Factors, score: Callable[..., ScoresByClass]) -> Values:
    labels = comparison.real.labels
    if labels is None:
        return {}
    places = rarity_of(labels, factors=factors)
    found = places.unique(sorted=True)
    numbers = (places[:, None] == found[None, :]).long().argmax(1)
    scores = score(comparison.members, real_labels=numbers, num_classes=len(found)).per_class.tolist()
    names = list(factors.rarities)
    return {f"{name}_{names[place]}": value for place, value in zip(found.tolist(), scores, strict=True)}


def rarity_of(labels: Int64[Tensor, " sample"], *, factors: Factors) -> Int64[Tensor, " sample"]:
    """The rarity of each sample's combination, as its position in `factors.rarities`."""
    places = labels.new_full((factors.num_combinations,), len(factors.rarities))
    for place, mask in enumerate(factors.rarities.values()):
        places[mask.to(labels.device)] = place
    return places[labels]


def hazard(comparison: Comparison, *, factors: Factors, task: DownstreamTask) -> Values:
    """`hazard_scores` of a hazard detector that is trained on the samples, on all held-out real samples."""
    real, labels = comparison.real, comparison.labels
    if factors.hazard is None or labels is None or real.labels is None or not comparison.is_first:
        return {}
    level = hazard_level(factors)
    logits = task.logits(
        comparison.samples.values,
        labels=factors.has(level, labels).long(),
        test=real.held_out.values,
        test_labels=factors.has(level, real.labels).long(),
        num_classes=2,
        device=real.space.device,
    )
    return hazard_scores(logits, labels=real.labels, factors=factors)


def hazard_level(factors: Factors) -> Level:
    """The level that means that the hazard is present."""
    return next(level for level in factors.levels if level.name == factors.hazard)


def hazard_scores(
    logits: Float[Tensor, "sample class"], *, labels: Int64[Tensor, " sample"], factors: Factors
) -> Values:
    """Score a hazard detector: downstream_.. on all samples, and .._where_.. on the samples with each level.

    Class 1 means that the hazard is present. An AUC of .5 is chance on every level, however common the hazard is there.
    Levels are left out if all or none of their samples have the hazard.

    Args:
        logits: Logits of absence and presence.
        labels: True combinations of factors.
        factors: Known factors, with a hazard.
    """
    level = hazard_level(factors)
    target = factors.has(level, labels).long()
    scores = score_logits(logits, labels=target)
    values = {
        "downstream_accuracy": scores.accuracy,
        "downstream_f1": scores.f1,
        "downstream_auc": _area(logits, target),
        "downstream_loss": scores.validation_loss,
        "downstream_f1_class_0": scores.class_f1[0],
        "downstream_f1_class_1": scores.class_f1[1],
    }
    for other in factors.levels:
        chosen = factors.has(other, labels)
        if other.factor != level.factor and 0 < int(target[chosen].sum()) < int(chosen.sum()):
            there = score_logits(logits[chosen], labels=target[chosen])
            values[f"downstream_accuracy_where_{other.name}"] = there.accuracy
            values[f"downstream_f1_where_{other.name}"] = there.class_f1[1]
            values[f"downstream_auc_where_{other.name}"] = _area(logits[chosen], target[chosen])
    return values


def _area(logits: Tensor, target: Tensor) -> float:
    return area_under_curve(logits.double().softmax(dim=1).cpu().numpy(), classes=target.cpu().numpy())


def factor_histogram(classified: Classified, *, factors: Factors) -> dict[str, dict[str, float]]:
    """The known share of each level, and its shares among real and synthetic samples."""
    return share_rows({"real": classified.real_classes, "synthetic": classified.classes}, factors=factors)
