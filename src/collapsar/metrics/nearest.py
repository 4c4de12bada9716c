"""Exact nearest neighbours and ball membership, in tiles: no distance matrix is ever whole.

A tile of squared distances is one matrix product of extended points, [-2x, |x|², 1] · [y, 1, |y|²] = |x - y|². It is
taken in float32 around the real mean, and rows with a comparison closer than the rounding of that product are done
again in float64: the answer of float64 at the price of float32. What is a tie even there is settled on the side of
the definition: a point on the surface of a ball is inside. So duplicated points, the collapsed case, score right, and
results depend on neither tile nor batch nor device.

The c smallest entries of a row lie in the c groups of columns with the smallest minima, so one pass finds them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

TILE_ELEMENTS = 2**24  # squared distances held at once: at most 64 MB in float32, and 10 MB for 10,000 columns
MAX_TILE_ROWS = 256  # more rows save nothing, and 10,000 columns of them stay in the cache
GROUP_SIZE = 32  # columns that share one minimum
DENSE_SHARE = 1 / 16  # from this share of groups with hits on, a whole tile is counted faster than its groups
NUM_SPARE = 2  # candidates beyond the neighbours asked for, so that few rows are in doubt


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
        return torch.cat([self.place(block).norm(dim=1) for block in points.split(MAX_TILE_ROWS)])


@dataclass(frozen=True)
class _Tile:
    """Squared distances of some rows to all columns, the columns padded with points at infinity."""

    values: Float[Tensor, "row column"]
    scratch: Float[Tensor, "row column"]
    rows: Int64[Tensor, " row"]
    placed: Float64[Tensor, "row feature"]

    @property
    def is_exact(self) -> bool:
        return self.values.dtype == torch.float64

    def group(self) -> Tensor:
        """The same values as [row, member, group], where column = member * num_groups + group."""
        return self.values.view(len(self.values), GROUP_SIZE, -1)

    @property
    def num_groups(self) -> int:
        return self.values.shape[1] // GROUP_SIZE

    def bound_error(self, farthest: Tensor) -> Tensor:
        """Bound on the rounding of values [row, ...], for columns at most `farthest` [row, ...] from the centre.

        A few times what the random walk of the product's rounding gives, relative to (|x| + |y|)².
        """
        relative = torch.finfo(self.values.dtype).eps * (4.0 + math.sqrt(self.placed.shape[1]))
        return relative * (self.placed.norm(dim=1, keepdim=True).to(farthest.dtype) + farthest).square()


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
            tile.values[torch.arange(len(tile.rows), device=tile.rows.device), tile.rows] = math.inf
        candidates, highest = _find_smallest(tile.group(), num_candidates)
        differences = tile.placed[:, None] - frame.place(references[candidates])  # [row, candidate, feature]
        exact, order = differences.square_().sum(2).sort(1)
        distances[tile.rows] = exact[:, :num_neighbours].sqrt() * frame.unit
        indices[tile.rows] = candidates.gather(1, order[:, :num_neighbours])
        limit = exact[:, num_neighbours - 1, None]
        # A reference left out wrongly is nearer than the limit, so it is not far from the centre either.
        error = tile.bound_error(tile.placed.norm(dim=1, keepdim=True) + limit.sqrt())
        return (highest - error < limit)[:, 0] & (num_candidates < num_allowed)

    _visit_tiles(visit, rows=queries, columns=references, frame=frame, tile_elements=tile_elements)
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
    limits = torch.stack([real_radii, real_radii.clamp_max(clip_radius)], 1).div_(frame.unit).square_()  # [real, 2]
    order = _spread_over_groups(synthetic_radii)
    surfaces = torch.zeros(_pad(len(order)), dtype=torch.float64, device=real.device)  # the padding has no ball
    surfaces[: len(order)] = (synthetic_radii[order] / frame.unit).square()
    in_ball = torch.zeros(len(real), dtype=torch.int64, device=real.device)
    is_recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    around = torch.zeros(3, len(surfaces), dtype=torch.int64, device=real.device)

    def visit(tile: _Tile) -> Tensor:
        hits = _find_hits(tile, limits=limits[tile.rows], surfaces=surfaces)
        in_doubt = hits.find_doubtful_rows() & (not tile.is_exact)
        per_row, per_column = hits.count(skip=in_doubt)
        in_ball[tile.rows], is_recalled[tile.rows] = per_row[0], per_row[2] > 0
        around.add_(per_column)
        return in_doubt

    _visit_tiles(visit, rows=real, columns=synthetic[order], frame=frame, tile_elements=tile_elements)
    counts = torch.empty(3, len(order), dtype=torch.int64, device=real.device)
    counts[:, order] = around[:, : len(order)]
    return Membership(
        num_synthetic_in_ball=in_ball,
        num_balls_around=counts[0],
        num_clipped_balls_around=counts[1],
        is_recalled=is_recalled,
        is_matched=counts[2] > 0,
    )


@dataclass(frozen=True)
class _Hits:
    """What of a tile may lie within one of three limits: the row's ball, its clipped ball, and the column's ball.

    Groups of columns where hits are rare, and `groups` names them; whole rows, without `groups`, where they are not:
    the balls of a collapsed set hold much of the other.
    """

    tile: _Tile
    rows: Int64[Tensor, " hit"]
    groups: Int64[Tensor, " hit"] | None
    values: Float[Tensor, "hit member"]
    limits: tuple[Tensor, Tensor, Tensor]
    errors: Float[Tensor, "hit one"]

    def find_doubtful_rows(self) -> Tensor:
        in_doubt = torch.zeros_like(self.tile.rows, dtype=torch.bool)
        for limit in self.limits:
            is_close = self._subtract(limit).abs_().amin(1, keepdim=True) <= self.errors
            in_doubt[self.rows[is_close[:, 0]]] = True
        return in_doubt

    def count(self, *, skip: Tensor) -> tuple[Tensor, Tensor]:
        """For each limit the columns within it of each row, and the rows within it of each column, less `skip`."""
        slack = self.errors if self.tile.is_exact else torch.zeros_like(self.errors)
        keep = (~skip[self.rows]).to(self.values.dtype)
        per_row = torch.zeros(3, len(skip), dtype=torch.int64, device=skip.device)
        per_column = []
        for limit, row_counts in zip(self.limits, per_row, strict=True):
            inside = self._subtract(limit).le_(slack)  # ones and zeros, no second tile of booleans
            row_counts.index_add_(0, self.rows, inside.sum(1).long())
            per_column.append(self._count_columns(inside, keep))
        return per_row, torch.stack(per_column)

    def _subtract(self, limit: Tensor) -> Tensor:
        """The values less a limit; of a whole tile always in the same memory, for fresh pages cost more than this."""
        return self.values - limit if self.groups is not None else torch.sub(self.values, limit, out=self.tile.scratch)

    def _count_columns(self, inside: Tensor, keep: Tensor) -> Tensor:
        if self.groups is None:
            return (keep @ inside).long()
        hit, member = (inside * keep[:, None]).nonzero(as_tuple=True)
        columns = member.mul_(self.tile.num_groups).add_(self.groups[hit])
        return torch.bincount(columns, minlength=self.tile.values.shape[1])


def _find_hits(tile: _Tile, *, limits: Tensor, surfaces: Tensor) -> _Hits:
    dtype, grouped = tile.values.dtype, tile.group()
    limits, surfaces = limits.to(dtype), surfaces.to(dtype)
    grouped_surfaces = surfaces.view(GROUP_SIZE, -1)
    reach = torch.maximum(limits[:, :1], grouped_surfaces.amax(0))  # [row, group]
    # A point within reach of the row's point is not farther from the centre than that point and the reach together.
    errors = tile.bound_error(tile.placed.norm(dim=1, keepdim=True).to(dtype) + reach.sqrt())
    rows, groups = (grouped.amin(1) <= reach + errors).nonzero(as_tuple=True)
    if len(rows) > DENSE_SHARE * reach.numel():
        rows = torch.arange(len(grouped), device=grouped.device)
        own, clipped = limits.split(1, dim=1)
        return _Hits(tile, rows, None, tile.values, (own, clipped, surfaces[None]), errors.amax(1, keepdim=True))
    own, clipped = limits[rows].split(1, dim=1)
    bounds = (own, clipped, grouped_surfaces.T[groups])
    return _Hits(tile, rows, groups, grouped[rows, :, groups], bounds, errors[rows, groups, None])


def _spread_over_groups(radii: Tensor) -> Tensor:
    """An order of columns in which the balls of one group are of like size, so that few groups reach too far."""
    num_groups = _pad(len(radii)) // GROUP_SIZE
    columns = torch.arange(len(radii), device=radii.device)
    group_by_group = (columns % num_groups * GROUP_SIZE + columns // num_groups).argsort()
    order = torch.empty_like(columns)
    order[group_by_group] = radii.argsort()
    return order


def _find_smallest(grouped: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Columns of the `count` smallest values of each row of [row, member, group], and the largest of these values."""
    num_groups = grouped.shape[2]
    groups = grouped.amin(1).topk(min(count, num_groups), dim=1, largest=False, sorted=False).indices
    members = grouped.gather(2, groups[:, None].expand(-1, GROUP_SIZE, -1)).flatten(1)
    smallest = members.topk(count, dim=1, largest=False, sorted=False)
    group = groups.gather(1, smallest.indices % groups.shape[1])
    columns = smallest.indices // groups.shape[1] * num_groups + group
    return columns, smallest.values.amax(1, keepdim=True).double()


def _visit_tiles(
    visit: Callable[[_Tile], Tensor], *, rows: Tensor, columns: Tensor, frame: _Frame, tile_elements: int
) -> None:
    """Show every row to `visit`, and the rows it calls doubtful again in float64."""
    remaining = torch.arange(len(rows), device=rows.device)
    padded = _pad(len(columns))
    for dtype in dict.fromkeys((_fast_dtype(), torch.float64)):
        extended = _extend_columns(columns, frame=frame, dtype=dtype)
        share = 4 / extended.element_size()  # a tile of float64 takes no more memory than one of float32
        num_rows = max(1, int(share * min(MAX_TILE_ROWS, tile_elements // padded)))
        buffer = torch.empty(min(num_rows, len(remaining)), padded, dtype=dtype, device=rows.device)
        scratch, doubtful = torch.empty_like(buffer), []  # no page of the scratch is taken until it is written to
        for block in remaining.split(num_rows):
            placed = frame.place(rows[block])
            values = buffer[: len(block)]
            torch.mm(_extend_rows(placed, dtype=dtype), extended.T, out=values)
            doubtful.append(
                block[visit(_Tile(values=values, scratch=scratch[: len(block)], rows=block, placed=placed))]
            )
        remaining = torch.cat(doubtful)
        if len(remaining) == 0:
            break


def _extend_rows(placed: Tensor, *, dtype: torch.dtype) -> Tensor:
    squared_norms = placed.square().sum(1, keepdim=True)
    return torch.cat([placed.to(dtype) * -2.0, squared_norms.to(dtype), torch.ones_like(squared_norms, dtype=dtype)], 1)


def _extend_columns(columns: Tensor, *, frame: _Frame, dtype: torch.dtype) -> Tensor:
    num_columns, feature_dim = columns.shape
    extended = torch.zeros(_pad(num_columns), feature_dim + 2, dtype=dtype, device=columns.device)
    for start in range(0, num_columns, MAX_TILE_ROWS):
        placed = frame.place(columns[start : start + MAX_TILE_ROWS])
        block = extended[start : start + len(placed)]
        block[:, :-2] = placed
        block[:, -2] = 1.0
        block[:, -1] = placed.square().sum(1)
    extended[num_columns:, -1] = math.inf
    return extended


def _make_frame(first: Tensor, second: Tensor) -> _Frame:
    """Centred on the first set, so that an offset costs no digits; the farthest point lies at most one unit away."""
    around_origin = _Frame(centre=first.mean(0, dtype=torch.float64), unit=1.0)
    farthest = max(float(around_origin.measure(first).amax()), float(around_origin.measure(second).amax()))
    return _Frame(centre=around_origin.centre, unit=2.0 ** math.frexp(farthest)[1])


def _fast_dtype() -> torch.dtype:
    """Float32 where its products are float32, and not TF32 or bfloat16."""
    return torch.float32 if torch.get_float32_matmul_precision() == "highest" else torch.float64


def _pad(num_columns: int) -> int:
    return -(-num_columns // GROUP_SIZE) * GROUP_SIZE
