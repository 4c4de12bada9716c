"""Road scenes with a known distribution: pictures drawn from six independent factors, with a long tail of hazards.

A sample's label is the combination of its factors, one of 96. conf/data/scenes.yaml has the probability of each level,
so the share of every combination is known exactly.
"""

from functools import cached_property

import torch

from collapsar.cases.scenes.scene_drawing import SIDE, draw_scenes
from collapsar.data.factors import Factor, Factors
from collapsar.data.sources.source import DrawnSource, Sizes
from collapsar.errors import UsageError, check_fraction
from collapsar.samples import Samples

SAMPLE_SHAPE = [3, SIDE, SIDE]
BENDS = ("straight", "left", "right")
PRESENCES = ("vehicle", "pedestrian", "night", "fog", "occlusion")
NUM_COMBINATIONS = len(BENDS) * 2 ** len(PRESENCES)


class Scenes(DrawnSource):
    """Pictures of a road, by day or at night, in fog or not, with or without a vehicle, a pedestrian and a barrier.

    `left` to `occlusion` are shares of all scenes.
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
        present = dict(zip(PRESENCES, (vehicle, pedestrian, night, fog, occlusion), strict=True))
        check_fraction(**{f"data.{name}": share for name, share in {"left": left, "right": right, **present}.items()})
        if left + right > 1:
            raise UsageError(f"data.left and data.right must sum to 1 at most: got {left} and {right}")
        self._bends, self._present = (1.0 - left - right, float(left), float(right)), present

    @cached_property
    def factors(self) -> Factors:
        present = [
            Factor(name, (f"no {name}", name), (1.0 - share, float(share))) for name, share in self._present.items()
        ]
        return Factors((Factor("road", BENDS, self._bends), *present), hazard="pedestrian")

    def draw(self, num_samples: int, generator: torch.Generator) -> Samples:
        levels = self.factors.draw(num_samples, generator=generator)
        return Samples(draw_scenes(levels, generator=generator), self.factors.labels(levels))
