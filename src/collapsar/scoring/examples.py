"""Samples to look at: the worst ones, and those nearest to a training sample, each beside it."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from collapsar.judging.comparison import Comparison
from collapsar.metrics.neighbours.nearest import find_nearest

NUM_EXAMPLES = 12


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Samples of one set: tensors in the sample convention, or data frames with rows of a table."""

    worst: Any  # farthest from any held-out real sample, in radii of the ball of the nearest one; the worst first
    worst_ratios: list[float]
    nearest: Any  # nearest to a training sample, in distances from that one to its own nearest; the nearest first
    training: Any  # the training sample beside each of `nearest`
    nearest_ratios: list[float]


def examples_of(comparison: Comparison) -> Examples:
    """The samples to look at, by the features of one space."""
    real, side, values = comparison.real, comparison.real.training_side, comparison.samples.values
    far, far_ratios, _ = _ranked(comparison, references=real.features, radii=real.side.radii, largest=True)
    near, near_ratios, nearest = _ranked(
        comparison, references=side.features, radii=side.nearest_distances, largest=False
    )
    shown = real.table.decode if real.table else lambda chosen: chosen
    return Examples(
        worst=shown(values[far]),
        worst_ratios=far_ratios,
        nearest=shown(values[near]),
        training=shown(real.training[nearest]),
        nearest_ratios=near_ratios,
    )


def _ranked(
    comparison: Comparison, *, references: Tensor, radii: Tensor, largest: bool
) -> tuple[Tensor, list[float], Tensor]:
    """The samples with the largest or smallest ratios, these, and the nearest reference of each."""
    found = find_nearest(comparison.features, references=references, num_neighbours=1)
    ratios = found.distances[:, 0] / radii[found.indices[:, 0]].double().clamp(min=1e-12)
    top = ratios.topk(min(NUM_EXAMPLES, len(ratios)), largest=largest)
    return top.indices.cpu(), top.values.tolist(), found.indices[top.indices, 0].cpu()
