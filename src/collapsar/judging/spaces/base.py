"""Feature spaces, in which metrics compare real and synthetic samples.

A space is fitted once, on real training data only, and stays frozen across generations and arms. Fitted weights are
cached by content: the same pixels, labels and settings never train twice. The cache on disk, of tensors and their
checksum, also keeps real sides and floors.
"""

import io
import json
import logging
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar

import torch
from filelock import FileLock
from jaxtyping import Float, Int
from torch import Tensor, nn

from collapsar.data.real_data import RealData
from collapsar.foundations.errors import NonFiniteError, UsageError, check_positive
from collapsar.foundations.files import write_atomically
from collapsar.foundations.settings import path_of_others
from collapsar.judging.spaces.embedders import embed

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FittedSpace:
    """A frozen map from samples to features."""

    name: str
    feature_dim: int
    embedder: nn.Module  # from samples in model range to features
    head: nn.Module | None = None  # from features to class logits, if the space is a classifier
    test_accuracy: float | None = None  # on the real test set; a linear probe's if the space ignores labels
    content_hash: str  # of data and settings, or of the weights of a pretrained network
    version: int
    device: torch.device
    chunk_size: int  # samples embedded at once; bounds memory and changes results only by float32 rounding
    factor_accuracy: Mapping[str, float] = field(default_factory=dict)  # if classes are combinations of factors
    sample_shape: tuple[int, ...] | None = None  # the only one that it takes, if there is one
    chosen_because: str = ""  # why it was chosen for the data, in words; empty if the settings name it

    def __post_init__(self) -> None:
        for module in (self.embedder, self.head):
            if module is not None:
                module.to(self.device).to(memory_format=torch.channels_last).eval().requires_grad_(False)

    @torch.no_grad()
    def extract(self, samples: Tensor) -> Float[Tensor, "sample {self.feature_dim}"]:
        """The features of samples, on the space's device; raises NonFiniteError if one is NaN or infinite."""
        features = embed(samples, self.embedder, chunk_size=self.chunk_size, device=self.device).to(torch.float32)
        if num_bad := int((~features.isfinite()).sum()):
            raise NonFiniteError(f"features of the {self.name} space hold {num_bad} NaN or infinite values")
        return features

    @torch.no_grad()
    def classify(self, features: Float[Tensor, "sample feature"]) -> Float[Tensor, "sample class"]:
        """Class probabilities from the features of this space; raises UsageError if it has no classes."""
        if self.head is None:
            raise UsageError(f"the feature space {self.name!r} has no classes: use the classifier space")
        return self.head(features).softmax(dim=1)

    def describe(self) -> dict[str, Any]:
        """The space's entry in a record."""
        names = ("name", "feature_dim", "test_accuracy", "content_hash", "version")
        optional = {"factor_accuracy": dict(self.factor_accuracy), "chosen_because": self.chosen_because}
        return {name: getattr(self, name) for name in names} | {name: each for name, each in optional.items() if each}


class FeatureSpace(ABC):
    """The settings of a feature space."""

    name: ClassVar[str]
    version: ClassVar[int] = 1  # of the method; a space whose numbers change raises it
    has_classes: ClassVar[bool] = False  # whether the fitted space gives class probabilities
    takes_vectors: ClassVar[bool] = False  # else it takes images
    is_stick: ClassVar[bool] = False  # a measuring stick: a frozen classifier that no chain trains

    def __post_init__(self) -> None:
        check_positive(chunk_size=getattr(self, "chunk_size", 1))

    def check(self, *, sample_shape: Sequence[int], num_classes: int) -> None:  # noqa: B027
        """Raise UsageError, with what to choose, unless the space suits the data; before they are read."""

    @abstractmethod
    def fit(self, real: RealData, *, device: torch.device, cache_dir: Path) -> FittedSpace:
        """Fit the space on the real training samples, or load it; UsageError if it is unsuitable or too inaccurate."""

    def fitted(self, embedder: nn.Module, key: str, *, feature_dim: int, **others: Any) -> FittedSpace:
        """The fitted space of this name and version, with `key` as its content hash; `others` are further fields."""
        others = {"name": self.name, "version": self.version, "chunk_size": getattr(self, "chunk_size", 1)} | others
        return FittedSpace(embedder=embedder, content_hash=key, feature_dim=feature_dim, **others)


def content_hash(space: FeatureSpace, real: RealData) -> str:
    """A stable digest of a space's name, version, settings and real samples, and of its class if it is not ours."""
    assert is_dataclass(space), "its settings are fields"
    no_weights = {"chunk_size", "sticks", "without_classes", "must_be_accurate", "min_accuracy", "min_stick_accuracy"}
    settings = {name: value for name, value in asdict(space).items() if name not in no_weights}
    described = [space.name, space.version, settings, digest_real(real), *path_of_others(type(space))]
    return blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=16).hexdigest()


def load_or_train(
    space: FeatureSpace,
    real: RealData,
    network: nn.Module,
    *,
    cache_dir: Path,
    train: Callable[[], dict[str, Tensor]],
    min_accuracy: float,
) -> tuple[str, float | None]:
    """Give the network its weights, from the cache or from `train`; content hash and test accuracy of the space.

    The accuracy is the entry `test_accuracy` of what `train` gives; None without it. A space that confuses the real
    classes is refused: its values for synthetic samples mean nothing.
    """
    key = content_hash(space, real)
    weights = load_or_compute(cache_dir / f"{space.name}-{key}.pt", key=key, compute=train)
    accuracy = float(weights.pop("test_accuracy")) if "test_accuracy" in weights else None
    if accuracy is not None and accuracy < min_accuracy:
        problem = f"the {space.name} space reaches a test accuracy of {accuracy:.3f}, below min_accuracy={min_accuracy}"
        raise UsageError(f"{problem}: give it more real training data, or set min_accuracy or the training budget")
    network.load_state_dict(weights)
    return key, accuracy


def digest_real(real: RealData) -> str:
    """A stable digest of all values and labels of the training and the test set."""
    digest = blake2b(digest_size=16)
    train_labels, test_labels = labels_of(real)
    for tensor in (real.train.values, train_labels, real.test.values, test_labels):
        digest.update(b"absent" if tensor is None else f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor is not None:
            digest.update(tensor.contiguous().cpu().numpy().data)
    return digest.hexdigest()


def labels_of(real: RealData) -> tuple[Int[Tensor, " train"] | None, Int[Tensor, " test"] | None]:
    """Classes of the training and the test samples; None for data without classes, even if they have labels."""
    return (real.train.labels, real.test.labels) if real.num_classes else (None, None)


def load_or_compute(path: Path, *, key: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Load the tensors stored at path under this key, or compute and store them while other processes wait.

    If the file is truncated, damaged or foreign, warn and compute it anew; raise UsageError if it cannot be written.
    """
    if (found := _load(path, key=key)) is not None:
        return found
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if (found := _load(path, key=key)) is None:
                found = {name: tensor.detach().cpu() for name, tensor in compute().items()}
                content = io.BytesIO()
                torch.save({"key": key, "checksum": checksum(found), "tensors": found}, content)
                write_atomically(path, content.getvalue())
            return found
    except OSError as error:
        raise UsageError(f"the feature space cannot be cached in {path.parent}: {error.strerror or error}") from error


def _load(path: Path, *, key: str) -> dict[str, Tensor] | None:
    if not path.exists():
        return None
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        tensors: dict[str, Tensor] = stored["tensors"]
        if stored["key"] == key and stored["checksum"] == checksum(tensors):
            return tensors
        reason = "its contents do not match its key and checksum"
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        reason = type(error).__name__
    logger.warning("the cached feature space %s is unusable and is computed anew: %s", path, reason)
    return None


def checksum(tensors: dict[str, Tensor]) -> str:
    """A stable digest of names, types, shapes and values, the same on every device."""
    digest = blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().flatten().numpy().data)  # `tobytes` would copy
    return digest.hexdigest()
