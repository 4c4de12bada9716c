"""Mixtures in the plane with known modes, the classical benchmarks of mode dropping."""

from abc import ABC
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

from collapsar.data.real_data import KnownModes
from collapsar.data.sources.analytic import AnalyticSource
from collapsar.errors import check_positive
from collapsar.samples import Samples


class ModesSource(AnalyticSource, ABC):
    """Equally likely, isotropic normal modes in the plane; a sample's label is its mode.

    Attributes:
        mode_sd: Standard deviation of each mode in each dimension.
    """

    def __init__(
        self,
        *,
        sample_shape: list[int],
        centres: Float[Tensor, "mode 2"],
        mode_sd: float,
        num_train: int,
        num_test: int,
        num_reserve: int,
        seed: int,
    ) -> None:
        super().__init__(
            sample_shape=sample_shape,
            dimensions=2,
            num_classes=len(centres),
            num_train=num_train,
            num_test=num_test,
            num_reserve=num_reserve,
            seed=seed,
        )
        check_positive(mode_sd=mode_sd)
        self.centres, self.mode_sd = centres, mode_sd

    @property
    def known_modes(self) -> KnownModes:
        return KnownModes(self.centres, self.mode_sd)

    def draw(self, num_samples: int, generator: torch.Generator) -> Samples:
        modes = torch.randint(len(self.centres), (num_samples,), generator=generator)
        noise = torch.randn(num_samples, 2, generator=generator)
        return Samples(self.centres[modes] + self.mode_sd * noise, modes)


class Ring(ModesSource):
    """Modes evenly round a circle (the ring of 8 of Srivastava et al. 2017, VEEGAN, and Lin et al. 2018, PacGAN)."""

    name = "ring"

    def __init__(
        self,
        *,
        sample_shape: list[int],
        num_modes: int,
        radius: int | float,
        mode_sd: int | float,
        num_train: int,
        num_test: int,
        num_reserve: int,
        seed: int,
    ) -> None:
        check_positive(num_modes=num_modes, radius=radius)
        angles = 2 * pi * torch.arange(num_modes) / num_modes
        super().__init__(
            sample_shape=sample_shape,
            centres=radius * torch.stack([angles.cos(), angles.sin()], dim=1),
            mode_sd=float(mode_sd),
            num_train=num_train,
            num_test=num_test,
            num_reserve=num_reserve,
            seed=seed,
        )


class Grid(ModesSource):
    """Modes on a square grid around 0 (the grid of 25 of VEEGAN and PacGAN: 5 a side, 2 apart, sd .05).

    Args:
        modes_per_side: The grid has modes_per_side² modes.
        spacing: Distance between neighbouring modes.
    """

    name = "grid"

    def __init__(
        self,
        *,
        sample_shape: list[int],
        modes_per_side: int,
        spacing: int | float,
        mode_sd: int | float,
        num_train: int,
        num_test: int,
        num_reserve: int,
        seed: int,
    ) -> None:
        check_positive(modes_per_side=modes_per_side, spacing=spacing)
        places = spacing * (torch.arange(modes_per_side) - (modes_per_side - 1) / 2)
        super().__init__(
            sample_shape=sample_shape,
            centres=torch.cartesian_prod(places, places),
            mode_sd=float(mode_sd),
            num_train=num_train,
            num_test=num_test,
            num_reserve=num_reserve,
            seed=seed,
        )
