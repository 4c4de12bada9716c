"""The head of a classifier that reads one factor at a time, and so all combinations of their levels."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn


class FactorHead(nn.Module):
    """Log-probabilities of every combination of levels, each factor being read from the features by itself.

    The log-probability of a combination is the sum of those of its levels. So the cross-entropy of combinations is the
    sum of the factors' cross-entropies, and the likeliest combination holds the likeliest level of each factor.

    Args:
        num_levels: Of each factor, in the order of the digits of a combination (`collapsar.data.factors`).
    """

    def __init__(self, feature_dim: int, num_levels: Sequence[int]) -> None:
        super().__init__()
        self.num_levels = tuple(num_levels)
        self.linear = nn.Linear(feature_dim, sum(self.num_levels))

    def forward(self, features: Float[Tensor, "sample feature"]) -> Float[Tensor, "sample combination"]:
        return join(self.linear(features).split(self.num_levels, dim=1))


def join(logits: Sequence[Float[Tensor, "sample _"]]) -> Float[Tensor, "sample combination"]:
    """The log-probability of every combination from the logits of each factor's levels."""
    joint = logits[0].new_zeros(len(logits[0]), 1)
    for each in logits:
        joint = (joint[:, :, None] + each.log_softmax(dim=1)[:, None, :]).flatten(1)
    return joint


def make_head(feature_dim: int, *, num_classes: int, num_levels: Sequence[int] = ()) -> nn.Module:
    """Features to logits of classes; where these are combinations of factors, with so many levels, by factor."""
    return FactorHead(feature_dim, num_levels) if num_levels else nn.Linear(feature_dim, num_classes)
