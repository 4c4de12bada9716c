"""torchmetrics classes for the metrics of the record, for use in any validation loop.

`NeighbourMetric` gives precision, recall, density and coverage. FID is torchmetrics' own class: it takes samples with
`SpaceFeatures`, or features with `GivenFeatures`. States reduce across ranks.
"""

from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.utilities import dim_zero_cat

from collapsar.errors import UsageError
from collapsar.judging.spaces.base import FittedSpace
from collapsar.metrics.checks import Features, check_features
from collapsar.metrics.neighbours.balls import Membership
from collapsar.metrics.neighbours.scores import RealSide, count_members, prepare_real_side, summarise


class SpaceFeatures(nn.Module):
    """A fitted feature space for torchmetrics: `FrechetInceptionDistance(feature=SpaceFeatures(space))`.

    Args:
        space: Turns samples, uint8 images [N, C, H, W] or float32 vectors [N, D], into features. It is no child of the
            module, so `train()` does not reach it and checkpoints do not hold it.
    """

    def __init__(self, space: FittedSpace) -> None:
        super().__init__()
        self.num_features, self._extract = space.feature_dim, space.extract

    def forward(self, samples: Tensor) -> Tensor:
        return self._extract(samples)


class GivenFeatures(nn.Module):
    """Feeds features in place of images to torchmetrics, in float64 and centred.

    torchmetrics sums squares before it subtracts the mean. Centred on the real mean they keep their digits, and the
    Fréchet distance does not depend on the centre.
    """

    centre: Float64[Tensor, " feature"]

    def __init__(self, centre: Float64[Tensor, " feature"]) -> None:
        super().__init__()
        self.num_features = len(centre)
        self.register_buffer("centre", centre)

    def forward(self, features: Float[Tensor, "sample feature"]) -> Float64[Tensor, "sample feature"]:
        return features.double() - self.centre


def make_frechet_metric(
    real: Float[Tensor, "sample feature"], *, centre: Float64[Tensor, " feature"]
) -> FrechetInceptionDistance:
    """FID of features by torchmetrics, with the real side filled; `reset` forgets synthetic features only."""
    metric = FrechetInceptionDistance(feature=GivenFeatures(centre), reset_real_features=False).to(real.device)
    metric.update(real, real=True)
    return metric


class NeighbourMetric(Metric):
    """Precision, recall, density and coverage of the features seen so far.

    Args:
        num_neighbours: k; a ball reaches to the k-th nearest neighbour in its own set. A given `real_side` brings its
            own k.
        real_side: A prepared real side, the same on every rank; None to collect real features.

    Attributes:
        members: Which samples lay in which balls at the last `compute`.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    real_features: list[Tensor]
    synthetic_features: list[Tensor]

    def __init__(self, *, num_neighbours: int = 5, real_side: RealSide | None = None) -> None:
        super().__init__()
        self.num_neighbours = num_neighbours if real_side is None else real_side.num_neighbours
        self.real_side = real_side
        self.members: Membership | None = None
        self.add_state("real_features", default=[], dist_reduce_fx="cat")
        self.add_state("synthetic_features", default=[], dist_reduce_fx="cat")

    def update(self, *, real: Features | None = None, synthetic: Features | None = None) -> None:
        """Add features of one side or of both.

        Raises:
            UsageError: Both are missing, features fail `check_features`, or `real` is given beside a `real_side`.
        """
        if real is None and synthetic is None:
            raise UsageError("update needs real= or synthetic= features: got neither")
        if real is not None:
            if self.real_side is not None:
                raise UsageError("update takes no real= features beside the real_side that the metric was made with")
            check_features(real, name="real", min_samples=1)
            self.real_features.append(real.detach())
        if synthetic is not None:
            check_features(synthetic, name="synthetic", min_samples=1)
            self.synthetic_features.append(synthetic.detach())

    def compute(self) -> dict[str, Tensor]:
        real = self.real_side
        if len(self.synthetic_features) == 0 or (real is None and len(self.real_features) == 0):
            raise UsageError("compute needs real and synthetic features: call update with both first")
        if real is None:
            real = prepare_real_side(dim_zero_cat(self.real_features), num_neighbours=self.num_neighbours)
        self.members = count_members(real=real, synthetic=dim_zero_cat(self.synthetic_features))
        values: dict[str, Any] = vars(summarise(self.members, real=real))
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
