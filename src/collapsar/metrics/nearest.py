"""Exact nearest neighbours and ball membership, in tiles: no distance matrix is ever whole.

A tile holds the squared distances of all references to a few queries, and is one matrix product of extended points,
[y, 1, |y|²] · [-2x, |x|², 1] = |x - y|². It is taken in float32 around the real mean, and queries with a comparison
closer than the rounding of that product are done again in float64: the answer of float64 at the price of float32. What
is a tie even there is settled on the side of the definition: a point on the surface of a ball is inside. So duplicated
points, the collapsed case, score right, and results depend on neither tile nor batch nor device.

The c references nearest to a query lie in the c groups of references with the smallest minima, so one pass finds them.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

TILE_ELEMENTS = 2**22  # squared distances in float32 that are held at once: 16 MB, which a cache may keep
MAX_TILE_QUERIES = 384  # more save nothing
GROUP_SIZE = 16  # references that share one minimum
DENSE_SHARE = 1 / 16  # from this share of groups with hits on, a whole tile is counted faster than its groups
MAX_CLOSE = 32  # a query with more pairs close to a limit is done again in float64 as a whole
SETTLED_AT_ONCE = 4096  # close pairs measured together
NUM_SPARE = 2  # candidates beyond the neighbours asked for, so that few queries are in doubt


@dataclass(frozen=True)
class Neighbours:
    """The nearest references of each query, nearest first."""

    distances: Float64[Tensor, "query neighbour"]
    indices: Int64[Tensor, "query neighbour"]


@dataclass(frozen=True)
class Membership:
    """How many samples lie in whose ball; a matched sample's own ball holds a real one."""

    num_synthetic_in_ball: Int64[Tensor, " real"]
    num_balls_around: Int64[Tensor, " synthetic"]
    num_clipped_balls_around: Int64[Tensor, " synthetic"]
    is_recalled: Bool[Tensor, " real"]
    is_matched: Bool[Tensor, " synthetic"]


@dataclass(frozen=True)
class _Frame:
    """Centre and unit of all distances; the unit is a power of two, so that dividing by it rounds nothing."""

    centre: Float64[Tensor, " feature"]
    unit: float

    def place(self, points: Tensor) -> Tensor:
        return (points.double() - self.centre).div_(self.unit)

    def measure(self, points: Tensor) -> Tensor:
        """Distance of each point from the centre, in blocks that keep the copy small."""
        return torch.cat([self.place(block).norm(dim=1) for block in points.split(MAX_TILE_QUERIES)])


@dataclass(frozen=True)
class _Tile:
    """Squared distances of all references to some queries; the references are padded with points at infinity.

    The long side first: products and minima of this shape take half the time of the transposed one.
    """

    values: Float[Tensor, "reference query"]
    scratch: Float[Tensor, "reference query"]
    queries: Int64[Tensor, " query"]
    columns: Int64[Tensor, " query"]
    norms: Float[Tensor, " query"]
    relative_error: float

    @property
    def dtype(self) -> torch.dtype:
        return self.values.dtype

    @property
    def is_exact(self) -> bool:
        return self.dtype == torch.float64

    def group(self) -> Tensor:
        """The same values as [group, member, query]."""
        return self.values.view(-1, GROUP_SIZE, len(self.queries))

    def bound_error(self, reach: Tensor) -> Tensor:
        """Bound on the rounding of values [..., query], for references within `reach` [..., query] of the queries.

        A few times what the random walk of the product's rounding gives, relative to (|x| + |y|)², where such a
        reference y is not farther from the centre than the query x and the reach together.
        """
        return (2.0 * self.norms + reach).square_().mul_(self.relative_error)


def find_nearest(
    queries: Float[Tensor, "query feature"],
    *,
    references: Float[Tensor, "reference feature"],
    num_neighbours: int,
    is_same_set: bool = False,
    tile_elements: int = TILE_ELEMENTS,
) -> Neighbours:
    """The `num_neighbours` nearest references of each query.

    Args:
        queries: points that ask.
        references: points that are searched.
        num_neighbours: at most the number of references, less one in the same set.
        is_same_set: the queries are the references, and no point is its own neighbour.
        tile_elements: distances held at once; changes memory and speed, never the result.
    """
    frame = _make_frame(references, queries)
    num_allowed = len(references) - is_same_set
    num_candidates = min(num_neighbours + NUM_SPARE, num_allowed)
    distances = torch.empty(len(queries), num_neighbours, dtype=torch.float64, device=queries.device)
    indices = torch.empty(len(queries), num_neighbours, dtype=torch.int64, device=queries.device)

    def visit(tile: _Tile) -> Tensor:
        if is_same_set:
            tile.values[tile.queries, tile.columns] = math.inf
        candidates, highest = _find_smallest(tile, num_candidates)
        differences = queries[tile.queries, None].double() - references[candidates]  # [query, candidate, feature]
        exact, order = torch.linalg.vector_norm(differences, dim=2).sort(1)
        distances[tile.queries] = exact[:, :num_neighbours]
        indices[tile.queries] = candidates.gather(1, order[:, :num_neighbours])
        reach = exact[:, num_neighbours - 1] / frame.unit  # a reference left out wrongly is nearer than that
        return (highest - tile.bound_error(reach) < reach.square()) & (num_candidates < num_allowed)

    _visit_tiles(visit, queries=queries, references=references, frame=frame, tile_elements=tile_elements)
    return Neighbours(distances=distances, indices=indices)


def find_members(
    *,
    real: Float[Tensor, "real feature"],
    synthetic: Float[Tensor, "synthetic feature"],
    real_radii: Float64[Tensor, " real"],
    synthetic_radii: Float64[Tensor, " synthetic"],
    clip_radius: float,
    tile_elements: int = TILE_ELEMENTS,
) -> Membership:
    """Count who lies in whose closed ball, in one pass over all pairs.

    Args:
        real: real points.
        synthetic: synthetic points.
        real_radii: radius of the ball around each real point.
        synthetic_radii: radius of the ball around each synthetic point.
        clip_radius: the clipped balls are the real ones with at most this radius.
        tile_elements: distances held at once; changes memory and speed, never the result.
    """
    frame = _make_frame(real, synthetic)
    order = synthetic_radii.argsort(stable=True)  # balls of like size share a group, so that few groups reach too far
    surfaces = torch.zeros(_pad(len(order)), dtype=torch.float64, device=real.device)  # the padding has no ball
    surfaces[: len(order)] = (synthetic_radii[order] / frame.unit).square_()
    balls = _Balls(
        queries=real,
        references=synthetic[order],
        unit=frame.unit,
        limits=torch.stack([real_radii, real_radii.clamp_max(clip_radius)]).div_(frame.unit).square_(),
        surfaces=surfaces,
    )
    per_query = torch.zeros(3, len(real), dtype=torch.int64, device=real.device)
    per_reference = torch.zeros(3, len(surfaces), dtype=torch.int64, device=real.device)

    def visit(tile: _Tile) -> Tensor:
        counts = balls.count_hits(tile)
        per_query[:, tile.queries] = counts.per_query
        per_reference.add_(counts.per_reference)
        return counts.in_doubt

    _visit_tiles(visit, queries=real, references=balls.references, frame=frame, tile_elements=tile_elements)
    per_synthetic = torch.empty(3, len(order), dtype=torch.int64, device=real.device)
    per_synthetic[:, order] = per_reference[:, : len(order)]
    return Membership(
        num_synthetic_in_ball=per_query[0],
        num_balls_around=per_synthetic[0],
        num_clipped_balls_around=per_synthetic[1],
        is_recalled=per_query[2] > 0,
        is_matched=per_synthetic[2] > 0,
    )


@dataclass(frozen=True)
class _Counts:
    """How many pairs lie within three limits: the query's ball, its clipped ball, and the reference's ball.

    Queries in doubt have too many pairs so close to a limit that rounding decides, and are left out.
    """

    per_query: Int64[Tensor, "limit query"]
    per_reference: Int64[Tensor, "limit reference"]
    in_doubt: Bool[Tensor, " query"]


@dataclass(frozen=True)
class _Pairs:
    """Some entries of a tile."""

    references: Int64[Tensor, " pair"]
    columns: Int64[Tensor, " pair"]
    values: Float[Tensor, " pair"]
    errors: Float[Tensor, " pair"]

    def take(self, chosen: Tensor) -> "_Pairs":
        return _Pairs(self.references[chosen], self.columns[chosen], self.values[chosen], self.errors[chosen])


@dataclass(frozen=True)
class _Balls:
    """Queries and references with the squared radii of their balls, in units of the frame."""

    queries: Float[Tensor, "query feature"]
    references: Float[Tensor, "reference feature"]
    unit: float
    limits: Float64[Tensor, "ball query"]
    surfaces: Float64[Tensor, " padded"]

    def count_hits(self, tile: _Tile) -> _Counts:
        """Pair by pair where hits are rare, else whole tiles: the balls of a collapsed set hold much of the other.

        Pairs so close to a limit that rounding decides are measured in float64.
        """
        own, surfaces = self.limits[0, tile.queries].to(tile.dtype), self.surfaces.to(tile.dtype).view(-1, GROUP_SIZE)
        reach = torch.maximum(own, surfaces.amax(1, keepdim=True))  # the larger of the two balls, [group, query]
        errors = tile.bound_error(reach.sqrt())
        groups, columns = (tile.group().amin(1) <= reach + errors).nonzero(as_tuple=True)
        if len(groups) > DENSE_SHARE * reach.numel():
            return self._count_whole_tile(tile, errors=errors.amax(0))
        reach = torch.maximum(surfaces[groups], own[columns, None])  # [hit, member]
        return self._count_pairs(tile, _find_pairs(tile.group(), groups, columns, errors[groups, columns], reach=reach))

    def _count_pairs(self, tile: _Tile, pairs: _Pairs) -> _Counts:
        gaps = pairs.values - self._find_limits(tile, pairs).to(tile.dtype)
        in_doubt = torch.zeros_like(tile.queries, dtype=torch.bool)
        if tile.is_exact:
            within = gaps <= pairs.errors
        else:
            within = gaps <= 0.0
            close = (gaps.abs_() <= pairs.errors).any(0).nonzero()[:, 0]
            in_doubt = _find_crowded(pairs.columns[close], size=len(tile.queries))
            close = close[~in_doubt[pairs.columns[close]]]
            within[:, close] = self._settle(tile, pairs.take(close))
            within &= ~in_doubt[pairs.columns]
        limit, pair = within.nonzero(as_tuple=True)
        return _Counts(
            per_query=_count_by_limit(limit, pairs.columns[pair], size=len(tile.queries)),
            per_reference=_count_by_limit(limit, pairs.references[pair], size=len(self.surfaces)),
            in_doubt=in_doubt,
        )

    def _count_whole_tile(self, tile: _Tile, *, errors: Tensor) -> _Counts:
        bounds = [bound.to(tile.dtype) for bound in (*self.limits[:, tile.queries], self.surfaces[:, None])]
        in_doubt, close = torch.zeros_like(tile.queries, dtype=torch.bool), []
        if not tile.is_exact:
            close = [_find_close(tile, bound, errors) for bound in bounds]
            in_doubt = torch.stack([crowded for _, crowded in close]).any(0)
        per_query, per_reference = [], []
        for which, bound in enumerate(bounds):  # ones and zeros, for a tile of booleans takes ten times as long
            within = torch.sub(tile.values, bound, out=tile.scratch).le_(errors if tile.is_exact else 0.0)
            if close:
                pairs, _ = close[which]
                within[pairs.references, pairs.columns] = self._settle(tile, pairs)[which].to(tile.dtype)
                within.mul_(~in_doubt)
            per_query.append(within.sum(0).long())
            per_reference.append(within.sum(1).long())
        return _Counts(torch.stack(per_query), torch.stack(per_reference), in_doubt)

    def _settle(self, tile: _Tile, pairs: _Pairs) -> Bool[Tensor, "limit pair"]:
        """Which limits the pairs lie within by their distance in float64; a tie even there is inside."""
        exact = torch.empty_like(pairs.values, dtype=torch.float64)
        for some in torch.arange(len(exact), device=exact.device).split(SETTLED_AT_ONCE):
            queries = self.queries[tile.queries[pairs.columns[some]]].double()
            exact[some] = torch.linalg.vector_norm(queries - self.references[pairs.references[some]], dim=1)
        slack = pairs.errors * (torch.finfo(torch.float64).eps / torch.finfo(tile.dtype).eps)
        return (exact / self.unit).square_() - slack <= self._find_limits(tile, pairs)

    def _find_limits(self, tile: _Tile, pairs: _Pairs) -> Float64[Tensor, "limit pair"]:
        own = self.limits[:, tile.queries[pairs.columns]]
        return torch.cat([own, self.surfaces[pairs.references][None]])


def _find_pairs(
    grouped: Tensor, groups: Tensor, columns: Tensor, errors: Tensor, *, reach: Tensor | None = None
) -> _Pairs:
    """The members of [group, member, query] at the given groups and columns that are at most `reach` plus an error."""
    values = grouped[groups, :, columns]  # [hit, member]
    limits = errors[:, None] if reach is None else reach + errors[:, None]
    hit, member = (values <= limits).nonzero(as_tuple=True)
    references = groups[hit].mul_(GROUP_SIZE).add_(member)
    return _Pairs(references, columns[hit], values[hit, member], errors[hit])


def _find_close(tile: _Tile, bound: Tensor, errors: Tensor) -> tuple[_Pairs, Tensor]:
    """The pairs within an error of a bound, less those of queries with too many; and which queries these are."""
    gaps = torch.sub(tile.values, bound, out=tile.scratch).abs_().view_as(tile.group())
    groups, columns = (gaps.amin(1) <= errors).nonzero(as_tuple=True)
    is_crowded = _find_crowded(columns, size=len(tile.queries))
    keep = ~is_crowded[columns]
    groups, columns = groups[keep], columns[keep]
    return _find_pairs(gaps, groups, columns, errors[columns]), is_crowded


def _find_crowded(columns: Tensor, *, size: int) -> Tensor:
    return torch.bincount(columns, minlength=size) > MAX_CLOSE


def _count_by_limit(limit: Tensor, index: Tensor, *, size: int) -> Tensor:
    """How often each index below `size` stands with each of the three limits."""
    return torch.bincount(limit * size + index, minlength=3 * size).view(3, size)


def _find_smallest(tile: _Tile, count: int) -> tuple[Tensor, Tensor]:
    """References [query, count] of the smallest values of each query, and the largest of these values [query]."""
    grouped = tile.group()
    groups = grouped.amin(1).topk(min(count, len(grouped)), dim=0, largest=False, sorted=False).indices.T
    members = grouped[groups, :, tile.columns[:, None]].flatten(1)  # [query, group and member]
    smallest = members.topk(count, dim=1, largest=False, sorted=False)
    group = groups.gather(1, smallest.indices // GROUP_SIZE)
    references = group.mul_(GROUP_SIZE).add_(smallest.indices % GROUP_SIZE)
    return references, smallest.values.amax(1).double()


def _visit_tiles(
    visit: Callable[[_Tile], Tensor], *, queries: Tensor, references: Tensor, frame: _Frame, tile_elements: int
) -> None:
    """Show every query to `visit`, and those it calls doubtful again in float64."""
    remaining = torch.arange(len(queries), device=queries.device)
    for dtype in dict.fromkeys((_fast_dtype(), torch.float64)):
        tiles = _make_tiles(remaining, queries, references, frame=frame, dtype=dtype, tile_elements=tile_elements)
        in_doubt = torch.zeros(len(queries), dtype=torch.bool, device=queries.device)
        for tile in tiles:
            in_doubt[tile.queries] = visit(tile)
        remaining = in_doubt.nonzero()[:, 0]
        if len(remaining) == 0:
            break


def _make_tiles(
    chosen: Tensor, queries: Tensor, references: Tensor, *, frame: _Frame, dtype: torch.dtype, tile_elements: int
) -> Iterator[_Tile]:
    """Tiles of the chosen queries, one after the other in the same memory."""
    extended_references = _extend_references(references, frame=frame, dtype=dtype)
    num_rows, size = len(extended_references), extended_references.element_size()
    num_columns = _choose_num_columns(num_rows, tile_elements=tile_elements * 4 // size)
    relative_error = torch.finfo(dtype).eps * (4.0 + math.sqrt(queries.shape[1]))
    columns = torch.arange(num_columns, device=queries.device)
    buffer = torch.empty(num_rows * min(num_columns, len(chosen)), dtype=dtype, device=queries.device)
    scratch = torch.empty_like(buffer)  # takes no page before it is written to
    for block in chosen.split(num_columns):
        values, spare = (memory[: num_rows * len(block)].view(num_rows, -1) for memory in (buffer, scratch))
        placed = frame.place(queries[block])
        squared_norms = placed.square().sum(1, keepdim=True)
        extended_queries = torch.cat([placed.mul_(-2.0), squared_norms, torch.ones_like(squared_norms)], 1)
        torch.mm(extended_references, extended_queries.to(dtype).T, out=values)
        norms = squared_norms[:, 0].sqrt().to(dtype)
        yield _Tile(values, spare, block, columns[: len(block)], norms, relative_error)


def _choose_num_columns(num_rows: int, *, tile_elements: int) -> int:
    num_columns = min(MAX_TILE_QUERIES, tile_elements // num_rows)
    return num_columns // 32 * 32 or max(1, num_columns)  # rows that start at a cache line are written twice as fast


def _extend_references(references: Tensor, *, frame: _Frame, dtype: torch.dtype) -> Tensor:
    num_references, feature_dim = references.shape
    extended = torch.zeros(_pad(num_references), feature_dim + 2, dtype=dtype, device=references.device)
    for start in range(0, num_references, MAX_TILE_QUERIES):
        placed = frame.place(references[start : start + MAX_TILE_QUERIES])
        block = extended[start : start + len(placed)]
        block[:, :-2] = placed
        block[:, -2] = 1.0
        block[:, -1] = placed.square().sum(1)
    extended[num_references:, -1] = math.inf
    return extended


def _make_frame(first: Tensor, second: Tensor) -> _Frame:
    """Centred on the first set, so that an offset costs no digits; the farthest point lies at most one unit away."""
    around_origin = _Frame(centre=first.mean(0, dtype=torch.float64), unit=1.0)
    farthest = max(float(around_origin.measure(first).amax()), float(around_origin.measure(second).amax()))
    return _Frame(centre=around_origin.centre, unit=2.0 ** math.frexp(farthest)[1])


def _fast_dtype() -> torch.dtype:
    """Float32 where its products are float32, and not TF32 or bfloat16."""
    return torch.float32 if torch.get_float32_matmul_precision() == "highest" else torch.float64


def _pad(num_references: int) -> int:
    return -(-num_references // GROUP_SIZE) * GROUP_SIZE
