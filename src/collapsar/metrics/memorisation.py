"""Whether a generator repeats what it was trained on: authenticity, duplicates and the distance to the nearest sample.

Asked against the original training set, and against the pool the model was trained on: a chain can copy its pool long
after it has forgotten the real data.
"""

import math
from dataclasses import dataclass

from jaxtyping import Float, Float64
from torch import Tensor

from collapsar.metrics.checks import Features, check_features, check_pair
from collapsar.metrics.neighbours.nearest import find_nearest
from collapsar.metrics.neighbours.tiles import TILE_ELEMENTS

DUPLICATE_RATIO = 0.01  # a duplicate is nearer than this part of the median distance between nearest training samples


@dataclass(frozen=True)
class TrainingSide:
    """A training set and the distance from each sample to the nearest other one, as plain tensors."""

    features: Float[Tensor, "sample feature"]
    nearest_distances: Float64[Tensor, " sample"]


@dataclass(frozen=True)
class MemorisationScores:
    """Two shares in [0, 1], and a ratio that is about 1 for unseen samples of the training distribution."""

    authenticity: float
    duplicate_share: float
    nearest_ratio: float


@dataclass(frozen=True)
class HoldoutScores:
    """A share in [0, 1], about .5, and a ratio of distances, about 1, for a generator that copies nothing."""

    closer_share: float
    distance_ratio: float


def prepare_training_side(features: Features, *, tile_elements: int = TILE_ELEMENTS) -> TrainingSide:
    """Distances between nearest training samples, which do not change with the generator.

    Raises:
        UsageError: the features are refused by `check_features`.
    """
    check_features(features, name="training")
    found = find_nearest(features, references=features, num_neighbours=1, is_same_set=True, tile_elements=tile_elements)
    return TrainingSide(features=features, nearest_distances=found.distances[:, 0].clone())


def memorisation_scores(
    *, training: TrainingSide, synthetic: Features, tile_elements: int = TILE_ELEMENTS
) -> MemorisationScores:
    """How near the synthetic samples come to the training set.

    Authenticity (Alaa et al. 2022, section 4.3) is the share of synthetic samples farther from their nearest training
    sample than that one is from its own nearest neighbour; a tie is a copy. Duplicates are nearer than
    `DUPLICATE_RATIO` of the median distance between nearest training samples. The ratio compares the median distance
    to the nearest training sample with that same median; it is infinite where over half the training set is duplicated
    and the synthetic samples are not.

    Raises:
        UsageError: the features are refused by `check_pair`.
    """
    check_pair(real=training.features, synthetic=synthetic, min_samples=1)
    found = find_nearest(synthetic, references=training.features, num_neighbours=1, tile_elements=tile_elements)
    distances, nearest = found.distances[:, 0], found.indices[:, 0]
    typical = training.nearest_distances.quantile(0.5)
    return MemorisationScores(
        authenticity=float((distances > training.nearest_distances[nearest]).double().mean()),
        duplicate_share=float((distances <= DUPLICATE_RATIO * typical).double().mean()),
        nearest_ratio=_divide(float(distances.quantile(0.5)), float(typical)),
    )


def holdout_scores(*, training: Features, held_out: Features, synthetic: Features) -> HoldoutScores:
    """How much nearer synthetic samples are to the training set than samples that nobody trained on are to it.

    The share is that of synthetic samples whose nearest real sample is a training one and no held-out one, ties
    counting half: .5 for a generator that knows the distribution only (Platzer & Reutterer 2021,
    https://doi.org/10.3389/fdata.2021.679939; with SDMetrics' distances DCROverfittingProtection would be 2 less twice
    the share, at most 1). The ratio is of 5th percentiles of distances to the nearest training sample, of synthetic
    over held-out samples.

    Args:
        training: As many as are held out, or the share would be biased.
        held_out: Real samples that nobody trained on.
        synthetic: Those that are asked about.

    Raises:
        UsageError: the features are refused by `check_pair`.
    """
    check_pair(real=training, synthetic=synthetic, min_samples=1)
    check_pair(real=held_out, synthetic=synthetic, min_samples=1)
    assert len(training) == len(held_out), "a larger set has nearer samples"
    to_training, to_held_out, between = (
        find_nearest(asking, references=references, num_neighbours=1).distances[:, 0]
        for asking, references in ((synthetic, training), (synthetic, held_out), (held_out, training))
    )
    is_closer = (to_training < to_held_out).double() + 0.5 * (to_training == to_held_out).double()
    return HoldoutScores(
        closer_share=float(is_closer.mean()),
        distance_ratio=_divide(float(to_training.quantile(0.05)), float(between.quantile(0.05))),
    )


def _divide(distance: float, typical: float) -> float:
    if typical == 0.0:
        return 1.0 if distance == 0.0 else math.inf
    return distance / typical
