"""The selection that keeps candidates far from each other."""

from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor

from collapsar.drawing.selection import Judge, Kept, Selection
from collapsar.foundations.errors import check_fraction, check_positive
from collapsar.foundations.samples import Samples


class Farthest(Selection):
    """Greedy farthest points: each kept sample is the candidate farthest from those kept before it.

    It is greedy within groups that give `group_size` samples each, so that the cost grows linearly with their number.
    `kept_fraction` of the candidates is kept, above 0 and at most 1. Source: Gonzalez 1985, Theor. Computer Science 38.
    """

    name = "farthest"

    def __init__(self, *, kept_fraction: int | float, group_size: int) -> None:
        check_positive(kept_fraction=kept_fraction, group_size=group_size)
        check_fraction(kept_fraction=kept_fraction)
        self.kept_fraction, self.group_size = kept_fraction, group_size
        self.max_draws_per_sample = 1 / kept_fraction + 1  # one more for each group's rounding up

    def num_candidates(self, num_wanted: int) -> int:
        return ceil(min(min(num_wanted, self.group_size) / self.kept_fraction, 1e18))  # as in `TopScored`

    def choose(self, candidates: Samples, *, num_wanted: int, judge: Judge, generator: torch.Generator) -> Kept:
        first = int(torch.randint(len(candidates), (), generator=generator))
        num_kept = min(num_wanted, self.group_size)
        return farthest_points(judge.features(candidates.values), num_points=num_kept, first=first).sort().values.cpu()


def farthest_points(features: Float[Tensor, "sample feature"], *, num_points: int, first: int) -> Kept:
    """Indices of `num_points` different samples: `first`, then each time the farthest from all before."""
    chosen = [first]
    distances = torch.full((len(features),), torch.inf, device=features.device)
    for _ in range(num_points - 1):
        distances = distances.minimum((features - features[chosen[-1]]).norm(dim=1))
        distances[chosen[-1]] = -1.0  # never chosen again, even if candidates coincide
        chosen.append(int(distances.argmax()))
    return torch.tensor(chosen)
