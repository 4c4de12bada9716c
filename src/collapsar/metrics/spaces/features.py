"""Feature spaces: where real and synthetic samples are compared.

A space is fitted on real training data only, once, and stays frozen across generations and arms; every metric names
the space it was measured in. Settings (`ClassifierSpace`, `PCASpace`, `IdentitySpace`) come from the configuration and
make a `FittedSpace`, which turns samples in the sample convention into float32 features. What was learned is cached by
content: the same pixels, labels and settings never train twice.
"""

import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from collapsar.errors import UsageError
from collapsar.metrics.spaces.embedders import (
    Encoder,
    TrainingBudget,
    build_seeded,
    exact_convolutions,
    train_classifier,
)
from collapsar.metrics.spaces.feature_cache import load_or_compute
from collapsar.metrics.spaces.preprocessing import Augmentation
from collapsar.samples import to_model_range


@dataclass(frozen=True, kw_only=True)
class RealSamples:
    """The real training and held-out test sets, in the sample convention; labels are class indices, or absent."""

    train: Tensor
    train_labels: Int[Tensor, " train"] | None
    test: Tensor
    test_labels: Int[Tensor, " test"] | None

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return tuple(self.train.shape[1:])

    @property
    def num_classes(self) -> int:
        """One more than the largest label; 0 without labels."""
        given = [labels for labels in (self.train_labels, self.test_labels) if labels is not None]
        return max((int(labels.max()) + 1 for labels in given), default=0)

    def digest(self) -> str:
        """A stable digest of every pixel and label."""
        digest = blake2b(digest_size=16)
        for tensor in (self.train, self.train_labels, self.test, self.test_labels):
            if tensor is None:
                digest.update(b"absent")
                continue
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().cpu().numpy().data)
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class FittedSpace:
    """A frozen map from samples to features.

    Args:
        name: the space, as records name it.
        embedder: samples in model range to features; in eval mode, without gradients.
        head: features to class logits, where the space is a classifier.
        test_accuracy: the classifier's accuracy on the real test set; a linear probe's for spaces without labels.
        content_hash: identifies data and settings, or the weights of a pretrained network.
        version: of the method; a change of numbers raises it.
        device: where embedding runs and features lie.
        chunk_size: samples embedded at once; bounds memory, does not change results beyond float32 rounding.
    """

    name: str
    feature_dim: int
    embedder: nn.Module
    head: nn.Module | None = None
    test_accuracy: float | None = None
    content_hash: str
    version: int
    device: torch.device
    chunk_size: int

    def __post_init__(self) -> None:
        for module in (self.embedder, self.head):
            if module is not None:
                module.to(self.device).to(memory_format=torch.channels_last).eval().requires_grad_(False)

    @torch.no_grad()
    def extract(self, samples: Tensor) -> Float[Tensor, "sample {self.feature_dim}"]:
        """The features of samples, on the space's device."""
        with exact_convolutions():
            chunks = [self.embedder(to_model_range(chunk.to(self.device))) for chunk in samples.split(self.chunk_size)]
        return torch.cat(chunks).to(torch.float32)

    @torch.no_grad()
    def classify(self, features: Float[Tensor, "sample feature"]) -> Float[Tensor, "sample class"]:
        """Class probabilities from the features of this space.

        Raises:
            UsageError: the space has no classes.
        """
        if self.head is None:
            raise UsageError(f"the feature space {self.name!r} has no classes: use the classifier space")
        logits: Tensor = self.head(features)
        return logits.softmax(dim=1)

    def describe(self) -> dict[str, str | int | float | None]:
        """What a record states about the space."""
        return {
            "name": self.name,
            "feature_dim": self.feature_dim,
            "test_accuracy": self.test_accuracy,
            "content_hash": self.content_hash,
            "version": self.version,
        }


class FeatureSpace(ABC):
    """The settings of a feature space."""

    name: ClassVar[str]
    version: ClassVar[int]

    @abstractmethod
    def fit(self, real: RealSamples, *, device: torch.device, cache_dir: Path) -> FittedSpace:
        """The space fitted on the real training samples, from the cache where it holds them.

        Raises:
            UsageError: the samples do not suit the space, or the fitted space is not good enough to be trusted.
        """


def content_hash(space: FeatureSpace, real: RealSamples, *, settings: dict[str, Any]) -> str:
    """A stable digest of the space's name, version and settings and of the real samples."""
    described = json.dumps([space.name, space.version, settings, real.digest()], sort_keys=True)
    return blake2b(described.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, kw_only=True)
class IdentitySpace(FeatureSpace):
    """Features are the samples themselves: for vectors, whose geometry is known."""

    name: ClassVar[str] = "identity"
    version: ClassVar[int] = 1

    def fit(self, real: RealSamples, *, device: torch.device, cache_dir: Path) -> FittedSpace:
        if real.train.ndim != 2:
            raise UsageError(f"the identity space takes vectors [sample, dimension]: got {tuple(real.train.shape)}")
        return FittedSpace(
            name=self.name,
            feature_dim=real.train.shape[1],
            embedder=nn.Identity(),
            content_hash=content_hash(self, real, settings={}),
            version=self.version,
            device=device,
            chunk_size=len(real.train),
        )


class PrincipalAxes(nn.Module):
    """Coordinates along the principal axes, computed in float64."""

    def __init__(self, *, mean: Float[Tensor, " pixel"], axes: Float[Tensor, "pixel feature"]) -> None:
        super().__init__()
        self.mean = nn.Buffer(mean)
        self.axes = nn.Buffer(axes)

    def forward(self, samples: Tensor) -> Float[Tensor, "sample feature"]:
        return ((samples.flatten(start_dim=1).to(torch.float64) - self.mean) @ self.axes).to(torch.float32)


@dataclass(frozen=True, kw_only=True)
class PCASpace(FeatureSpace):
    """Coordinates along the leading principal axes of the real pixels in [0, 1], neither whitened nor scaled.

    It sees the variance that a classifier is trained to ignore.

    Args:
        num_components: the number of axes; fewer where the samples have fewer dimensions.
        chunk_size: samples projected at once.
    """

    name: ClassVar[str] = "pca"
    version: ClassVar[int] = 1

    num_components: int
    chunk_size: int

    def __post_init__(self) -> None:
        if self.num_components < 1:
            raise UsageError(f"num_components must be at least 1: got {self.num_components}")

    def fit(self, real: RealSamples, *, device: torch.device, cache_dir: Path) -> FittedSpace:
        key = content_hash(self, real, settings={"num_components": self.num_components})
        fitted = load_or_compute(
            cache_dir / f"{self.name}-{key}.pt", key=key, compute=lambda: self._principal_axes(real.train, device)
        )
        return FittedSpace(
            name=self.name,
            feature_dim=fitted["axes"].shape[1],
            embedder=PrincipalAxes(mean=fitted["mean"], axes=fitted["axes"]),
            content_hash=key,
            version=self.version,
            device=device,
            chunk_size=self.chunk_size,
        )

    def _principal_axes(self, samples: Tensor, device: torch.device) -> dict[str, Tensor]:
        rows = samples.flatten(start_dim=1)
        chunks = [to_model_range(chunk) for chunk in rows.split(self.chunk_size)]
        mean = torch.stack([chunk.to(device, torch.float64).sum(dim=0) for chunk in chunks]).sum(dim=0) / len(rows)
        scatter = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=device)
        for chunk in chunks:
            centred = chunk.to(device, torch.float64) - mean
            scatter.addmm_(centred.T, centred)
        axes = torch.linalg.eigh(scatter).eigenvectors.flip(1)[:, : self.num_components]
        largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
        return {"mean": mean.cpu(), "axes": (axes * largest.sign()).cpu()}


@dataclass(frozen=True, kw_only=True)
class ClassifierSpace(FeatureSpace):
    """The penultimate features of a small classifier, trained on the real training set and frozen.

    Args:
        feature_dim: the number of penultimate features.
        budget: how long the classifier trains.
        augmentation: without it, noisy digits read as dropped classes.
        min_accuracy: accuracy on the real test set below which the space is refused.
        seed: of the classifier; a property of the measuring stick, not of the chain that is measured.
        chunk_size: samples embedded at once.
    """

    name: ClassVar[str] = "classifier"
    version: ClassVar[int] = 1

    feature_dim: int
    budget: TrainingBudget
    augmentation: Augmentation
    min_accuracy: float
    seed: int
    chunk_size: int

    def __post_init__(self) -> None:
        if not 0 <= self.min_accuracy <= 1:
            raise UsageError(f"min_accuracy must be in [0, 1]: got {self.min_accuracy}")

    def fit(self, real: RealSamples, *, device: torch.device, cache_dir: Path) -> FittedSpace:
        network = self._build(real)
        settings = {name: value for name, value in asdict(self).items() if name not in ("min_accuracy", "chunk_size")}
        key = content_hash(self, real, settings=settings)
        fitted = load_or_compute(
            cache_dir / f"{self.name}-{key}.pt", key=key, compute=lambda: self._train(network, real, device)
        )
        test_accuracy = float(fitted.pop("test_accuracy"))
        refuse_inaccurate(test_accuracy, min_accuracy=self.min_accuracy, space_name=self.name)
        network.load_state_dict(fitted)
        encoder, head = network
        return FittedSpace(
            name=self.name,
            feature_dim=self.feature_dim,
            embedder=encoder,
            head=head,
            test_accuracy=test_accuracy,
            content_hash=key,
            version=self.version,
            device=device,
            chunk_size=self.chunk_size,
        )

    def _build(self, real: RealSamples) -> nn.Sequential:
        require_images(real, space_name=self.name)
        if real.train_labels is None or real.test_labels is None:
            raise UsageError(f"the {self.name} space needs labelled real data: use the pca or self_supervised space")
        encoder = build_seeded(
            lambda: Encoder(image_shape=real.sample_shape, feature_dim=self.feature_dim), seed=self.seed
        )
        head = build_seeded(lambda: nn.Linear(self.feature_dim, real.num_classes), seed=self.seed + 1)
        return nn.Sequential(encoder, head)

    def _train(self, network: nn.Sequential, real: RealSamples, device: torch.device) -> dict[str, Tensor]:
        assert real.train_labels is not None
        assert real.test_labels is not None
        images, labels = real.train.to(device), real.train_labels.to(device, torch.int64)

        def draw_batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
            chosen = torch.randint(len(images), (self.budget.batch_size,), generator=generator).to(device)
            return self.augmentation(to_model_range(images[chosen]), generator=generator), labels[chosen]

        train_classifier(network.to(device), draw_batch, budget=self.budget, seed=self.seed)
        accuracy = self._accuracy(network, real.test.to(device), real.test_labels.to(device))
        return {**network.state_dict(), "test_accuracy": accuracy}

    @torch.no_grad()
    def _accuracy(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        predicted = [network(to_model_range(chunk)).argmax(dim=1) for chunk in images.split(self.chunk_size)]
        return (torch.cat(predicted) == labels).to(torch.float64).mean()


def require_images(real: RealSamples, *, space_name: str) -> None:
    """Refuse anything but images.

    Raises:
        UsageError: the samples are vectors, or not uint8.
    """
    if real.train.ndim != 4 or real.train.dtype != torch.uint8:
        raise UsageError(
            f"the {space_name} space takes uint8 images [sample, channel, height, width]: got {real.train.dtype} "
            f"{tuple(real.train.shape)}; use the identity or pca space for vectors"
        )


def refuse_inaccurate(test_accuracy: float, *, min_accuracy: float, space_name: str) -> None:
    """Refuse a space that does not tell the real classes apart: what it says about synthetic ones means nothing.

    Raises:
        UsageError: the accuracy is below the minimum.
    """
    if test_accuracy < min_accuracy:
        raise UsageError(
            f"the {space_name} space reaches a test accuracy of {test_accuracy:.3f}, below min_accuracy="
            f"{min_accuracy}: give it more real training data, or set min_accuracy or the training budget"
        )
