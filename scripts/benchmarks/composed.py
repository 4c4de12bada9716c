"""What `collapsar-bench training` measures: experiments as the command line composes them, on real or random images."""

from dataclasses import dataclass
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from collapsar.config import composition
from collapsar.config.experiment import Experiment
from collapsar.data.real_data import Source
from collapsar.data.sources.real import TorchvisionSource
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.foundations.settings import config_folder
from collapsar.training.trainer import Recipe, make_trainer

NUM_RANDOM_IMAGES = 10_000  # a pace needs no more


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model on a data set.

    Attributes:
        data: As in conf/data.
        model: As in conf/model.
        overrides: Further settings, as for `collapsar`.
    """

    data: str
    model: str
    overrides: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.data} {self.model}"

    def composed(self, *more: str) -> tuple[Experiment, dict[str, Any]]:
        """The experiment with these settings, and the settings.

        Raises:
            UsageError: settings that no experiment has.
        """
        composition.register()
        chosen = (f"data={self.data}", f"model={self.model}", "tracking=none", "alarm=none", *self.overrides, *more)
        try:
            with initialize_config_dir(str(config_folder()), version_base="1.3"):
                config = compose("config", overrides=list(chosen))
        except HydraException as error:
            raise UsageError(" ".join(str(error).partition("Config search path")[0].split())) from error
        return composition.build(config), composition.settings(config)


def ready_recipe(experiment: Experiment) -> Recipe:
    """How a new chain of the experiment trains on this machine, whose threads are set."""
    return experiment.parts.recipe.on(experiment.parts.machine(None))


def device_of(recipe: Recipe) -> torch.device:
    """Where a recipe trains."""
    device: torch.device = make_trainer(recipe.trainer).strategy.root_device
    return device


def precision_of(recipe: Recipe) -> str:
    """The precision it trains in, as Lightning names it."""
    return str(make_trainer(recipe.trainer).precision)


def has_files(source: Source) -> bool:
    """Whether its images can be read without a download."""
    if not isinstance(source, TorchvisionSource):
        return True
    return all((source.root / source.folder / name).is_file() for name in source.checksums)


def training_images(source: Source, *, is_random: bool) -> Samples:
    """The real training set, or random images of its shape."""
    if not is_random:
        return source.load().train
    generator = torch.Generator().manual_seed(0)
    count = min(NUM_RANDOM_IMAGES, source.sizes.train)
    images = torch.randint(256, (count, *source.sample_shape), generator=generator, dtype=torch.uint8)
    return Samples(images, torch.randint(source.num_classes, (count,), generator=generator))
