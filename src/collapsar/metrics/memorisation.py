"""Whether a generator copies its training data: authenticity, duplicates and distances to the nearest sample."""

import math
from dataclasses import dataclass

from jaxtyping import Float, Float64
from torch import Tensor

from collapsar.metrics.checks import Features, check_features, check_pair
from collapsar.metrics.neighbours.nearest import find_nearest

DUPLICATE_RATIO = 0.01  # largest distance of a duplicate, over the median distance between nearest training samples


@dataclass(frozen=True)
class TrainingSide:
    """A training set and the distance from each sample to its nearest other one."""

    features: Float[Tensor, "sample feature"]
    nearest_distances: Float64[Tensor, " sample"]


def prepare_training_side(features: Features) -> TrainingSide:
    """Compute the part of `memorisation_scores` that does not depend on the generator."""
    check_features(features, name="training")
    distances, _ = find_nearest(features, references=features, num_neighbours=1, is_same_set=True)
    return TrainingSide(features, nearest_distances=distances[:, 0].clone())


def memorisation_scores(*, training: TrainingSide, synthetic: Features) -> dict[str, float]:
    """authenticity, duplicates and nearest_ratio: how near the synthetic samples come to the training set.

    Authenticity (Alaa et al. 2022, section 4.3) is the share of synthetic samples farther from their nearest training
    sample than that one is from its own nearest neighbour; a tie is a copy. A duplicate is within `DUPLICATE_RATIO` of
    the median distance between nearest training samples. The ratio is the median distance from a synthetic sample to
    its nearest training sample, over that same median: about 1 for unseen samples of the training distribution. It is
    infinite if over half the training set is duplicated and the synthetic samples are not.
    """
    check_pair(real=training.features, synthetic=synthetic, min_samples=1)
    found = find_nearest(synthetic, references=training.features, num_neighbours=1)
    distances, nearest = (each[:, 0] for each in found)
    typical = training.nearest_distances.quantile(0.5)
    return {
        "authenticity": float((distances > training.nearest_distances[nearest]).double().mean()),
        "duplicates": float((distances <= DUPLICATE_RATIO * typical).double().mean()),
        "nearest_ratio": _divide(float(distances.quantile(0.5)), float(typical)),
    }


def holdout_scores(*, training: Features, held_out: Features, synthetic: Features) -> dict[str, float]:
    """closer_to_training and nearest_p5_ratio: how near synthetic samples are to the training and to held-out samples.

    `closer_to_training` is the share of synthetic samples that are nearer to the training set than to the held-out
    set; ties count half. It is .5 for a generator that knows the distribution only (Platzer & Reutterer 2021,
    https://doi.org/10.3389/fdata.2021.679939). With SDMetrics' distances, DCROverfittingProtection would be
    min(1, 2 - 2 closer_to_training). `nearest_p5_ratio` takes the 5th percentile of the distances to the nearest
    training sample, synthetic over held-out. Both real sets must have one size, or the share would be biased.
    """
    check_pair(real=training, synthetic=synthetic, min_samples=1)
    check_pair(real=held_out, synthetic=synthetic, min_samples=1)
    assert len(training) == len(held_out), "a larger set has nearer samples"
    to_training, to_held_out, between = (
        find_nearest(asking, references=references, num_neighbours=1)[0][:, 0]
        for asking, references in ((synthetic, training), (synthetic, held_out), (held_out, training))
    )
    is_closer = (to_training < to_held_out).double() + 0.5 * (to_training == to_held_out).double()
    return {
        "closer_to_training": float(is_closer.mean()),
        "nearest_p5_ratio": _divide(float(to_training.quantile(0.05)), float(between.quantile(0.05))),
    }


def _divide(distance: float, typical: float) -> float:
    if typical == 0.0:
        return 1.0 if distance == 0.0 else math.inf
    return distance / typical
