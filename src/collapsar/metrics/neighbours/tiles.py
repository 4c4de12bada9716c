"""Squared distances of all references to all queries, a tile at a time: no distance matrix is ever whole.

A tile holds the squared distances of all references to a few queries, and is one matrix product of extended points,
[y, 1, |y|²] · [-2x, |x|², 1] = |x - y|². It is taken in float32 around the mean of one set, and whoever reads it says
which queries are in doubt, because rounding could decide: these are done again in float64. So one gets the answer of
float64 at the price of float32, and it depends on neither tile nor batch nor device.

A tile is small, so that it is read while still in a cache; what is found in it is finished once for a strip of tiles.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

TILE_ELEMENTS = 2**22  # squared distances in float32 that are held at once: at most 16 MB
TILE_QUERIES = 128  # at most
STRIP_QUERIES = 2048
FEATURES_AT_ONCE = 2**18  # that are held in float64 beside the points: 2 MB, whatever their dimension
GROUP_SIZE = 16  # references that share one minimum


@dataclass(frozen=True)
class Frame:
    """Centre and unit of all distances; the unit is a power of two, so that dividing by it rounds nothing."""

    centre: Float64[Tensor, " feature"]
    unit: float

    def place(self, points: Tensor) -> Tensor:
        return (points.double() - self.centre).div_(self.unit)


@dataclass(frozen=True)
class Tile:
    """Squared distances of all references to some queries; the references are padded with points at infinity.

    The long side first: products and minima of this shape take half the time of the transposed one.

    Attributes:
        values: squared distances in units of the frame.
        scratch: memory of the same shape, free to use.
        places: of the queries in the strip.
    """

    values: Float[Tensor, "reference query"]
    scratch: Float[Tensor, "reference query"]
    places: slice

    def group(self) -> Tensor:
        """The same values as [group, member, query]."""
        return self.values.view(-1, GROUP_SIZE, self.values.shape[1])


@dataclass(frozen=True)
class Strip:
    """Some queries and their tiles, which are made one after the other in the same memory.

    Attributes:
        queries: which queries these are.
        squared_norms: their squared distances from the centre, in units of the frame.
        relative_error: of a value, relative to the square that `bound_error` bounds.
        tiles: to be read once.
    """

    queries: Int64[Tensor, " query"]
    squared_norms: Float[Tensor, " query"]
    relative_error: float
    tiles: Iterator[Tile]

    @property
    def dtype(self) -> torch.dtype:
        return self.squared_norms.dtype

    @property
    def is_exact(self) -> bool:
        return self.dtype == torch.float64

    def bound_error(self, reach: Tensor, *, places: Tensor | slice = slice(None)) -> Tensor:
        """Bound on the rounding of values [..., query], for references within `reach` [..., query] of the queries.

        A few times what the random walk of the product's rounding gives, relative to (|x| + |y|)², where such a
        reference y is not farther from the centre than the query x and the reach together. The reach is squared, and
        (2 |x| + r)² <= 6 |x|² + 3 r².
        """
        own = self.squared_norms[places] * (6.0 * self.relative_error)
        return torch.add(own, reach, alpha=3.0 * self.relative_error)


def visit_strips(
    visit: Callable[[Strip], Tensor], *, queries: Tensor, references: Tensor, frame: Frame, tile_elements: int
) -> None:
    """Show every query to `visit`, and those it calls doubtful again in float64."""
    remaining = torch.arange(len(queries), device=queries.device)
    for dtype in dict.fromkeys((_fast_dtype(), torch.float64)):
        strips = _make_strips(remaining, queries, references, frame=frame, dtype=dtype, tile_elements=tile_elements)
        remaining = torch.cat([strip.queries[visit(strip)] for strip in strips])
        if len(remaining) == 0:
            break


def _make_strips(
    chosen: Tensor, queries: Tensor, references: Tensor, *, frame: Frame, dtype: torch.dtype, tile_elements: int
) -> Iterator[Strip]:
    extended_references = _extend_references(references, frame=frame, dtype=dtype)
    num_rows, size = len(extended_references), extended_references.element_size()
    num_columns = _choose_num_columns(num_rows, tile_elements=tile_elements * 4 // size)
    memory = extended_references.new_empty(2, num_rows * min(num_columns, len(chosen)))
    relative_error = torch.finfo(dtype).eps * (4.0 + math.sqrt(queries.shape[1]))
    for block in chosen.split(STRIP_QUERIES):
        extended = _extend_queries(queries[block], frame=frame, dtype=dtype)
        tiles = _make_tiles(extended, extended_references, num_columns=num_columns, memory=memory)
        yield Strip(block, extended[:, -2].clone(), relative_error, tiles)


def _make_tiles(queries: Tensor, references: Tensor, *, num_columns: int, memory: Tensor) -> Iterator[Tile]:
    for start in range(0, len(queries), num_columns):
        columns = queries[start : start + num_columns].T
        shape = (len(references), columns.shape[1])
        values, scratch = memory[:, : shape[0] * shape[1]].view(2, *shape)  # a page of scratch is taken when written to
        torch.mm(references, columns, out=values)
        yield Tile(values, scratch, slice(start, start + shape[1]))


def _choose_num_columns(num_rows: int, *, tile_elements: int) -> int:
    num_columns = min(TILE_QUERIES, tile_elements // num_rows)
    return num_columns // 32 * 32 or max(1, num_columns)  # rows that start at a cache line are written twice as fast


def _extend_references(references: Tensor, *, frame: Frame, dtype: torch.dtype) -> Tensor:
    """[y, 1, |y|²] of each reference, and of points at infinity that fill the last group."""
    extended = _extend(references, frame=frame, dtype=dtype, num_rows=pad_to_groups(len(references)))
    extended[len(references) :, -1] = math.inf
    return extended


def _extend_queries(queries: Tensor, *, frame: Frame, dtype: torch.dtype) -> Tensor:
    """[-2x, |x|², 1] of each query."""
    extended = _extend(queries, frame=frame, dtype=dtype, num_rows=len(queries))
    extended[:, :-2].mul_(-2.0)
    extended[:, -2:] = extended[:, -2:].flip(1)
    return extended


def _extend(points: Tensor, *, frame: Frame, dtype: torch.dtype, num_rows: int) -> Tensor:
    """[x, 1, |x|²] of each point, then zeros; in blocks, because points are placed in float64."""
    feature_dim = points.shape[1]
    extended = torch.zeros(num_rows, feature_dim + 2, dtype=dtype, device=points.device)
    num_at_once = count_at_once(feature_dim)
    for start in range(0, len(points), num_at_once):
        placed = frame.place(points[start : start + num_at_once])
        rows = extended[start : start + len(placed)]
        rows[:, :-2], rows[:, -2], rows[:, -1] = placed, 1.0, placed.square().sum(1)
    return extended


def count_at_once(feature_dim: int) -> int:
    """How many points of that dimension are held at once in float64."""
    return max(1, FEATURES_AT_ONCE // feature_dim)


def make_frame(first: Tensor, second: Tensor) -> Frame:
    """Centred on the first set, so that an offset costs no digits; the farthest point lies at most one unit away."""
    centre = first.mean(0, dtype=torch.float64)
    corners = torch.stack([first.amin(0), first.amax(0), second.amin(0), second.amax(0)])
    farthest = float((corners - centre).abs().amax()) * math.sqrt(len(centre))
    return Frame(centre=centre, unit=2.0 ** math.frexp(farthest)[1])


def _fast_dtype() -> torch.dtype:
    """Float32 where its products are float32, and not TF32 or bfloat16."""
    return torch.float32 if torch.get_float32_matmul_precision() == "highest" else torch.float64


def pad_to_groups(num_references: int) -> int:
    """The next number of references that fills whole groups."""
    return -(-num_references // GROUP_SIZE) * GROUP_SIZE
