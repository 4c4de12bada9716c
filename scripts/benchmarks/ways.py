"""Four ways to train the same network, each timed in a process of its own.

    plain      a Dataset of PIL images with ToTensor, a DataLoader with workers, a LightningModule, a Trainer's defaults
    lightning  Lightning at its best: tensors and Trainer(barebones=True)
    by_hand    a loop over tensors (`by_hand.py`)
    ours       `training.train` with the shipped recipe

The first three compute in eager float32, ours in the precision of its recipe. Each is timed after its first steps.
"""

import contextlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import get_all_start_methods
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from benchmarks.by_hand import (
    hand_steps,
    make_model,
    make_optimizers,
    matrix_flops,
    moves,
    now,
    step_flops,
    tensor_batches,
)
from benchmarks.composed import Case, device_of, has_files, precision_of, ready_recipe, training_images
from collapsar.data.pool import REAL, Part, Pool
from collapsar.foundations.samples import Samples
from collapsar.machine.devices import forget_peak_memory, peak_memory_bytes
from collapsar.models.learned import LearnedModel
from collapsar.training.train import train
from collapsar.training.trainer import FULL_PRECISION, Recipe

WARM_STEPS = 20  # before the clock starts
MOST_WORKERS = 4


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast a way trains, in one process.

    Attributes:
        images_per_second: After the first steps.
        precision: As Lightning names it.
        matrix_flops: Operations a second that the machine does at best in this precision, measured right afterwards.
        peak_bytes: The largest resident set of the process.
        peak_device_bytes: The most that was allocated on a GPU; 0 without one.
    """

    images_per_second: float
    precision: str
    matrix_flops: float
    peak_bytes: int
    peak_device_bytes: int


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a case is made of.

    Attributes:
        batch_size: Images in a step.
        num_parameters: Of all players.
        num_steps: Of a generation, as shipped.
        step_flops: Operations of a step.
        has_files: Whether the real images can be read without a download.
    """

    batch_size: int
    num_parameters: int
    num_steps: int
    step_flops: float
    has_files: bool


class Enough(Exception):  # noqa: N818  it ends a training that has been timed
    """All steps that were asked for are timed."""


@dataclass
class Clock:
    """Times steps between the first ones and the last one, and then ends the training."""

    num_steps: int
    device: torch.device
    warm_steps: int = WARM_STEPS
    marks: list[tuple[int, float]] = field(default_factory=list)

    def tick(self, num_done: int) -> None:
        """So many steps are done.

        Raises:
            Enough: these are all.
        """
        if num_done >= (self.num_steps if self.marks else self.warm_steps):
            self.marks.append((num_done, now(self.device)))
        if len(self.marks) == 2:
            raise Enough

    @property
    def steps_per_second(self) -> float:
        (first, start), (last, end) = self.marks
        return (last - first) / (end - start)


class ClockCallback(Callback):
    """A clock for trainings by Lightning."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.num_done = clock, 0

    def on_train_batch_end(self, *arguments: Any) -> None:
        self.num_done += 1
        self.clock.tick(self.num_done)


class Ordinary(LightningModule):
    """A network in a LightningModule as one would write it: optimised automatically where it has one player."""

    def __init__(self, network: LearnedModel, *, is_logged: bool, is_fused: bool) -> None:
        super().__init__()
        self.network, self.players = network, network.players()
        self.is_logged, self.is_fused = is_logged, is_fused
        self.automatic_optimization = len(self.players) == 1

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return make_optimizers(self.players, is_fused=self.is_fused)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        samples = Samples(batch[0] if isinstance(batch, list) else batch)
        for number, losses in moves(self.network, self.players, samples, step=batch_idx):
            name, loss = next(iter(losses.items()))
            if self.is_logged:
                self.log(name, loss)
            if self.automatic_optimization:
                return loss
            self._move(number, loss)
        return None

    def _move(self, number: int, loss: Tensor) -> None:
        optimizer, player = self.optimizers()[number], self.players[number]  # type: ignore[index]
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        if player.average is not None:
            player.average.update_parameters(player.module)


class Pictures(Dataset):
    """Images as torchvision's data sets hold them: arrays, a PIL image when one is asked for, then a transform."""

    def __init__(self, samples: Samples) -> None:
        self.arrays = samples.values.permute(0, 2, 3, 1).squeeze(-1).contiguous().numpy()
        self.labels = [0] * len(samples) if samples.labels is None else samples.labels.tolist()
        self.transform = ToTensor()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.arrays[index])), self.labels[index]


class TensorBatches:
    """Batches of tensors for Lightning, shuffled anew each epoch."""

    def __init__(self, images: Tensor, batch_size: int) -> None:
        self.images, self.batch_size = images, batch_size

    def __len__(self) -> int:
        return len(self.images) // self.batch_size

    def __iter__(self) -> Iterator[Tensor]:
        return tensor_batches(self.images, self.batch_size)


def plain(recipe: Recipe, samples: Samples, clock: Clock) -> None:
    """As the tutorials have it."""
    module = Ordinary(make_model(recipe, torch.device("cpu")), is_logged=True, is_fused=False)
    num_workers = min(MOST_WORKERS, os.cpu_count() or 1)
    loader = DataLoader(
        Pictures(samples),
        batch_size=recipe.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=num_workers,
        persistent_workers=True,  # else the start of an epoch is timed as well
        multiprocessing_context=get_all_start_methods()[0],  # the default; that of a fresh process imports for long
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(max_epochs=-1, devices=1, default_root_dir=folder, callbacks=[ClockCallback(clock)])
        trainer.fit(module, loader)


def lightning(recipe: Recipe, samples: Samples, clock: Clock) -> None:
    """Without anything that Lightning does beside the steps."""
    module = Ordinary(make_model(recipe, clock.device), is_logged=False, is_fused=True)
    batches = TensorBatches(samples.values.to(clock.device), recipe.batch_size)
    Trainer(barebones=True, max_epochs=-1, devices=1, callbacks=[ClockCallback(clock)]).fit(module, batches)


def by_hand(recipe: Recipe, samples: Samples, clock: Clock) -> None:
    """Without Lightning."""
    for num_done, _ in enumerate(hand_steps(recipe, samples.values.to(clock.device)), start=1):
        clock.tick(num_done)


def ours(recipe: Recipe, samples: Samples, clock: Clock) -> None:
    """As a chain trains its generation 0, but for its end."""
    pool = Pool((Part(samples, REAL),))
    train(recipe, pool, seed=0, generation=0, on_steps=lambda epoch, num_done: clock.tick(num_done))


WAYS: dict[str, Callable[[Recipe, Samples, Clock], None]] = {
    "plain": plain,
    "lightning": lightning,
    "by_hand": by_hand,
    "ours": ours,
}


def measure_pace(case: Case, way: str, *, warm_steps: int, num_steps: int, is_random: bool) -> Pace:
    """Train for some steps in one of the ways, timed after the first ones, on real images or random ones."""
    with quiet():
        experiment, _ = case.composed()
        recipe = ready_recipe(experiment)
        device = device_of(recipe)
        samples = training_images(experiment.data, is_random=is_random)
        clock = Clock(num_steps, device, warm_steps)
        forget_peak_memory()
        with contextlib.suppress(Enough):
            WAYS[way](recipe, samples, clock)
        precision = precision_of(recipe) if way == "ours" else FULL_PRECISION
        return Pace(
            images_per_second=clock.steps_per_second * recipe.batch_size,
            precision=precision,
            peak_bytes=peak_memory_bytes(),
            peak_device_bytes=torch.cuda.max_memory_allocated() if device.type == "cuda" else 0,
            matrix_flops=matrix_flops(precision, device),
        )


def describe_work(case: Case) -> Work:
    """What a case is made of, counted on the CPU."""
    with quiet():
        experiment, _ = case.composed()
        recipe = ready_recipe(experiment)
        model = make_model(recipe, torch.device("cpu"))
        images = training_images(experiment.data, is_random=True).values
        modules = [player.module for player in model.players()]
        return Work(
            batch_size=recipe.batch_size,
            num_parameters=sum(weight.numel() for module in modules for weight in module.parameters()),
            num_steps=experiment.parts.max_steps,
            step_flops=step_flops(recipe, images),
            has_files=has_files(experiment.data),
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing on the terminal, whatever libraries and progress bars write."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with (
        open(os.devnull, "w") as nowhere,  # noqa: PTH123  a device, not a path
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield
