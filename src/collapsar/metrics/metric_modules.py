"""Where torchmetrics is the interface: neighbour metrics reduced across ranks, a feature space for its FID and KID."""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from collapsar.errors import UsageError
from collapsar.metrics.checks import Features, check_features
from collapsar.metrics.neighbours.scores import neighbour_scores
from collapsar.metrics.spaces.base import FittedSpace


class SpaceFeatures(nn.Module):
    """A fitted feature space as torchmetrics takes it: `FrechetInceptionDistance(feature=SpaceFeatures(space))`.

    Args:
        space: Turns samples, uint8 images [N, C, H, W] or float32 vectors [N, D], into features. It stays outside the
            module's children: it follows neither `train()` nor a checkpoint.
    """

    def __init__(self, space: FittedSpace) -> None:
        super().__init__()
        self.num_features, self._extract = space.feature_dim, space.extract

    def forward(self, samples: Tensor) -> Tensor:
        return self._extract(samples)


class NeighbourMetric(Metric):
    """Precision, recall, density and coverage of the features seen so far.

    Args:
        num_neighbours: k; a ball reaches to the k-th nearest neighbour in its own set.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    real_features: list[Tensor]
    synthetic_features: list[Tensor]

    def __init__(self, *, num_neighbours: int = 5) -> None:
        super().__init__()
        self.num_neighbours = num_neighbours
        self.add_state("real_features", default=[], dist_reduce_fx="cat")
        self.add_state("synthetic_features", default=[], dist_reduce_fx="cat")

    def update(self, *, real: Features | None = None, synthetic: Features | None = None) -> None:
        """Take in features of either side, or of both.

        Raises:
            UsageError: neither is given, or features are refused by `check_features`.
        """
        if real is None and synthetic is None:
            raise UsageError("update needs real= or synthetic= features: got neither")
        if real is not None:
            check_features(real, name="real", min_samples=1)
            self.real_features.append(real.detach())
        if synthetic is not None:
            check_features(synthetic, name="synthetic", min_samples=1)
            self.synthetic_features.append(synthetic.detach())

    def compute(self) -> dict[str, Tensor]:
        if min(len(self.real_features), len(self.synthetic_features)) == 0:  # lists, or tensors once reduced
            raise UsageError("compute needs real and synthetic features: call update with both first")
        scores = neighbour_scores(
            real=dim_zero_cat(self.real_features),
            synthetic=dim_zero_cat(self.synthetic_features),
            num_neighbours=self.num_neighbours,
        )
        values: dict[str, Any] = vars(scores)
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
