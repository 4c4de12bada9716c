"""A classifier's head for combinations of factor levels: it reads each factor separately."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn


class FactorHead(nn.Module):
    """Log-probabilities of all combinations of levels; each factor has its own logits.

    The log-probability of a combination is the sum of those of its levels. So the cross-entropy of combinations is the
    sum of the factors' cross-entropies, and the likeliest combination has the likeliest level of each factor.

    Args:
        num_levels: Levels of each factor, in the order of a combination's digits (`collapsar.data.factors`).
    """

    def __init__(self, feature_dim: int, num_levels: Sequence[int]) -> None:
        super().__init__()
        self.num_levels = tuple(num_levels)
        self.linear = nn.Linear(feature_dim, sum(self.num_levels))

    def forward(self, features: Float[Tensor, "sample feature"]) -> Float[Tensor, "sample combination"]:
        return join(self.linear(features).split(self.num_levels, dim=1))


def join(logits: Sequence[Float[Tensor, "sample _"]]) -> Float[Tensor, "sample combination"]:
    """Log-probabilities of all combinations, from the logits of each factor's levels."""
    joint = logits[0].new_zeros(len(logits[0]), 1)
    for each in logits:
        joint = (joint[:, :, None] + each.log_softmax(dim=1)[:, None, :]).flatten(1)
    return joint


def make_head(feature_dim: int, *, num_classes: int, num_levels: Sequence[int] = ()) -> nn.Module:
    """A head from features to class logits: a `FactorHead` if classes are combinations of factors, else linear."""
    return FactorHead(feature_dim, num_levels) if num_levels else nn.Linear(feature_dim, num_classes)
