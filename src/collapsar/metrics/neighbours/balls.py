"""Which samples lie in which balls: every point has a closed ball, and one pass over all pairs counts both directions.

Distances that differ from a radius by less than a tile's rounding are computed again in float64. A tie in float64
counts as inside, because the balls are closed. So duplicated points, the collapsed case, score right.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from collapsar.metrics.neighbours.nearest import (
    GROUP_SIZE,
    Strip,
    Tile,
    count_at_once,
    make_frame,
    pad_to_groups,
    visit_strips,
)

DENSE_SHARE = 1 / 16  # above this share of groups with hits, counting the whole tile is faster than counting groups
MAX_CLOSE = 32  # a query with more pairs than this close to a limit is computed again as a whole in float64


@dataclass(frozen=True)
class Membership:
    """Ball counts of each sample; a synthetic sample is matched if its own ball holds a real sample."""

    num_synthetic_in_ball: Int64[Tensor, " real"]
    num_balls_around: Int64[Tensor, " synthetic"]
    num_clipped_balls_around: Int64[Tensor, " synthetic"]
    is_recalled: Bool[Tensor, " real"]
    is_matched: Bool[Tensor, " synthetic"]

    @property
    def is_covered(self) -> Bool[Tensor, " real"]:
        """Whether the ball of each real sample holds a synthetic one."""
        return self.num_synthetic_in_ball > 0

    @property
    def is_precise(self) -> Bool[Tensor, " synthetic"]:
        """Whether each synthetic sample lies in the ball of a real one."""
        return self.num_balls_around > 0


def find_members(
    *,
    real: Float[Tensor, "real feature"],
    synthetic: Float[Tensor, "synthetic feature"],
    real_radii: Float64[Tensor, " real"],
    synthetic_radii: Float64[Tensor, " synthetic"],
    clip_radius: float,
) -> Membership:
    """Count which samples lie in which closed balls; clipped balls are real ones with radii cut at `clip_radius`."""
    frame = make_frame(real, synthetic)
    order = synthetic_radii.argsort(stable=True)  # balls of similar size share a group, so that few groups reach far
    surfaces = torch.zeros(pad_to_groups(len(order)), dtype=torch.float64, device=real.device)
    surfaces[: len(order)] = (synthetic_radii[order] / frame.unit).square_()  # the padding has radius zero
    balls = _Balls(
        queries=real,
        references=synthetic[order],
        unit=frame.unit,
        limits=torch.stack([real_radii, real_radii.clamp_max(clip_radius)]).div_(frame.unit).square_(),
        surfaces=surfaces,
        per_query=torch.zeros(3, len(real), dtype=torch.int64, device=real.device),
        per_reference=torch.zeros(3, len(surfaces), dtype=torch.int64, device=real.device),
    )
    visit_strips(balls.count_hits, queries=real, references=balls.references, frame=frame)
    per_synthetic = torch.empty(3, len(order), dtype=torch.int64, device=real.device)
    per_synthetic[:, order] = balls.per_reference[:, : len(order)]
    return Membership(
        num_synthetic_in_ball=balls.per_query[0],
        num_balls_around=per_synthetic[0],
        num_clipped_balls_around=per_synthetic[1],
        is_recalled=balls.per_query[2] > 0,
        is_matched=per_synthetic[2] > 0,
    )


@dataclass(frozen=True)
class _Pairs:
    """Pairs of a reference and a query (its place in the strip), each with a value and the value's error."""

    references: Int64[Tensor, " pair"]
    places: Int64[Tensor, " pair"]
    values: Float[Tensor, " pair"]
    errors: Float[Tensor, " pair"]

    def take(self, chosen: Tensor) -> "_Pairs":
        return _Pairs(self.references[chosen], self.places[chosen], self.values[chosen], self.errors[chosen])


@dataclass(frozen=True)
class _Balls:
    """Queries and references with the squared radii of their balls (`limits`, `surfaces`), in units of the frame."""

    queries: Float[Tensor, "query feature"]
    references: Float[Tensor, "reference feature"]
    unit: float
    limits: Float64[Tensor, "ball query"]
    surfaces: Float64[Tensor, " padded"]
    per_query: Int64[Tensor, "limit query"]  # pairs within the query's ball, its clipped ball, the reference's ball
    per_reference: Int64[Tensor, "limit padded"]

    def count_hits(self, strip: Strip) -> Bool[Tensor, " place"]:
        """Count pair by pair if hits are rare, else whole tiles: balls around a collapsed set hold much of the other.

        Pairs that rounding could decide are computed again in float64. A query with too many of these is in doubt: its
        pairs are not counted, and it is returned.
        """
        own = self.limits[0, strip.queries].to(strip.dtype)
        widest = self.surfaces.to(strip.dtype).view(-1, GROUP_SIZE).amax(1)
        reach = torch.maximum(own, widest[:, None])  # the larger of the two balls, [group, query]
        limits = strip.bound_error(reach).add_(reach)
        in_doubt, hits = torch.zeros_like(own, dtype=torch.bool), []
        for tile in strip.tiles:
            grouped = tile.group()
            groups, columns = (grouped.amin(1) <= limits[:, tile.places]).nonzero(as_tuple=True)
            if len(groups) > DENSE_SHARE * len(grouped) * grouped.shape[2]:
                in_doubt[tile.places] = self._count_whole_tile(strip, tile)
            else:
                hits.append((groups, columns + tile.places.start, grouped[groups, :, columns]))
        if hits:
            groups, places, members = (torch.cat(parts) for parts in zip(*hits, strict=True))
            reach = torch.maximum(widest[groups], own[places])
            errors = strip.bound_error(reach, places=places)
            in_doubt |= self._count_pairs(strip, _find_pairs(members, groups, places, reach + errors, errors=errors))
        return in_doubt

    def _count_pairs(self, strip: Strip, pairs: _Pairs) -> Tensor:
        gaps = pairs.values - self._find_limits(strip, pairs).to(strip.dtype)
        within = gaps <= (pairs.errors if strip.is_exact else 0.0)
        close = (gaps.abs_() <= pairs.errors).any(0).nonzero()[:, 0]
        is_crowded = _find_crowded(pairs.places[close], size=len(strip.queries))
        close = close[~is_crowded[pairs.places[close]]]
        within[:, close] = self._compare_exactly(strip, pairs.take(close))
        in_doubt = is_crowded & (not strip.is_exact)
        within &= ~in_doubt[pairs.places]
        limit, pair = within.nonzero(as_tuple=True)
        self.per_query[:, strip.queries] += _count_by_limit(limit, pairs.places[pair], size=len(strip.queries))
        self.per_reference.add_(_count_by_limit(limit, pairs.references[pair], size=len(self.surfaces)))
        return in_doubt

    def _count_whole_tile(self, strip: Strip, tile: Tile) -> Tensor:
        queries = strip.queries[tile.places]
        own = self.limits[:, queries]
        bounds = [bound.to(strip.dtype) for bound in (*own, self.surfaces[:, None])]
        errors = strip.bound_error(torch.maximum(bounds[0], bounds[2].amax()), places=tile.places)
        close = [_find_close(tile, bound, errors) for bound in bounds]
        in_doubt = torch.stack([is_crowded for _, is_crowded in close]).any(0) & (not strip.is_exact)
        kept = (~in_doubt).to(strip.dtype)
        for which, (bound, (pairs, _)) in enumerate(zip(bounds, close, strict=True)):
            # Ones and zeros: a tile of booleans takes ten times as long.
            if strip.is_exact:
                within = torch.sub(tile.values, bound, out=tile.scratch).le_(errors)
            else:
                within = torch.le(tile.values, bound, out=tile.scratch)
            exact = self._compare_exactly(strip, pairs)[which].to(strip.dtype)
            within[pairs.references, pairs.places - tile.places.start] = exact
            within.mul_(kept)
            self.per_query[which, queries] = within.sum(0).long()
            self.per_reference[which] += within.sum(1).long()
        return in_doubt

    def _compare_exactly(self, strip: Strip, pairs: _Pairs) -> Bool[Tensor, "limit pair"]:
        """Which limits the pairs lie within by their distance in float64; a tie is inside."""
        exact = torch.empty_like(pairs.values, dtype=torch.float64)
        for some in torch.arange(len(exact), device=exact.device).split(count_at_once(self.queries.shape[1])):
            queries = self.queries[strip.queries[pairs.places[some]]].double()
            differences = queries.sub_(self.references[pairs.references[some]]).div_(self.unit)
            exact[some] = torch.linalg.vector_norm(differences, dim=1)
        # The tolerance is relative to |x| + |y|, because the features themselves are rounded relative to their size.
        slack = (pairs.errors.double() / torch.finfo(strip.dtype).eps).sqrt_().mul_(torch.finfo(torch.float64).eps)
        return exact - slack <= self._find_limits(strip, pairs).sqrt_()

    def _find_limits(self, strip: Strip, pairs: _Pairs) -> Float64[Tensor, "limit pair"]:
        own = self.limits[:, strip.queries[pairs.places]]
        return torch.cat([own, self.surfaces[pairs.references][None]])


def _find_pairs(values: Tensor, groups: Tensor, places: Tensor, limits: Tensor, *, errors: Tensor) -> _Pairs:
    """The pairs whose values [hit, member] are at most the limit of their hit; a hit is a group at a place."""
    hit, member = (values <= limits[:, None]).nonzero(as_tuple=True)
    references = groups[hit].mul_(GROUP_SIZE).add_(member)
    return _Pairs(references, places[hit], values[hit, member], errors[hit])


def _find_close(tile: Tile, bound: Tensor, errors: Tensor) -> tuple[_Pairs, Tensor]:
    """The pairs within an error of a bound, except those of crowded queries; and which queries are crowded."""
    gaps = torch.sub(tile.values, bound, out=tile.scratch).abs_().view_as(tile.group())
    groups, columns = (gaps.amin(1) <= errors).nonzero(as_tuple=True)
    is_crowded = _find_crowded(columns, size=len(errors))
    keep = ~is_crowded[columns]
    groups, columns = groups[keep], columns[keep]
    limits = errors[columns]
    pairs = _find_pairs(gaps[groups, :, columns], groups, columns + tile.places.start, limits, errors=limits)
    return pairs, is_crowded


def _find_crowded(places: Tensor, *, size: int) -> Tensor:
    return torch.bincount(places, minlength=size) > MAX_CLOSE


def _count_by_limit(limit: Tensor, index: Tensor, *, size: int) -> Tensor:
    return torch.bincount(limit * size + index, minlength=3 * size).view(3, size)
