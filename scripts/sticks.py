"""Train the measuring sticks of collapsar, and write them to where the package reads them.

Each is trained on the official training set less the images that no stick sees (`StickSplit`), or on scenes of a seed
of its own in which all levels of a factor are equally likely. It is trained on one thread of the CPU from a fixed seed:
on one machine, the same command gives the same content hash. Another processor rounds otherwise
and gives another one, so the files of a release are made once. A stick that is made anew gets a new version,
here and in conf/stick; tests/judging/spaces/test_sticks.py then wants its fixture made anew too.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from collapsar.cases.scenes.scenes import NUM_COMBINATIONS, Scenes
from collapsar.data.real_data import Factors, Source
from collapsar.data.sources.real import CIFAR10, MNIST, Digits
from collapsar.foundations.samples import Samples, to_model_range
from collapsar.judging.spaces.preprocessing import binomial_blur
from collapsar.judging.spaces.stick import FOLDER, METADATA_KEY, Architecture, Stick

MOMENTUM = 0.9
WARM_UP = 0.2  # share of the steps in which the learning rate rises
SEED_OF_SCENES = 2**31 - 1  # of the scenes that the stick sees; no chain should have it
AVERAGED_EVERY, AVERAGING = 5, 0.97  # steps, and decay of the running mean of weights that is kept


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done to images, a fresh draw for each and in each epoch.

    Attributes:
        shift: The largest shift, in pixels.
        padding: What comes in at the border: constant (black) or reflect.
        flip: Whether half of them are mirrored left to right.
        cutout: Side of a square of mid-grey, in pixels; 0 for none.
        corrupted: Share of them that is blurred and made noisy. A stick that never saw such images reads them as other
            classes, and reports dropped modes that are not.
        noise_std: The largest standard deviation of their noise, in units of the [0, 1] range.
    """

    shift: int
    padding: str
    flip: bool
    cutout: int
    corrupted: float
    noise_std: float

    def __call__(self, images: Tensor, *, generator: torch.Generator) -> Tensor:
        draws = torch.rand(len(images), 6, generator=generator)
        images = self._crop(images, draws[:, 0], draws[:, 1])
        if self.flip:
            images = torch.where(draws[:, 2, None, None, None] < 0.5, images, images.flip(3))
        if self.cutout:
            images = self._cut_out(images, draws[:, 3], draws[:, 4])
        chosen = (draws[:, 5] < self.corrupted).nonzero().squeeze(1)
        images[chosen] = self._corrupt(images[chosen], generator)
        return images

    def _crop(self, images: Tensor, down: Tensor, right: Tensor) -> Tensor:
        height, width = images.shape[2:]
        padded = F.pad(images, [self.shift] * 4, mode=self.padding)
        rows = (down * (2 * self.shift + 1)).long()[:, None] + torch.arange(height)
        columns = (right * (2 * self.shift + 1)).long()[:, None] + torch.arange(width)
        samples = torch.arange(len(images))[:, None, None]
        return padded.permute(0, 2, 3, 1)[samples, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

    def _cut_out(self, images: Tensor, down: Tensor, right: Tensor) -> Tensor:
        height, width = images.shape[2:]
        is_row, is_column = (
            (torch.arange(side) - (draw * side).long()[:, None] + self.cutout // 2).ge(0)
            & (torch.arange(side) - (draw * side).long()[:, None] + self.cutout // 2).lt(self.cutout)
            for side, draw in ((height, down), (width, right))
        )
        return images.masked_fill((is_row[:, :, None] & is_column[:, None, :])[:, None], 0.5)

    def _corrupt(self, images: Tensor, generator: torch.Generator) -> Tensor:
        draws = torch.rand(len(images), 2, 1, 1, 1, generator=generator)
        noise = torch.randn(images.shape, generator=generator)
        blurred = torch.lerp(images, binomial_blur(images), draws[:, 0])
        return (blurred + noise * draws[:, 1] * self.noise_std).clamp(0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a stick is trained: SGD with Nesterov momentum, a rate that rises linearly and falls linearly to zero.

    Attributes:
        num_epochs: Passes over the images that sticks see.
        batch_size: Images in a step.
        peak_rate: The highest learning rate.
        weight_decay: Of kernels and matrices.
        label_smoothing: Share of the target that is spread over all classes.
        augmentation: Of the images.
        seed: Of weights, order and augmentation.
    """

    num_epochs: int
    batch_size: int
    peak_rate: float
    weight_decay: float
    label_smoothing: float
    augmentation: Augmentation
    seed: int

    def rate(self, step: int, *, num_steps: int) -> float:
        """The learning rate of a step."""
        progress = (step + 1) / num_steps
        return self.peak_rate * min(progress / WARM_UP, (1 - progress) / (1 - WARM_UP))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A stick to be made; another version in each release that makes it anew."""

    source: Source
    version: int
    architecture: Architecture
    training: Training


RECIPES = {
    "digits": Recipe(
        source=Digits(sample_shape=[1, 8, 8], num_train=None),
        version=1,
        architecture=Architecture(sample_shape=(1, 8, 8), num_classes=10, stem_width=16, widths=(32, 64)),
        training=Training(
            num_epochs=60,
            batch_size=64,
            peak_rate=0.1,
            weight_decay=0.0005,
            label_smoothing=0.1,
            augmentation=Augmentation(shift=1, padding="constant", flip=False, cutout=0, corrupted=0.5, noise_std=0.3),
            seed=0,
        ),
    ),
    "mnist": Recipe(
        source=MNIST(sample_shape=[1, 28, 28], num_train=None, root=None),
        version=1,
        architecture=Architecture(sample_shape=(1, 28, 28), num_classes=10, stem_width=8, widths=(16, 32, 64)),
        training=Training(
            num_epochs=20,
            batch_size=256,
            peak_rate=0.1,
            weight_decay=0.0005,
            label_smoothing=0.1,
            augmentation=Augmentation(shift=3, padding="constant", flip=False, cutout=0, corrupted=0.5, noise_std=0.3),
            seed=0,
        ),
    ),
    "cifar10": Recipe(
        source=CIFAR10(sample_shape=[3, 32, 32], num_train=None, root=None),
        version=1,
        architecture=Architecture(sample_shape=(3, 32, 32), num_classes=10, stem_width=24, widths=(48, 96, 128)),
        training=Training(
            num_epochs=50,
            batch_size=256,
            peak_rate=0.3,
            weight_decay=0.0005,
            label_smoothing=0.1,
            augmentation=Augmentation(shift=4, padding="reflect", flip=True, cutout=10, corrupted=0.25, noise_std=0.1),
            seed=0,
        ),
    ),
    "scenes": Recipe(
        source=Scenes(
            sample_shape=[3, 32, 32],
            left=1 / 3,
            right=1 / 3,
            **dict.fromkeys(("vehicle", "pedestrian", "night", "fog", "occlusion"), 0.5),
            num_train=40_000,
            num_test=10_000,
            num_reserve=0,
            seed=SEED_OF_SCENES,
        ),
        version=1,
        architecture=Architecture(
            sample_shape=(3, 32, 32),
            num_classes=NUM_COMBINATIONS,
            stem_width=16,
            widths=(32, 48, 64),
            num_levels=(3, 2, 2, 2, 2, 2),
        ),
        training=Training(
            num_epochs=5,
            batch_size=128,
            peak_rate=0.1,
            weight_decay=0.0005,
            label_smoothing=0.0,
            augmentation=Augmentation(shift=1, padding="reflect", flip=False, cutout=0, corrupted=0.5, noise_std=0.1),
            seed=0,
        ),
    ),
}


def train(recipe: Recipe, images: Samples) -> nn.Module:
    """A trained network: the running mean of its weights."""
    settings, generator = recipe.training, torch.Generator().manual_seed(recipe.training.seed)
    torch.set_num_threads(1)  # so that the result does not depend on how many there are
    torch.manual_seed(settings.seed)
    network = recipe.architecture.build().to(memory_format=torch.channels_last).train()
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(AVERAGING), use_buffers=True)
    decayed, others = (
        [parameter for parameter in network.parameters() if (parameter.ndim > 1) == is_kernel]
        for is_kernel in (True, False)
    )
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, momentum=MOMENTUM, nesterov=True)
    num_steps = settings.num_epochs * (len(images) // settings.batch_size)
    for step, (batch, labels) in enumerate(batches(images, settings, generator=generator)):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(step, num_steps=num_steps)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(batch)
        optimizer.zero_grad()
        F.cross_entropy(logits.float(), labels, label_smoothing=settings.label_smoothing).backward()
        optimizer.step()
        if step % AVERAGED_EVERY == 0 or step == num_steps - 1:
            averaged.update_parameters(network)
    return averaged.module.eval()


def batches(images: Samples, settings: Training, *, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Augmented images and their labels, of all epochs; what does not fill a batch waits for another epoch."""
    assert images.labels is not None, "official training sets are labelled"
    for _ in range(settings.num_epochs):
        for chosen in torch.randperm(len(images), generator=generator).split(settings.batch_size):
            if len(chosen) == settings.batch_size:
                batch = settings.augmentation(to_model_range(images.values[chosen]), generator=generator)
                yield batch.contiguous(memory_format=torch.channels_last), images.labels[chosen]


@torch.no_grad()
def predict(network: nn.Module, images: Samples) -> Tensor:
    """The class that is found in each image."""
    network = network.to(memory_format=torch.channels_last).eval()
    return torch.cat([network(to_model_range(chunk)).argmax(1) for chunk in images.values.split(512)])


def accuracy(predicted: Tensor, true: Tensor | None) -> float:
    """Share of the images whose class, or level of a factor, is found."""
    assert true is not None, "images that a stick is tested on are labelled"
    return (predicted == true).double().mean().item()


def factor_accuracy(factors: Factors | None, predicted: Tensor, *, true: Tensor | None) -> dict[str, float]:
    """The accuracy by factor; empty where classes are no combinations of factors."""
    if factors is None or true is None:
        return {}
    columns = zip(factors.values(predicted).unbind(1), factors.values(true).unbind(1), strict=True)
    return {factor.name: accuracy(*column) for factor, column in zip(factors.factors, columns, strict=True)}


def make(recipe: Recipe) -> Stick:
    """A trained stick, and its accuracy with rounded weights."""
    real = recipe.source.load()
    network = train(recipe, real.for_sticks().train)
    weights = rounded(network.state_dict())
    network.load_state_dict(weights, strict=False)
    predicted = predict(network, real.test)
    return Stick(
        data=recipe.source.name,
        version=recipe.version,
        architecture=recipe.architecture,
        test_accuracy=accuracy(predicted, real.test.labels),
        training=asdict(recipe.training),
        weights=weights,
        factor_accuracy=factor_accuracy(real.factors, predicted, true=real.test.labels),
    )


def rounded(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights for storage: in float16, and without batch counters, which nothing reads."""
    return {name: tensor.to(torch.float16).contiguous() for name, tensor in weights.items() if tensor.ndim}


def write(stick: Stick, path: Path) -> None:
    """Write weights and description as a safetensors file."""
    description = json.dumps(stick.describe() | {"content_hash": stick.content_hash}, sort_keys=True)
    path.write_bytes(save(dict(stick.weights), metadata={METADATA_KEY: description}))


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/sticks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RECIPES)}; without any, all")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where they are written; without it, the package")
    options = parser.parse_args()
    if unknown := set(options.names) - set(RECIPES):
        parser.error(f"there is no recipe for {', '.join(sorted(unknown))}: there are {', '.join(RECIPES)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.names or RECIPES:
        start = time.perf_counter()
        stick = make(RECIPES[name])
        path = options.folder / f"{name}.safetensors"
        write(stick, path)
        print(
            f"{name}: version {stick.version}, hash {stick.content_hash}, test accuracy {stick.test_accuracy:.2%}, "
            f"{path.stat().st_size:,} bytes, {time.perf_counter() - start:.0f} s",
            *(f"{factor} {share:.2%}" for factor, share in stick.factor_accuracy.items()),
            sep=", ",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
