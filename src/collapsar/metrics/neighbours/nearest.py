"""Exact nearest neighbours, and the tiles of squared distances that they and the balls are found in, in bounded memory.

A tile holds the distances of all references to a few queries, small enough for a cache. It is one matrix product of
extended points, [y, 1, |y|²] · [-2x, |x|², 1] = |x - y|², in float32 and centred on one set's mean. A caller handles a
strip of tiles at once and reports the queries that rounding could decide; these are computed again in float64. So the
result is that of float64, nearly at the cost of float32, and does not depend on tile, batch or device.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

TILE_ELEMENTS = 2**22  # float32 squared distances in memory at once: at most 16 MB; changes no result
TILE_QUERIES = 128  # at most
STRIP_QUERIES = 2048
FEATURES_AT_ONCE = 2**18  # feature values converted to float64 at once: 2 MB, whatever the dimension
GROUP_SIZE = 16  # references that share one minimum
NUM_SPARE = 2  # additional candidates for neighbours, so that few queries are in doubt


@dataclass(frozen=True)
class Frame:
    """Centre and unit of all distances; the unit is a power of two, so that division by it is exact."""

    centre: Float64[Tensor, " feature"]
    unit: float


@dataclass(frozen=True)
class Tile:
    """Squared distances of all references to some queries; points at infinity pad the references."""

    # In units of the frame; if they were transposed, products and minima would take twice the time.
    values: Float[Tensor, "reference query"]
    scratch: Float[Tensor, "reference query"]  # free to use
    places: slice  # of the queries in the strip

    def group(self) -> Tensor:
        """The same values as [group, member, query]."""
        return self.values.view(-1, GROUP_SIZE, self.values.shape[1])


@dataclass(frozen=True)
class Strip:
    """Some queries and their tiles, which share one piece of memory."""

    queries: Int64[Tensor, " query"]  # their indices
    squared_norms: Float[Tensor, " query"]  # their squared distances from the centre, in units of the frame
    relative_error: float  # of a value, relative to (|x| + |y|)²; see `bound_error`
    tiles: Iterator[Tile]  # can be read once; each tile overwrites the one before

    @property
    def dtype(self) -> torch.dtype:
        return self.squared_norms.dtype

    @property
    def is_exact(self) -> bool:
        return self.dtype == torch.float64

    def bound_error(self, reach: Tensor, *, places: Tensor | slice = slice(None)) -> Tensor:
        """Bound the rounding of values [..., query] of references within a squared `reach` [..., query] of a query.

        `relative_error` is a few times what a random walk of the product's rounding gives, relative to (|x| + |y|)².
        Such a reference y has |y| <= |x| + r, and (2 |x| + r)² <= 6 |x|² + 3 r².
        """
        own = self.squared_norms[places] * (6.0 * self.relative_error)
        return torch.add(own, reach, alpha=3.0 * self.relative_error)


def visit_strips(visit: Callable[[Strip], Tensor], *, queries: Tensor, references: Tensor, frame: Frame) -> None:
    """Call `visit` on strips of all queries, then in float64 on those queries that it returned as doubtful (a mask)."""
    remaining = torch.arange(len(queries), device=queries.device)
    may_be_coarse = torch.get_float32_matmul_precision() != "highest"  # products in TF32 or bfloat16
    for dtype in (torch.float64,) if may_be_coarse else (torch.float32, torch.float64):
        strips = _make_strips(remaining, queries, references, frame=frame, dtype=dtype)
        remaining = torch.cat([strip.queries[visit(strip)] for strip in strips])
        if len(remaining) == 0:
            break


def _make_strips(
    chosen: Tensor, queries: Tensor, references: Tensor, *, frame: Frame, dtype: torch.dtype
) -> Iterator[Strip]:
    num_rows = pad_to_groups(len(references))
    extended_references = _extend(references, frame=frame, dtype=dtype, num_rows=num_rows)  # [y, 1, |y|²]
    extended_references[len(references) :, -1] = math.inf
    num_columns = min(TILE_QUERIES, TILE_ELEMENTS * 4 // dtype.itemsize // num_rows)
    num_columns = num_columns // 32 * 32 or max(1, num_columns)  # rows from a cache line on are written twice as fast
    memory = extended_references.new_empty(2, num_rows * min(num_columns, len(chosen)))
    relative_error = torch.finfo(dtype).eps * (4.0 + math.sqrt(queries.shape[1]))
    for block in chosen.split(STRIP_QUERIES):
        extended = _extend(queries[block], frame=frame, dtype=dtype, num_rows=len(block))
        extended[:, :-2].mul_(-2.0)
        extended[:, -2:] = extended[:, -2:].flip(1)  # [-2x, |x|², 1]
        tiles = _make_tiles(extended, extended_references, num_columns=num_columns, memory=memory)
        yield Strip(block, extended[:, -2].clone(), relative_error, tiles)


def _make_tiles(queries: Tensor, references: Tensor, *, num_columns: int, memory: Tensor) -> Iterator[Tile]:
    for start in range(0, len(queries), num_columns):
        columns = queries[start : start + num_columns].T
        shape = (len(references), columns.shape[1])
        values, scratch = memory[:, : shape[0] * shape[1]].view(2, *shape)  # unwritten scratch takes no memory
        torch.mm(references, columns, out=values)
        yield Tile(values, scratch, slice(start, start + shape[1]))


def _extend(points: Tensor, *, frame: Frame, dtype: torch.dtype, num_rows: int) -> Tensor:
    """[x, 1, |x|²] of each point, then rows of zeros; computed in blocks, because the points are centred in float64."""
    feature_dim = points.shape[1]
    extended = torch.zeros(num_rows, feature_dim + 2, dtype=dtype, device=points.device)
    num_at_once = count_at_once(feature_dim)
    for some, rows in zip(points.split(num_at_once), extended[: len(points)].split(num_at_once), strict=True):
        placed = (some.double() - frame.centre).div_(frame.unit)
        rows[:, :-2], rows[:, -2], rows[:, -1] = placed, 1.0, placed.square().sum(1)
    return extended


def count_at_once(feature_dim: int) -> int:
    """How many points of this dimension to convert to float64 at once."""
    return max(1, FEATURES_AT_ONCE // feature_dim)


def make_frame(first: Tensor, second: Tensor) -> Frame:
    """A frame centred on the first set, so that an offset costs no digits; no point is farther than one unit."""
    centre = first.mean(0, dtype=torch.float64)
    corners = torch.stack([first.amin(0), first.amax(0), second.amin(0), second.amax(0)])
    farthest = float((corners - centre).abs().amax()) * math.sqrt(len(centre))
    return Frame(centre=centre, unit=2.0 ** math.frexp(farthest)[1])


def pad_to_groups(num_references: int) -> int:
    """Round up to a number of references that fills whole groups."""
    return -(-num_references // GROUP_SIZE) * GROUP_SIZE


def find_nearest(
    queries: Float[Tensor, "query feature"],
    *,
    references: Float[Tensor, "reference feature"],
    num_neighbours: int,
    is_same_set: bool = False,
) -> tuple[Float64[Tensor, "query neighbour"], Int64[Tensor, "query neighbour"]]:
    """Distances and indices of the `num_neighbours` nearest references of each query, nearest first.

    `is_same_set` says that queries and references are the same points: no point is then its own neighbour.
    `num_neighbours` is at most the number of references, less one in the same set. The c references nearest to a query
    lie in the c groups of references with the smallest minima, so one pass over a tile finds them. A query is in doubt
    if another reference could be nearer.
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
