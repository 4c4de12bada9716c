"""Measuring sticks: frozen classifiers, the same on every machine, so that two laboratories can compare numbers.

`scripts/sticks` trained each without the images of the floor (`StickSplit`), and wrote it to a file of this package:
float16 weights, and as metadata the fields of `Stick` and a digest.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache, partial
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from collapsar.data.real_data import RealData
from collapsar.foundations.errors import UsageError
from collapsar.judging.spaces.base import FeatureSpace, FittedSpace, checksum
from collapsar.judging.spaces.embedders import make_head

FOLDER = Path(__file__).parent / "sticks"
METADATA_KEY = "stick"  # one entry, because safetensors writes several in no fixed order


class StickEncoder(nn.Module):
    """A convolution, blocks that halve the image, and the maximum of each channel over all positions.

    A block is convolution, max pooling over 2x2, normalisation, SiLU, convolution, normalisation, SiLU. SiLU instead of
    ReLU keeps every feature alive.
    """

    def __init__(self, *, num_channels: int, stem_width: int, widths: Sequence[int]) -> None:
        super().__init__()
        convolution = partial(nn.Conv2d, kernel_size=3, padding=1, bias=False)  # normalisation would cancel a bias
        layers: list[nn.Module] = [convolution(num_channels, stem_width), nn.BatchNorm2d(stem_width), nn.SiLU()]
        for in_width, width in pairwise((stem_width, *widths)):
            layers += [convolution(in_width, width), nn.MaxPool2d(2), nn.BatchNorm2d(width), nn.SiLU()]
            layers += [convolution(width, width), nn.BatchNorm2d(width), nn.SiLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Float[Tensor, "sample channel height width"]) -> Float[Tensor, "sample feature"]:
        return self.layers(images).amax(dim=(2, 3))


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The sizes of a stick's network."""

    sample_shape: tuple[int, int, int]
    num_classes: int
    stem_width: int  # channels of the first convolution
    widths: tuple[int, ...]  # channels of each block; the last is the number of features
    num_levels: tuple[int, ...] = ()  # of each factor, if classes are combinations of factors (`FactorHead`)

    def build(self) -> nn.Sequential:
        """An encoder and a head with random weights."""
        encoder = StickEncoder(num_channels=self.sample_shape[0], stem_width=self.stem_width, widths=self.widths)
        head = make_head(self.widths[-1], num_classes=self.num_classes, num_levels=self.num_levels)
        return nn.Sequential(encoder, head)


@dataclass(frozen=True, kw_only=True)
class Stick:
    """The content of a stick's file."""

    data: str  # the data set that it measures
    version: int  # a stick that gives other numbers has another version
    architecture: Architecture
    test_accuracy: float  # on the official test set, with these weights
    training: Mapping[str, Any]  # its training settings, as plain values
    weights: Mapping[str, Tensor]  # of encoder and head, in float16
    factor_accuracy: Mapping[str, float] = field(default_factory=dict)  # if classes are combinations of factors

    def describe(self) -> dict[str, Any]:
        """All but the weights, as plain values; the entries about factors only if there are factors."""
        described = asdict(replace(self, weights={}))  # `asdict` would copy the weights
        del described["weights"]
        if not self.architecture.num_levels:
            del described["factor_accuracy"], described["architecture"]["num_levels"]
        return described

    @cached_property
    def content_hash(self) -> str:
        content = json.dumps([self.describe(), checksum(dict(self.weights))], sort_keys=True)
        return blake2b(content.encode(), digest_size=16).hexdigest()

    def network(self) -> nn.Sequential:
        """Encoder and head with the weights, in float32."""
        network = self.architecture.build()
        network.load_state_dict(self.weights, strict=False)  # into float32
        return network


@lru_cache
def read_stick(path: Path) -> Stick:
    """Read a stick's file, once in a process."""
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in path.parent.glob("*.safetensors")))
        raise UsageError(f"there is no measuring stick {path.stem!r}: there are {known}")
    try:
        with safe_open(path, framework="pt") as file:
            described = json.loads(file.metadata()[METADATA_KEY])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        written, shape = described.pop("content_hash"), described.pop("architecture")
        sizes: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in shape.items()}
        stick = Stick(**described, architecture=Architecture(**sizes), weights=weights)
        is_whole = stick.content_hash == written
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError):
        is_whole = False
    if not is_whole:
        raise UsageError(f"the measuring stick {path} is damaged: install collapsar anew")
    return stick


def load_stick(name: str, *, version: int | None) -> Stick:
    """The stick of this name that comes with the package; raise UsageError if another version is wanted."""
    stick = read_stick(FOLDER / f"{name}.safetensors")
    if version not in (None, stick.version):
        problem = f"stick_version must be {stick.version}, of the {stick.data} stick in this package"
        raise UsageError(f"{problem}: got {version}")
    return stick


@dataclass(frozen=True, kw_only=True)
class StickSpace(FeatureSpace):
    """The features of a measuring stick that comes with the package."""

    name = "stick"
    has_classes = True
    is_stick = True

    stick: str  # the data set that it was made for: the name of a file in `sticks`, such as mnist
    stick_version: int  # another raises UsageError, because its numbers are not comparable
    chunk_size: int

    def check(self, *, sample_shape: Sequence[int], num_classes: int) -> None:
        expected = load_stick(self.stick, version=self.stick_version).architecture
        if tuple(sample_shape) != expected.sample_shape or num_classes != expected.num_classes:
            measured, given = f"{list(expected.sample_shape)} of {expected.num_classes}", f"{list(sample_shape)}"
            problem = f"the {self.stick} stick measures images {measured} classes: got {given} of {num_classes}"
            raise UsageError(f"{problem}; choose stick@evaluation.spaces.classifier=trained")

    def fit(self, real: RealData, *, device: torch.device, cache_dir: Path) -> FittedSpace:
        self.check(sample_shape=real.train.shape, num_classes=real.num_classes)
        return stick_features(self.stick, version=self.stick_version, device=device, chunk_size=self.chunk_size)


def stick_features(name: str, *, device: torch.device, version: int | None = None, chunk_size: int = 64) -> FittedSpace:
    """The feature space of the stick of this name that comes with the package."""
    stick = load_stick(name, version=version)
    encoder, head = stick.network()
    return FittedSpace(
        name=f"{name}_stick",
        feature_dim=stick.architecture.widths[-1],
        embedder=encoder,
        head=head,
        test_accuracy=stick.test_accuracy,
        content_hash=stick.content_hash,
        version=stick.version,
        device=device,
        chunk_size=chunk_size,
        factor_accuracy=stick.factor_accuracy,
        sample_shape=stick.architecture.sample_shape,
    )
