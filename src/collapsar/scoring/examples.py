"""Samples to look at: the worst ones, and those nearest to a training sample, each beside it."""

from dataclasses import dataclass

import pandas as pd
from torch import Tensor

from collapsar.judging.comparison import Comparison

NUM_EXAMPLES = 12


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Samples of one set, images or vectors in the sample convention, or rows of a table.

    Attributes:
        worst: Farthest from any held-out real sample, in radii of the ball of the nearest one; the worst first.
        nearest: Nearest to a training sample, in distances from that one to its own nearest; the nearest first.
        training: The training sample beside each of `nearest`.
    """

    worst: Tensor | pd.DataFrame
    worst_ratios: list[float]
    nearest: Tensor | pd.DataFrame
    training: Tensor | pd.DataFrame
    nearest_ratios: list[float]


def examples_of(comparison: Comparison) -> Examples:
    """The samples to look at, by the features of one space."""
    real = comparison.real
    far, far_ratios = _ranked(comparison, references=real.features, radii=real.side.radii, largest=True)
    near, near_ratios, nearest = _nearest(comparison)
    table, values = real.table, comparison.samples.values

    def shown(chosen: Tensor) -> Tensor | pd.DataFrame:
        return chosen if table is None else table.decode(chosen)

    return Examples(
        worst=shown(values[far]),
        worst_ratios=far_ratios,
        nearest=shown(values[near]),
        training=shown(real.training[nearest]),
        nearest_ratios=near_ratios,
    )


def _ranked(comparison: Comparison, *, references: Tensor, radii: Tensor, largest: bool) -> tuple[Tensor, list[float]]:
    found = comparison.nearest(references)
    ratios = found.distances[:, 0] / radii[found.indices[:, 0]].double().clamp(min=1e-12)
    top = ratios.topk(min(NUM_EXAMPLES, len(ratios)), largest=largest)
    return top.indices.cpu(), top.values.tolist()


def _nearest(comparison: Comparison) -> tuple[Tensor, list[float], Tensor]:
    side = comparison.real.training_side
    indices, ratios = _ranked(comparison, references=side.features, radii=side.nearest_distances, largest=False)
    chosen = indices.to(comparison.features.device)
    return indices, ratios, comparison.nearest(side.features, chosen=chosen).indices[:, 0].cpu()
