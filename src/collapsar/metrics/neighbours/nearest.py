"""Exact nearest neighbours.

The c references nearest to a query lie in the c groups of references with the smallest minima, so one pass over a tile
finds them. Their distances are computed again in float64. A query is in doubt if another reference could be nearer.
"""

import math

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from collapsar.metrics.neighbours.tiles import GROUP_SIZE, Strip, count_at_once, make_frame, visit_strips

NUM_SPARE = 2  # additional candidates, so that few queries are in doubt


def find_nearest(
    queries: Float[Tensor, "query feature"],
    *,
    references: Float[Tensor, "reference feature"],
    num_neighbours: int,
    is_same_set: bool = False,
) -> tuple[Float64[Tensor, "query neighbour"], Int64[Tensor, "query neighbour"]]:
    """Distances and indices of the `num_neighbours` nearest references of each query, nearest first.

    `is_same_set` says that queries and references are the same points: no point is then its own neighbour.
    `num_neighbours` is at most the number of references, less one in the same set.
    """
    frame = make_frame(references, queries)
    num_allowed = len(references) - is_same_set
    num_candidates = min(num_neighbours + NUM_SPARE, num_allowed)
    distances = torch.empty(len(queries), num_neighbours, dtype=torch.float64, device=queries.device)
    indices = torch.empty(len(queries), num_neighbours, dtype=torch.int64, device=queries.device)

    def visit(strip: Strip) -> Tensor:
        candidates, highest = _find_smallest(strip, num_candidates, is_same_set=is_same_set)
        asking = queries.index_select(0, strip.queries)
        exact, order = _measure_distances(asking, references, candidates=candidates, unit=frame.unit).sort(1)
        distances[strip.queries] = exact[:, :num_neighbours] * frame.unit
        indices[strip.queries] = candidates.gather(1, order[:, :num_neighbours])
        reach = exact[:, num_neighbours - 1].square()  # a neighbour that was missed is nearer than this
        return (highest - strip.bound_error(reach) < reach) & (num_candidates < num_allowed)

    visit_strips(visit, queries=queries, references=references, frame=frame)
    return distances, indices


def _find_smallest(strip: Strip, count: int, *, is_same_set: bool) -> tuple[Tensor, Tensor]:
    """The references [query, count] with the smallest values, and the largest of these values [query]."""
    found = []
    places = torch.arange(len(strip.queries), device=strip.queries.device)
    for tile in strip.tiles:
        columns = places[: tile.values.shape[1]]
        if is_same_set:
            tile.values[strip.queries[tile.places], columns] = math.inf
        grouped = tile.group()
        groups = grouped.amin(1).topk(min(count, len(grouped)), dim=0, largest=False, sorted=False).indices.T
        found.append((groups, grouped[groups, :, columns[:, None]].flatten(1)))  # [query, group] and their members
    groups, members = (torch.cat(parts) for parts in zip(*found, strict=True))
    smallest = members.topk(count, dim=1, largest=False, sorted=False)
    group = groups.gather(1, smallest.indices // GROUP_SIZE)
    references = group.mul_(GROUP_SIZE).add_(smallest.indices % GROUP_SIZE)
    return references, smallest.values.amax(1).double()


def _measure_distances(queries: Tensor, references: Tensor, *, candidates: Tensor, unit: float) -> Tensor:
    """Float64 distances [query, candidate] in a unit whose squares neither overflow nor underflow."""
    num_candidates, feature_dim = candidates.shape[1], queries.shape[1]
    num_at_once = count_at_once(num_candidates * feature_dim)
    distances = []
    for query, candidate in zip(queries.split(num_at_once), candidates.split(num_at_once), strict=True):
        differences = references.index_select(0, candidate.flatten()).double().view(-1, num_candidates, feature_dim)
        distances.append(torch.linalg.vector_norm(differences.sub_(query[:, None]).div_(unit), dim=2))
    return torch.cat(distances)
