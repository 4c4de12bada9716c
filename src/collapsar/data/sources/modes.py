"""Mixtures in the plane with known modes, the classical benchmarks of mode dropping."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

from collapsar.data.real_data import KnownModes
from collapsar.data.sources.analytic import VectorSource
from collapsar.foundations.errors import check_positive
from collapsar.foundations.samples import Samples


@dataclass(kw_only=True, eq=False)
class ModesSource(VectorSource, ABC):
    """Equally likely, isotropic normal modes in the plane; a sample's label is its mode."""

    mode_sd: int | float  # in each dimension

    def __post_init__(self) -> None:
        check_positive(mode_sd=self.mode_sd)
        self.centres = self.make_centres()
        self.known_modes = KnownModes(self.centres, float(self.mode_sd))
        self.begin(dimensions=2, num_classes=len(self.centres))

    @abstractmethod
    def make_centres(self) -> Float[Tensor, "mode 2"]:
        """The centres of the modes."""

    def draw(self, num_samples: int, generator: torch.Generator) -> Samples:
        modes = torch.randint(len(self.centres), (num_samples,), generator=generator)
        noise = torch.randn(num_samples, 2, generator=generator)
        return Samples(self.centres[modes] + self.mode_sd * noise, modes)


@dataclass(kw_only=True, eq=False)
class Ring(ModesSource):
    """Modes evenly round a circle (the ring of 8 of Srivastava et al. 2017, VEEGAN, and Lin et al. 2018, PacGAN)."""

    name = "ring"

    num_modes: int
    radius: int | float

    def __post_init__(self) -> None:
        check_positive(num_modes=self.num_modes, radius=self.radius)
        super().__post_init__()

    def make_centres(self) -> Float[Tensor, "mode 2"]:
        angles = 2 * pi * torch.arange(self.num_modes) / self.num_modes
        return self.radius * torch.stack([angles.cos(), angles.sin()], dim=1)


@dataclass(kw_only=True, eq=False)
class Grid(ModesSource):
    """Modes on a square grid around 0 (the grid of 25 of VEEGAN and PacGAN: 5 a side, 2 apart, sd .05)."""

    name = "grid"

    modes_per_side: int
    spacing: int | float  # between neighbouring modes

    def __post_init__(self) -> None:
        check_positive(modes_per_side=self.modes_per_side, spacing=self.spacing)
        super().__post_init__()

    def make_centres(self) -> Float[Tensor, "mode 2"]:
        places = self.spacing * (torch.arange(self.modes_per_side) - (self.modes_per_side - 1) / 2)
        return torch.cartesian_prod(places, places)
