"""Who lies in whose ball: every point carries a closed ball, and both ways are counted in one pass over all pairs.

Pairs closer to a surface than the rounding of a tile are measured in float64. What is a tie even there is settled on
the side of the definition: a point on the surface of a ball is inside. So duplicated points, the collapsed case, score
right.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from collapsar.metrics.tiles import GROUP_SIZE, TILE_ELEMENTS, Tile, make_frame, pad_to_groups, visit_tiles

DENSE_SHARE = 1 / 16  # from this share of groups with hits on, a whole tile is counted faster than its groups
MAX_CLOSE = 32  # a query with more pairs close to a limit is done again in float64 as a whole
SETTLED_ELEMENTS = 2**18  # features of close pairs that are compared at once: 2 MB, whatever their dimension


@dataclass(frozen=True)
class Membership:
    """How many samples lie in whose ball; a matched sample's own ball holds a real one."""

    num_synthetic_in_ball: Int64[Tensor, " real"]
    num_balls_around: Int64[Tensor, " synthetic"]
    num_clipped_balls_around: Int64[Tensor, " synthetic"]
    is_recalled: Bool[Tensor, " real"]
    is_matched: Bool[Tensor, " synthetic"]


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
    frame = make_frame(real, synthetic)
    order = synthetic_radii.argsort(stable=True)  # balls of like size share a group, so that few groups reach too far
    surfaces = torch.zeros(pad_to_groups(len(order)), dtype=torch.float64, device=real.device)
    surfaces[: len(order)] = (synthetic_radii[order] / frame.unit).square_()  # the padding has no ball
    balls = _Balls(
        queries=real,
        references=synthetic[order],
        unit=frame.unit,
        limits=torch.stack([real_radii, real_radii.clamp_max(clip_radius)]).div_(frame.unit).square_(),
        surfaces=surfaces,
    )
    per_query = torch.zeros(3, len(real), dtype=torch.int64, device=real.device)
    per_reference = torch.zeros(3, len(surfaces), dtype=torch.int64, device=real.device)

    def visit(tile: Tile) -> Tensor:
        counts = balls.count_hits(tile)
        per_query[:, tile.queries] = counts.per_query
        per_reference.add_(counts.per_reference)
        return counts.in_doubt

    visit_tiles(visit, queries=real, references=balls.references, frame=frame, tile_elements=tile_elements)
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

    def count_hits(self, tile: Tile) -> _Counts:
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

    def _count_pairs(self, tile: Tile, pairs: _Pairs) -> _Counts:
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

    def _count_whole_tile(self, tile: Tile, *, errors: Tensor) -> _Counts:
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

    def _settle(self, tile: Tile, pairs: _Pairs) -> Bool[Tensor, "limit pair"]:
        """Which limits the pairs lie within by their distance in float64; a tie even there is inside."""
        exact = torch.empty_like(pairs.values, dtype=torch.float64)
        num_at_once = max(1, SETTLED_ELEMENTS // self.queries.shape[1])
        for some in torch.arange(len(exact), device=exact.device).split(num_at_once):
            queries = self.queries[tile.queries[pairs.columns[some]]].double()
            exact[some] = torch.linalg.vector_norm(queries - self.references[pairs.references[some]], dim=1)
        slack = pairs.errors * (torch.finfo(torch.float64).eps / torch.finfo(tile.dtype).eps)
        return (exact / self.unit).square_() - slack <= self._find_limits(tile, pairs)

    def _find_limits(self, tile: Tile, pairs: _Pairs) -> Float64[Tensor, "limit pair"]:
        own = self.limits[:, tile.queries[pairs.columns]]
        return torch.cat([own, self.surfaces[pairs.references][None]])


def _find_pairs(
    grouped: Tensor, groups: Tensor, columns: Tensor, errors: Tensor, *, reach: Tensor | float = 0.0
) -> _Pairs:
    """The members of [group, member, query] at the given groups and columns that are at most `reach` plus an error."""
    values = grouped[groups, :, columns]  # [hit, member]
    hit, member = (values <= reach + errors[:, None]).nonzero(as_tuple=True)
    references = groups[hit].mul_(GROUP_SIZE).add_(member)
    return _Pairs(references, columns[hit], values[hit, member], errors[hit])


def _find_close(tile: Tile, bound: Tensor, errors: Tensor) -> tuple[_Pairs, Tensor]:
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
