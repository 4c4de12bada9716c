"""Our data sets and pools as a LightningDataModule, for a Trainer of one's own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning import LightningDataModule
from torch import Tensor

from collapsar.chain.loop import pool_of
from collapsar.chain.run import own_data
from collapsar.data.causes.cause import checked_causes, plant_all
from collapsar.data.pool import REAL, DeviceCache, Part, Pool, PoolBatches, PoolInOrder
from collapsar.foundations.errors import UsageError, check_positive
from collapsar.foundations.samples import Samples, as_samples, from_model_range
from collapsar.foundations.seeding import make_generator
from collapsar.foundations.settings import CONFIG, read_config
from collapsar.journal.store import RunFolder
from collapsar.library.composing import as_overrides, compose_settings, experiment_of, mistakes_named
from collapsar.machine.devices import free_bytes
from collapsar.training.train import VALIDATED_AT_ONCE


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the samples of a data module come from; only `read` opens files."""

    sample_shape: tuple[int, ...]
    num_classes: int
    seed: int
    read: Callable[[], tuple[Pool, Samples | None, Samples | None]]  # pool, test set, real samples for validation


class PoolDataModule(LightningDataModule):
    """Batches of a data set, of what a generation of a chain was trained on, or of tensors, as `Samples`.

    Every epoch is shuffled anew and has whole batches only; the same seed gives the batches of a chain. Validation
    batches are the samples kept for it, test batches the test set. UsageError if there is no such source, or if the
    command would refuse a setting.

    Args:
        source: The name of a data set of conf/data, a run folder, values (uint8 images, images in [0, 1], or vectors),
            `(values, labels)`, `Samples`, or a `Pool`.
        batch_size: Samples in a training batch.
        generation: Of a run folder: the generation that was trained on the pool.
        validation_fraction: Share of the pool that is kept for validation; None keeps none.
        seed: Of the shuffling and the causes; None: 0, or that of the chain.
        settings: Of a data set: `cause=["long_tail"]`, settings of the data such as `num_train=0.1`, or any other
            setting by its dotted key.
    """

    def __init__(
        self,
        source: str | Path | Tensor | Sequence[Tensor] | Samples | Pool,
        *,
        batch_size: int = 128,
        generation: int = 0,
        validation_fraction: float | None = None,
        seed: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        check_positive(batch_size=batch_size)
        if validation_fraction is not None and not 0 < validation_fraction < 1:
            raise UsageError(f"validation_fraction must lie between 0 and 1: got {validation_fraction}")
        is_path = isinstance(source, str) and ("/" in source or Path(source, CONFIG).is_file())
        is_folder = isinstance(source, Path) or is_path
        if settings and (is_folder or not isinstance(source, str)):
            first = next(iter(settings))
            raise UsageError(f"{first} is a setting of a data set by name: leave it out, or name the data")
        if generation and not is_folder:
            raise UsageError(f"generation={generation} needs a run folder: got {type(source).__name__}")
        if is_folder:
            self._origin = folder_origin(Path(str(source)), generation=generation, seed=seed)
        elif isinstance(source, str):
            self._origin = named_origin(source, seed=seed or 0, settings=settings)
        else:
            self._origin = given_origin(source, seed=seed or 0)
        self.sample_shape, self.num_classes = self._origin.sample_shape, self._origin.num_classes  # 0: no classes
        self.batch_size, self.generation, self.validation_fraction = batch_size, generation, validation_fraction
        self.pool: Pool | None = None  # what is trained on, with what is kept for validation; None before `setup`
        self.test: Samples | None = None  # None before `setup`, and for tensors
        self._held_out: Samples | None = None
        self._cache = DeviceCache(free_bytes=free_bytes)

    def setup(self, stage: str | None = None) -> None:
        """Read the samples; a second call does nothing."""
        if self.trainer is not None and (num_devices := self.trainer.world_size) > 1:
            raise UsageError(f"PoolDataModule feeds one device: got {num_devices}; set devices=1 of the Trainer")
        if self.pool is None:
            self.pool, self.test, self._held_out = self._origin.read()

    def train_dataloader(self) -> PoolBatches:
        pool, _, chosen = self._split()
        pool, size, generator = self._cache.move(pool, self._device), self.batch_size, self._generator("batches")
        return PoolBatches(pool, device=self._device, batch_size=size, generator=generator, chosen=chosen)

    def val_dataloader(self) -> PoolInOrder | list[Any]:
        pool, kept, _ = self._split()
        if self._held_out is not None and self.validation_fraction is None:
            return self._in_order(_pool(self._held_out))
        return [] if kept is None else self._in_order(pool, chosen=kept)

    def test_dataloader(self) -> PoolInOrder | list[Any]:
        self.setup()
        return [] if self.test is None else self._in_order(_pool(self.test))

    @property
    def _device(self) -> torch.device:
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    def _generator(self, purpose: str) -> torch.Generator:
        return make_generator(self._origin.seed, self.generation, purpose)

    def _split(self) -> tuple[Pool, Tensor | None, Tensor | None]:
        """The pool, and the indices of what is kept for validation and of the others; None: none, and all."""
        self.setup()
        assert self.pool is not None, "setup reads the pool"
        if self.validation_fraction is None:
            return self.pool, None, None
        order = torch.randperm(len(self.pool), generator=self._generator("validation"))
        num_kept = max(1, round(self.validation_fraction * len(order)))
        return self.pool, order[:num_kept], order[num_kept:]

    def _in_order(self, pool: Pool, *, chosen: Tensor | None = None) -> PoolInOrder:
        chosen = torch.arange(len(pool)) if chosen is None else chosen
        return PoolInOrder(pool, device=self._device, batch_size=max(self.batch_size, VALIDATED_AT_ONCE), chosen=chosen)


def _pool(samples: Samples) -> Pool:
    return Pool((Part(samples, REAL),))


def named_origin(name: str, *, seed: int, settings: Mapping[str, Any]) -> Origin:
    """A data set of conf/data with these settings, and with its causes planted."""
    listed = {key: [value] if key == "cause" and isinstance(value, str) else value for key, value in settings.items()}
    overrides = as_overrides({"data": name, "seed": seed})
    config = compose_settings([*overrides, *as_overrides(listed, others_below="data")])
    with mistakes_named():
        data, cause = instantiate(config.data, _convert_="object"), instantiate(config.cause, _convert_="object")
    shape, num_classes = tuple(data.sample_shape), data.num_classes
    causes = checked_causes(cause, sample_shape=shape, num_classes=num_classes, factors=data.factors)

    def read() -> tuple[Pool, Samples, None]:
        real = plant_all(causes, data.load(), seed=seed)
        return _pool(real.train), real.test, None

    return Origin(sample_shape=shape, num_classes=num_classes, seed=seed, read=read)


def folder_origin(folder: Path, *, generation: int, seed: int | None) -> Origin:
    """The pool that a generation of a chain was, or would be, trained on."""
    if not (folder / CONFIG).is_file():
        raise UsageError(f"{folder} is no run folder: it holds no {CONFIG}; name one of the folders below it")
    if generation < 0:
        raise UsageError(f"generation must be at least 0: got {generation}")
    with mistakes_named():
        parts = experiment_of(read_config(folder / CONFIG)).parts
    shape, num_classes = tuple(parts.data.sample_shape), parts.data.num_classes

    def read() -> tuple[Pool, Samples, Samples | None]:
        real, held_out = own_data(parts, parts.data.load())
        stored = RunFolder(folder).synthetic
        return pool_of(generation, real=real, regime=parts.regime, seed=parts.seed, stored=stored), real.test, held_out

    return Origin(sample_shape=shape, num_classes=num_classes, seed=parts.seed if seed is None else seed, read=read)


def given_origin(given: Any, *, seed: int) -> Origin:
    """Samples that somebody gives; images in [0, 1] are rounded to the levels of uint8."""
    if not isinstance(given, Pool):
        values = given.values if isinstance(given, Samples) else given[0] if isinstance(given, list | tuple) else given
        shape = tuple(values.shape[1:]) if isinstance(values, Tensor) else ()
        if len(shape) not in (1, 3):
            got = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
            allowed = "images [sample, channel, height, width] or vectors [sample, dimension]"
            raise UsageError(f"samples must be {allowed}: got {got}")
        samples = as_samples(given, shape=shape)
        if samples.values.dtype != torch.uint8:
            samples = Samples(from_model_range(samples.values), samples.labels)
        given = _pool(samples)
    shape, labels = given.parts[0].samples.shape, given.labels
    num_classes = 0 if labels is None else int(labels.max()) + 1
    return Origin(sample_shape=shape, num_classes=num_classes, seed=seed, read=lambda: (given, None, None))
