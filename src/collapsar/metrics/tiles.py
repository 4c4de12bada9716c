"""Squared distances of all references to all queries, a tile at a time: no distance matrix is ever whole.

A tile holds the squared distances of all references to a few queries, and is one matrix product of extended points,
[y, 1, |y|²] · [-2x, |x|², 1] = |x - y|². It is taken in float32 around the mean of one set, and whoever reads it says
which queries are in doubt, because rounding could decide: these are done again in float64. So one gets the answer of
float64 at the price of float32, and it depends on neither tile nor batch nor device.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

TILE_ELEMENTS = 2**22  # squared distances in float32 that are held at once: 16 MB, which a cache may keep
MAX_TILE_QUERIES = 384  # more save nothing
GROUP_SIZE = 16  # references that share one minimum


@dataclass(frozen=True)
class Frame:
    """Centre and unit of all distances; the unit is a power of two, so that dividing by it rounds nothing."""

    centre: Float64[Tensor, " feature"]
    unit: float

    def place(self, points: Tensor) -> Tensor:
        return (points.double() - self.centre).div_(self.unit)

    def measure(self, points: Tensor) -> Tensor:
        """Distance of each point from the centre, in blocks that keep the copy small."""
        return torch.cat([self.place(block).norm(dim=1) for block in points.split(MAX_TILE_QUERIES)])


@dataclass(frozen=True)
class Tile:
    """Squared distances of all references to some queries; the references are padded with points at infinity.

    The long side first: products and minima of this shape take half the time of the transposed one.

    Attributes:
        values: squared distances in units of the frame.
        scratch: memory of the same shape, free to use.
        queries: which queries these are.
        norms: their distances from the centre.
        relative_error: of a value, relative to the square that `bound_error` forms.
    """

    values: Float[Tensor, "reference query"]
    scratch: Float[Tensor, "reference query"]
    queries: Int64[Tensor, " query"]
    norms: Float[Tensor, " query"]
    relative_error: float

    @property
    def dtype(self) -> torch.dtype:
        return self.values.dtype

    @property
    def columns(self) -> Int64[Tensor, " query"]:
        """The places of the queries in the tile."""
        return torch.arange(len(self.queries), device=self.queries.device)

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


def visit_tiles(
    visit: Callable[[Tile], Tensor], *, queries: Tensor, references: Tensor, frame: Frame, tile_elements: int
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
    chosen: Tensor, queries: Tensor, references: Tensor, *, frame: Frame, dtype: torch.dtype, tile_elements: int
) -> Iterator[Tile]:
    """Tiles of the chosen queries, one after the other in the same memory."""
    extended_references = _extend_references(references, frame=frame, dtype=dtype)
    num_rows, size = len(extended_references), extended_references.element_size()
    num_columns = _choose_num_columns(num_rows, tile_elements=tile_elements * 4 // size)
    relative_error = torch.finfo(dtype).eps * (4.0 + math.sqrt(queries.shape[1]))
    buffer = torch.empty(num_rows * min(num_columns, len(chosen)), dtype=dtype, device=queries.device)
    scratch = torch.empty_like(buffer)  # takes no page before it is written to
    for block in chosen.split(num_columns):
        values, spare = (memory[: num_rows * len(block)].view(num_rows, -1) for memory in (buffer, scratch))
        placed = frame.place(queries[block])
        squared_norms = placed.square().sum(1, keepdim=True)
        extended_queries = torch.cat([placed.mul_(-2.0), squared_norms, torch.ones_like(squared_norms)], 1)
        torch.mm(extended_references, extended_queries.to(dtype).T, out=values)
        norms = squared_norms[:, 0].sqrt().to(dtype)
        yield Tile(values, spare, block, norms, relative_error)


def _choose_num_columns(num_rows: int, *, tile_elements: int) -> int:
    num_columns = min(MAX_TILE_QUERIES, tile_elements // num_rows)
    return num_columns // 32 * 32 or max(1, num_columns)  # rows that start at a cache line are written twice as fast


def _extend_references(references: Tensor, *, frame: Frame, dtype: torch.dtype) -> Tensor:
    num_references, feature_dim = references.shape
    extended = torch.zeros(pad_to_groups(num_references), feature_dim + 2, dtype=dtype, device=references.device)
    for start in range(0, num_references, MAX_TILE_QUERIES):
        placed = frame.place(references[start : start + MAX_TILE_QUERIES])
        block = extended[start : start + len(placed)]
        block[:, :-2] = placed
        block[:, -2] = 1.0
        block[:, -1] = placed.square().sum(1)
    extended[num_references:, -1] = math.inf
    return extended


def make_frame(first: Tensor, second: Tensor) -> Frame:
    """Centred on the first set, so that an offset costs no digits; the farthest point lies at most one unit away."""
    around_origin = Frame(centre=first.mean(0, dtype=torch.float64), unit=1.0)
    farthest = max(float(around_origin.measure(first).amax()), float(around_origin.measure(second).amax()))
    return Frame(centre=around_origin.centre, unit=2.0 ** math.frexp(farthest)[1])


def _fast_dtype() -> torch.dtype:
    """Float32 where its products are float32, and not TF32 or bfloat16."""
    return torch.float32 if torch.get_float32_matmul_precision() == "highest" else torch.float64


def pad_to_groups(num_references: int) -> int:
    """The next number of references that fills whole groups."""
    return -(-num_references // GROUP_SIZE) * GROUP_SIZE
