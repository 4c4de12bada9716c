"""Road scenes with a known distribution: pictures drawn from six independent factors, with a long tail of hazards.

A sample's label is the combination of its factors, one of 96 whose shares are known exactly. A camera looks along a
road to a horizon. Everything that is not a factor is random: places, sizes and colours. Edges are one pixel soft; for
straight edges this is anti-aliasing by the exact area. Depth runs from 0 at the horizon to 1 at the lower border.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from collapsar.data.real_data import DrawnSource, Factor, Factors, Sizes
from collapsar.foundations.errors import UsageError, check_fraction
from collapsar.foundations.samples import Samples, quantise

SIDE, HORIZON = 32, 11.0  # pixels
PIXELS = torch.arange(SIDE).float()  # the places of rows, and of columns
DEPTHS = ((PIXELS - HORIZON) / (SIDE - 1 - HORIZON)).clamp(0, 1)  # of rows
PICTURES_AT_ONCE = 1000  # bounds memory only

BENDS = ("straight", "left", "right")
PRESENCES = ("vehicle", "pedestrian", "night", "fog", "occlusion")
FACTORS = ("road", *PRESENCES)
NUM_COMBINATIONS = len(BENDS) * 2 ** len(PRESENCES)
ROAD_BENDS = (0.0, -10.0, 10.0)  # of straight, left and right, in pixels at the horizon

Images = Float[Tensor, "sample 3 height width"]
Coverage = Float[Tensor, "sample row column"]
Places = Float[Tensor, "sample 1"]
Colour = Tensor | tuple[float, float, float]  # red, green and blue in [0, 1]; one for all pictures, or one for each
SKY, SKY_AT_HORIZON = (0.42, 0.63, 0.92), (0.78, 0.88, 0.98)
NIGHT_SKY, NIGHT_SKY_AT_HORIZON = (0.02, 0.03, 0.10), (0.08, 0.10, 0.22)
SUN, MOON = (1.0, 0.93, 0.55), (0.85, 0.86, 0.80)
GRASS, ASPHALT, LINE = (0.35, 0.58, 0.26), (0.40, 0.40, 0.43), (0.96, 0.96, 0.92)
PAINTS = ((0.80, 0.12, 0.12), (0.14, 0.27, 0.75), (0.93, 0.93, 0.95), (0.95, 0.75, 0.10))  # of vehicles
GLASS, TYRE, TAIL_LIGHT = (0.20, 0.26, 0.33), (0.06, 0.06, 0.07), (1.0, 0.15, 0.10)
COATS = ((0.98, 0.45, 0.05), (0.90, 0.10, 0.55), (0.98, 0.90, 0.20), (0.35, 0.95, 0.45))  # of pedestrians
SKIN, TROUSERS = (0.93, 0.76, 0.62), (0.10, 0.10, 0.22)
BOARD, STRIPE = (0.97, 0.97, 0.97), (0.85, 0.08, 0.08)  # of the barrier
FOG, NIGHT_FOG = (0.80, 0.82, 0.84), (0.26, 0.27, 0.31)
AMBIENT = (0.26, 0.28, 0.40)  # share of each colour that is left at night

NUISANCES = (
    *("road_place", "road_bend", "road_width", "dashes", "light", "sun_place", "sun_height"),
    *("vehicle_depth", "vehicle_lane", "vehicle_place", "vehicle_paint"),
    *("pedestrian_depth", "pedestrian_place", "pedestrian_coat", "pedestrian_size"),
    *("barrier_place", "barrier_height", "barrier_width", "fog_density"),
)


class Scenes(DrawnSource):
    """Pictures of a road whose factors are drawn independently; `left` to `occlusion` are shares of all scenes."""

    name = "scenes"
    factors: Factors

    def __init__(
        self,
        *,
        sample_shape: list[int],
        left: int | float,
        right: int | float,
        vehicle: int | float,
        pedestrian: int | float,
        night: int | float,
        fog: int | float,
        occlusion: int | float,
        num_train: int,
        num_test: int,
        num_reserve: int,
        seed: int,
    ) -> None:
        sizes = Sizes(num_train, num_test, num_reserve)
        super().__init__(sample_shape=sample_shape, sizes=sizes, num_classes=NUM_COMBINATIONS, seed=seed)
        if list(sample_shape) != [3, SIDE, SIDE]:
            raise UsageError(f"data.sample_shape must be [3, {SIDE}, {SIDE}]: got {sample_shape}")
        present = dict(zip(PRESENCES, map(float, (vehicle, pedestrian, night, fog, occlusion)), strict=True))
        check_fraction(**{f"data.{name}": share for name, share in {"left": left, "right": right, **present}.items()})
        if left + right > 1:
            raise UsageError(f"data.left and data.right must sum to 1 at most: got {left} and {right}")
        road = Factor("road", BENDS, (1.0 - left - right, float(left), float(right)))
        others = (Factor(name, (f"no {name}", name), (1 - share, share)) for name, share in present.items())
        self.factors = Factors((road, *others), hazard="pedestrian")

    def draw(self, num_samples: int, generator: torch.Generator) -> Samples:
        levels = self.factors.draw(num_samples, generator=generator)
        return Samples(draw_scenes(levels, generator=generator), self.factors.labels(levels))


class Layout:
    """What is in the pictures: the level of each factor, and a uniform number in [0, 1) for each nuisance."""

    def __init__(self, levels: Int64[Tensor, "sample 6"], draws: Float[Tensor, "sample nuisance"]) -> None:
        self.levels = dict(zip(FACTORS, levels.split(1, dim=1), strict=True))
        self.draws = dict(zip(NUISANCES, draws.split(1, dim=1), strict=True))

    def between(self, nuisance: str, low: float, high: float) -> Places:
        """A nuisance, uniform between two values."""
        return low + (high - low) * self.draws[nuisance]

    def chosen(self, nuisance: str, colours: tuple[tuple[float, ...], ...]) -> Float[Tensor, "sample 3"]:
        """One of some colours, with equal probability."""
        return torch.tensor(colours)[(self.draws[nuisance].squeeze(1) * len(colours)).long()]

    def by_light(self, *, night: Colour, day: Colour) -> Float[Tensor, "sample 3"]:
        return torch.where(self.levels["night"].bool(), torch.as_tensor(night), torch.as_tensor(day))

    def centre(self, depth: Tensor) -> Float[Tensor, "sample place"]:
        """The middle of the road at some depths, in pixels from the left."""
        bend = torch.tensor(ROAD_BENDS)[self.levels["road"]] + self.between("road_bend", -1.5, 1.5)
        return self.between("road_place", 14.5, 16.5) + bend * (1 - depth) ** 2

    def half_width(self, depth: Tensor) -> Float[Tensor, "sample place"]:
        """Half of the road's width at some depths, in pixels."""
        return 1.0 + self.between("road_width", 10.0, 12.0) * depth


def draw_scenes(levels: Int64[Tensor, "sample 6"], *, generator: torch.Generator) -> UInt8[Tensor, "sample 3 32 32"]:
    """A picture for each combination of levels; the factors are in the order of FACTORS."""
    draws = torch.rand(len(levels), len(NUISANCES), generator=generator)
    pictures = torch.empty(len(levels), 3, SIDE, SIDE, dtype=torch.uint8)
    for place in torch.arange(len(levels)).split(PICTURES_AT_ONCE):
        pictures[place] = quantise(_picture(levels[place], draws[place]))
    return pictures


def _picture(levels: Int64[Tensor, "sample 6"], draws: Float[Tensor, "sample nuisance"]) -> Images:
    images = _land(Layout(levels, draws))
    for factor, paint_on in LAYERS.items():
        chosen = levels[:, FACTORS.index(factor)].nonzero()[:, 0]
        some = images[chosen]
        paint_on(some, Layout(levels[chosen], draws[chosen]))
        images[chosen] = some
    return images


def _land(layout: Layout) -> Images:
    sky = layout.by_light(night=_before_night(NIGHT_SKY), day=SKY)
    at_horizon = layout.by_light(night=_before_night(NIGHT_SKY_AT_HORIZON), day=SKY_AT_HORIZON)
    height = (PIXELS / HORIZON).clamp(0, 1)[:, None]  # 1 at the horizon
    images = torch.lerp(sky[:, :, None, None], at_horizon[:, :, None, None], height).repeat(1, 1, 1, SIDE)
    star = _disc(layout.between("sun_place", 2.0, 30.0), layout.between("sun_height", 2.5, 5.5), radius=1.8)
    _paint(images, star, layout.by_light(night=_before_night(MOON), day=SUN))
    is_land = (PIXELS > HORIZON).float()[:, None]
    light = layout.between("light", 0.9, 1.1)
    _paint(images, is_land, light * torch.tensor(GRASS))
    centre = layout.centre(DEPTHS)
    _paint(images, is_land * _strip(centre, layout.half_width(DEPTHS)), light * torch.tensor(ASPHALT))
    is_dash = ((2.6 / (DEPTHS + 0.35) + layout.draws["dashes"]) % 1 < 0.5).float()
    dashes = is_land * _strip(centre, 0.15 + 0.55 * DEPTHS) * is_dash[:, :, None]
    _paint(images, dashes, light * torch.tensor(LINE))
    return images


def _paint_vehicle(images: Tensor, layout: Layout) -> None:
    depth = layout.between("vehicle_depth", 0.30, 0.62)
    side = torch.where(layout.draws["vehicle_lane"] < 0.5, -1.0, 1.0)
    half = 1.4 + 4.6 * depth  # pixels
    x = layout.centre(depth) + side * layout.half_width(depth) * layout.between("vehicle_place", 0.35, 0.6)
    ground = _row(depth)
    middle = ground - 0.75 * half
    for edge in (-1, 1):
        _paint(images, _box(x + edge * 0.7 * half, ground - 0.1 * half, 0.22 * half, 0.3 * half), TYRE)
    paint = layout.chosen("vehicle_paint", PAINTS)
    _paint(images, _box(x, middle, half, 0.55 * half), paint)
    _paint(images, _box(x, middle - 0.85 * half, 0.75 * half, 0.5 * half), paint)
    _paint(images, _box(x, middle - 0.8 * half, 0.58 * half, 0.32 * half), GLASS)
    lights = layout.by_light(night=_before_night(TAIL_LIGHT), day=TAIL_LIGHT)
    for edge in (-1, 1):
        _paint(images, _box(x + edge * 0.75 * half, middle, 0.24 * half, 0.22 * half), lights)


def _paint_pedestrian(images: Tensor, layout: Layout) -> None:
    depth = layout.between("pedestrian_depth", 0.3, 0.75)
    height = (5.0 + 7.0 * depth) * layout.between("pedestrian_size", 0.95, 1.15)
    x = layout.centre(depth) + layout.between("pedestrian_place", -1.0, 1.0) * (layout.half_width(depth) + 2)
    x, feet = x.clamp(2, SIDE - 3), _row(depth)
    _paint(images, _box(x, feet - 0.2 * height, 0.13 * height, 0.22 * height), TROUSERS)
    _paint(images, _box(x, feet - 0.58 * height, 0.19 * height, 0.22 * height), layout.chosen("pedestrian_coat", COATS))
    _paint(images, _disc(x, feet - 0.9 * height, radius=0.13 * height + 0.25), SKIN)


def _paint_barrier(images: Tensor, layout: Layout) -> None:
    """A striped board in the foreground; it hides legs and wheels behind it, but never a whole person."""
    x, y = layout.between("barrier_place", 10.0, 22.0), layout.between("barrier_height", 21.5, 25.5)
    half_width = layout.between("barrier_width", 7.0, 10.0)
    board = _box(x, y, half_width, 2.2)
    slanted = PIXELS + PIXELS[:, None] - (x + y)[:, :, None]
    for edge in (-1, 1):
        _paint(images, _box(x + edge * 0.7 * half_width, y + 3.5, 0.6, 2.0), TYRE)
    _paint(images, board, BOARD)
    _paint(images, board * ((slanted / 5.0) % 1 < 0.5).float(), STRIPE)


def _darken(images: Tensor, layout: Layout) -> None:
    """Darken the colours for the night, less where the headlights of the camera's own car shine."""
    reach = ((PIXELS - HORIZON + 2) / 10).clamp(0, 1)[:, None]
    cone = reach * torch.exp(-(((PIXELS - 15.5) / 10.0) ** 2))
    ambient = torch.tensor(AMBIENT)[:, None, None]
    images *= ambient + (0.75 - ambient) * cone * 0.75


def _paint_fog(images: Tensor, layout: Layout) -> None:
    density = layout.between("fog_density", 0.62, 0.78) * (0.45 + 0.55 * (1 - DEPTHS))
    _paint(images, density[:, :, None], layout.by_light(night=NIGHT_FOG, day=FOG))


LAYERS: dict[str, Callable[[Tensor, Layout], None]] = {  # by factor, from back to front
    "vehicle": _paint_vehicle,
    "pedestrian": _paint_pedestrian,
    "occlusion": _paint_barrier,
    "night": _darken,
    "fog": _paint_fog,
}


def _paint(images: Images, coverage: Tensor, colour: Colour) -> None:
    """Blend a colour into every pixel by its coverage in [0, 1]; coverage has rows and columns, or 1 for all alike."""
    coverage = coverage.expand(len(images), SIDE, SIDE)
    images.lerp_(torch.as_tensor(colour)[..., None, None].expand_as(images), coverage[:, None])


def _strip(centre: Float[Tensor, "sample row"], half_width: Tensor) -> Coverage:
    return (half_width[..., None] - (PIXELS - centre[:, :, None]).abs() + 0.5).clamp(0, 1)


def _box(x: Places, y: Places, half_width: Tensor | float, half_height: Tensor | float) -> Coverage:
    columns = (half_width - (PIXELS - x).abs() + 0.5).clamp(0, 1)
    rows = (half_height - (PIXELS - y).abs() + 0.5).clamp(0, 1)
    return rows[:, :, None] * columns[:, None, :]


def _disc(x: Places, y: Places, *, radius: Tensor | float) -> Coverage:
    distance = torch.hypot(PIXELS[:, None] - y[:, :, None], PIXELS - x[:, :, None])
    return (torch.as_tensor(radius)[..., None] - distance + 0.5).clamp(0, 1)


def _row(depth: Places) -> Places:
    return HORIZON + depth * (SIDE - 1 - HORIZON)


def _before_night(colour: tuple[float, float, float]) -> Float[Tensor, " 3"]:
    """A colour that `_darken` turns into the given one, outside the headlights."""
    return torch.tensor(colour) / torch.tensor(AMBIENT)
