"""Road scenes with a known distribution: pictures drawn from six independent factors, with a long tail of hazards.

A sample's label is the combination of its factors, one of 96. conf/data/scenes.yaml has the probability of each level,
so the share of every combination is known exactly.
"""

from typing import Final

import torch

from collapsar.cases.scenes.scene_drawing import SIDE, draw_scenes
from collapsar.data.factors import Factor, Factors
from collapsar.data.sources.source import DrawnSource, Sizes
from collapsar.errors import UsageError, check_fraction
from collapsar.samples import Samples

SAMPLE_SHAPE: Final = [3, SIDE, SIDE]
PRESENCES: Final = ("vehicle", "pedestrian", "night", "fog", "occlusion")
HAZARD: Final = "pedestrian"
NUM_COMBINATIONS: Final = 3 * 2 ** len(PRESENCES)


class Scenes(DrawnSource):
    """Pictures of a road, by day or at night, in fog or not, with or without a vehicle, a pedestrian and a barrier.

    Args:
        sample_shape: [3, 32, 32].
        left: Share of roads that bend to the left.
        right: Share of roads that bend to the right; the others are straight.
        vehicle: Share of scenes with a vehicle; likewise `pedestrian`, `night` and `fog`.
        occlusion: Share of scenes with a barrier in front, which hides the lower half of what stands behind it.
        num_train: Training samples of generation 0.
        num_test: Held-out samples.
        num_reserve: For regimes that take fresh real samples; 0 for none.
        seed: The experiment's seed.

    Raises:
        UsageError: a share or a size is out of range, or the shape is another one.
    """

    name = "scenes"

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
        super().__init__(
            sample_shape=sample_shape,
            sizes=Sizes(num_train, num_test, num_reserve),
            num_classes=NUM_COMBINATIONS,
            seed=seed,
        )
        if list(sample_shape) != SAMPLE_SHAPE:
            raise UsageError(f"data.sample_shape must be {SAMPLE_SHAPE}: got {sample_shape}")
        shares = (vehicle, pedestrian, night, fog, occlusion)
        for name, share in (("left", left), ("right", right), *zip(PRESENCES, shares, strict=True)):
            check_fraction(**{f"data.{name}": share})
        if left + right > 1:
            raise UsageError(f"data.left and data.right must sum to 1 at most: got {left} and {right}")
        road = Factor("road", ("straight", "left", "right"), (1.0 - left - right, float(left), float(right)))
        present = [
            Factor(name, (f"no {name}", name), (1.0 - share, float(share)))
            for name, share in zip(PRESENCES, shares, strict=True)
        ]
        self._factors = Factors((road, *present), hazard=HAZARD)

    @property
    def factors(self) -> Factors:
        return self._factors

    def draw(self, num_samples: int, generator: torch.Generator) -> Samples:
        levels = self.factors.draw(num_samples, generator=generator)
        return Samples(draw_scenes(levels, generator=generator), self.factors.labels(levels))
